"""GET, LIST and WATCH of Pods, Services and Deployments, by the very handlers of records.

They are given another view: the agent's Pods, or what records are seen as (derived.py). Nothing
of it can be written but restarts (restarts.py), and a refusal says what to change instead.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NoReturn

from aiohttp import web

from api import derived, errors, lists, records, watch
from api.builtin import DEPLOYMENT, POD, SERVICE
from api.context import Call, Context, Recording, Target
from api.restarts import restart
from api.routes import Handler, Route
from api.served import Served
from controlplane.records import Stored, View
from controlplane.store.shape import decode
from controlplane.streams import PodViews
from resources.meta import KindInfo, Record

_WRITES: Final = ("POST", "PUT", "PATCH", "DELETE")


def pods_of(ctx: Context) -> PodViews:
    """The agent's Pods. Raises StatusError 503 without an agent."""
    if ctx.pods is None:
        raise errors.unavailable("Pods are shown by the agent, and none runs here", 5)
    ctx.pods.require()
    return ctx.pods


@dataclass(frozen=True, slots=True)
class _Seen(Recording):
    """The read side of objects that are not stored."""

    fresh: Callable[[float], Any]

    async def read(self, stored: Stored) -> dict[str, Any]:
        return decode(stored)

    async def catch_up(self, timeout_s: float) -> None:
        await self.fresh(timeout_s)

    async def create(self, *_: Any, **__: Any) -> NoReturn:
        raise errors.method_not_allowed()

    async def update(self, *_: Any, **__: Any) -> NoReturn:
        raise errors.method_not_allowed()

    async def delete(self, *_: Any, **__: Any) -> NoReturn:
        raise errors.method_not_allowed()


def _pods(ctx: Context) -> tuple[View, Recording]:
    pods = pods_of(ctx)

    async def fresh(_timeout_s: float) -> None:
        pods.require()

    return pods.view, _Seen(fresh)


def _services(ctx: Context) -> tuple[View, Recording]:
    sources = tuple(s.info.kind for s in ctx.kinds if s.info.reconciled and s.info.namespaced)
    view = derived.DerivedView(ctx.view, SERVICE.kind, sources, derived.service)
    return view, _Seen(ctx.records.catch_up)


def _deployments(ctx: Context) -> tuple[View, Recording]:
    sources = tuple(served.info.kind for served in ctx.kinds if served.info.scalable)
    view = derived.DerivedView(ctx.view, DEPLOYMENT.kind, sources, derived.deployment)
    return view, _Seen(ctx.records.catch_up)


def served(info: KindInfo) -> Served:
    """A kind without a model, as far as readers need it."""
    return Served(Record, info, ())


@dataclass(frozen=True, slots=True)
class _Facade:
    """One kind, where its objects come from, and what to change instead of them."""

    served: Served
    source: Callable[[Context], tuple[View, Recording]]
    instead: str

    def routes(self) -> Iterator[Route]:
        """Every path it is read by, and the refusals of writes to it."""
        info = self.served.info
        prefix = f"/apis/{info.group}/{info.version}" if info.group else f"/api/{info.version}"
        collection = f"{prefix}/namespaces/{{namespace}}/{info.plural}"
        for path in (f"{prefix}/{info.plural}", collection):
            yield Route("GET", path, self._collection, resource=info.plural, watches=True)
        yield Route("GET", f"{collection}/{{name}}", self._item, resource=info.plural)
        restarts = "patch" in info.verbs
        refuse = self._refusing()
        refuse_item = self._refusing("PATCH") if restarts else refuse
        for method in _WRITES:
            yield Route(method, collection, refuse, resource=info.plural)
            handler = self._restart if restarts and method == "PATCH" else refuse_item
            yield Route(method, f"{collection}/{{name}}", handler, resource=info.plural)
        # kubectl scale reads before it writes: a 404 would say nothing of what to scale instead
        for method in ("GET", "PUT", "PATCH"):
            yield Route(method, f"{collection}/{{name}}/scale", refuse, resource=info.plural)

    async def _collection(self, call: Call) -> web.StreamResponse:
        watches = call.flag("watch")
        self._aim(call, "watch" if watches else "list")
        return await (watch.watch(call) if watches else lists.list_records(call))

    async def _item(self, call: Call) -> web.StreamResponse:
        self._aim(call, "get")
        return await records.get(call)

    async def _restart(self, call: Call) -> web.StreamResponse:
        records_at = call.ctx
        self._aim(call, "patch")
        return await restart(call, records_at, self.instead)

    def _refusing(self, *writes: str) -> Handler:
        """Refuses with what to do instead; `writes` are what the path takes besides reads."""

        async def refuse(call: Call) -> NoReturn:
            name, allowed = call.params.get("name", ""), ("GET", "HEAD", *writes)
            raise errors.read_only(self.served.info, name, self.instead, allowed)

        return refuse

    def _aim(self, call: Call, verb: str) -> None:
        """Have the handlers of records read from here. Raises StatusError 403, 503."""
        call.resource = Target(
            self.served, verb, call.params.get("namespace"), call.params.get("name", "")
        )
        records.authorize(call)
        view, readable = self.source(call.ctx)
        call.ctx = replace(call.ctx, view=view, records=readable)


_FACADES: Final = (
    _Facade(
        served(POD),
        _pods,
        "a Pod shows what runs; change or delete the App, Database or other record that it "
        "belongs to (metadata.ownerReferences names it)",
    ),
    _Facade(
        served(SERVICE),
        _services,
        "a Service shows where a record is reached; change the record of the same name",
    ),
    _Facade(
        served(DEPLOYMENT),
        _deployments,
        "a Deployment shows an App's replicas; change the App of the same name, for example "
        "with kubectl scale app",
    ),
)

ROUTES: Final[tuple[Route, ...]] = tuple(r for facade in _FACADES for r in facade.routes())
"""Paths of everything derived, its subresources excepted."""

BY_KIND: Final[Mapping[str, Served]] = {f.served.info.kind: f.served for f in _FACADES}
