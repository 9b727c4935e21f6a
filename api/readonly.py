"""GET, LIST and WATCH of what is served but never changes: the definitions of kinds.

None of it changes while the process runs, so a watch is what there is, then bookmarks. Writes
are answered 405 by the route table.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from api import errors, tables
from api.answers import asked, include, json_response
from api.builtin import CRD
from api.context import Call, Target
from api.crds import definitions
from api.documents import Once
from api.facade import served
from api.routes import Handler, Route
from api.selectors import Selector, of_query
from api.served import Catalogue
from api.watch import lifeline, stream
from api.watch_events import Encoder, line
from api.watch_options import watch_options
from controlplane.access import Attempt, allowed
from resources.meta import KindInfo

Obj = Mapping[str, Any]


def _definitions(catalogue: Catalogue) -> Sequence[Obj]:
    return tuple(definitions(catalogue))


@dataclass(frozen=True, slots=True)
class _Kind:
    """One read-only kind and where its objects come from."""

    info: KindInfo
    objects: Once[Sequence[Obj]]

    def routes(self) -> Iterator[Route]:
        """Every path it is read by."""
        info = self.info
        prefix = f"/apis/{info.group}/{info.version}" if info.group else f"/api/{info.version}"
        everywhere = f"{prefix}/{info.plural}"
        yield Route("GET", everywhere, self._list, resource=info.plural, watches=True)
        collection = everywhere
        if info.namespaced:
            collection = f"{prefix}/namespaces/{{namespace}}/{info.plural}"
            yield Route("GET", collection, self._list, resource=info.plural, watches=True)
        yield Route("GET", f"{collection}/{{name}}", self._get, resource=info.plural)

    @property
    def _get(self) -> Handler:
        async def get(call: Call) -> web.StreamResponse:
            self._authorize(call, "get")
            for obj in await self._selected(call, Selector()):
                if obj["metadata"]["name"] == call.params["name"]:
                    form, now = asked(call), call.ctx.clock.now()
                    return json_response(
                        tables.item(form, self.info, obj, now=now, include=include(call))
                    )
            raise errors.not_found(self.info, call.params["name"])

        return get

    @property
    def _list(self) -> Handler:
        async def listed(call: Call) -> web.StreamResponse:
            watches = call.flag("watch")
            self._authorize(call, "watch" if watches else "list")
            found = await self._selected(call, of_query(call.query, self.info))
            if watches:
                return await self._watch(call, found)
            meta = {"resourceVersion": str(call.ctx.view.revision)}
            form, now = asked(call), call.ctx.clock.now()
            return json_response(
                tables.collection(
                    form, self.info, found, metadata=meta, now=now, include=include(call)
                )
            )

        return listed

    def _authorize(self, call: Call, verb: str) -> None:
        info, namespace = self.info, call.params.get("namespace", "")
        attempt = Attempt(verb, info.group, info.plural, namespace=namespace)
        if not allowed(call.user, attempt):
            raise errors.forbidden(
                info, call.params.get("name", ""), f'User "{call.user.name}" cannot {verb} it'
            )

    async def _selected(self, call: Call, selector: Selector) -> list[Obj]:
        namespace = call.params.get("namespace")
        return [
            obj
            for obj in await self.objects.of(call.ctx.kinds)
            if namespace in (None, obj["metadata"].get("namespace")) and selector.matches(obj)
        ]

    async def _watch(self, call: Call, found: Sequence[Obj]) -> web.StreamResponse:
        call.resource = Target(served(self.info), "watch", None)
        options = watch_options(call)
        form, rows = options.form, options.include
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        encoder = Encoder(call.ctx, self.info, form, rows)
        held = lifeline(call, options)

        async def write(data: bytes) -> None:
            if held.ended:
                raise TimeoutError  # broken off: nothing says what is still to come
            await held.write(response.write(data), within_s=call.ctx.limits.write_s)

        async def send() -> None:
            for obj in found if options.since is None else ():
                now = call.ctx.clock.now()
                shown = tables.item(form, self.info, obj, now=now, include=rows)
                await write(line("ADDED", shown))
            if options.marks_initial:
                await write(encoder.bookmark(call.ctx.view.revision, ends_initial=True))
            while not held.ended:
                await held.wait(asyncio.Event().wait())
                if held.bookmark_due and not held.ended:
                    held.bookmark_due = False
                    await write(encoder.bookmark(call.ctx.view.revision))

        await stream(call, held, response, send)
        return response


_KINDS: Final = (_Kind(CRD, Once(_definitions)),)

ROUTES: Final[tuple[Route, ...]] = tuple(route for kind in _KINDS for route in kind.routes())
"""Paths of all read-only kinds."""
