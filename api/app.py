"""Puts the HTTP surface together: one entry point, the route table, and the record handlers.

Generic over kinds. What is served where: docs/api.md.
"""

import asyncio
import time
from functools import lru_cache, partial
from typing import Final

from aiohttp import web

from api import (
    deleting,
    discovery,
    errors,
    facade,
    lists,
    openapi,
    openapi_v2,
    patching,
    podexec,
    podforward,
    podlogs,
    probes,
    readonly,
    records,
    reviews,
    scale,
    watch,
)
from api.context import Call, Context
from api.middleware import (
    Load,
    Metrics,
    authenticate,
    bounded,
    failed,
    finish,
    refuse_impersonation,
)
from api.pulse import Pulse
from api.routes import Handler, Route, RouteTable
from api.sockets import abort
from api.target import is_resource_path, resolve

ALL: Final[tuple[Route, ...]] = (
    *probes.ROUTES,
    *discovery.ROUTES,
    *openapi.ROUTES,
    *openapi_v2.ROUTES,
    *readonly.ROUTES,
    *facade.ROUTES,
    *podlogs.ROUTES,
    *podexec.ROUTES,
    *podforward.ROUTES,
    *reviews.ROUTES,
)
"""Every path that is not a record."""

_FOR_ALL: Final = frozenset((*discovery.ROUTES, *openapi.ROUTES, *openapi_v2.ROUTES))
"""Told everyone alike, so also who would impersonate: kubectl asks for it first, and shows of a
refusal there only that it was one."""

HANDLERS: Final[dict[tuple[str, str], Handler]] = {
    **records.HANDLERS,
    **deleting.HANDLERS,
    **lists.HANDLERS,
    **patching.HANDLERS,
    **scale.HANDLERS,
    **watch.HANDLERS,
}
"""(verb, subresource) -> handler of record paths."""

_PATHS: Final = 4096
"""Whose meaning is kept: clients ask for the same ones again and again."""
_SHORT_CHARS: Final = 256
"""Longest path kept, as whoever reaches the port may ask for any."""
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
SILENT: Final[web.AppKey[set[asyncio.BaseProtocol]]] = web.AppKey("silent", set)
"""Connections that have not sent a request yet (serve.py drops them in time)."""
WRITE_S: Final[web.AppKey[float]] = web.AppKey("write_s", float)
"""Longest that a client may take nothing of an answer (serve.py cuts it off)."""


class _Entry:
    """Answers every request."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._routes = RouteTable(ALL)
        self._known_routes = lru_cache(maxsize=_PATHS)(self._routes.find)
        self._known_targets = lru_cache(maxsize=_PATHS)(partial(resolve, ctx.kinds))
        self._metrics = Metrics(ctx.registry)
        self._load = Load()
        self.silent: set[asyncio.BaseProtocol] = set()
        self._metrics.inflight.set_function(lambda: self._load.requests)
        self._metrics.streams.set_function(lambda: len(self._load.streams))

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        started = time.perf_counter()
        self.silent.discard(request.protocol)
        call: Call | None = None
        labels = (request.method if request.method in _METHODS else "OTHER", "")
        try:
            handler, call, route = await self._understand(request)
            labels = _labels(call, route, labels)
            streams = _streams(call, route)
            if streams and request.method == "HEAD":
                # nothing of it would ever be sent, for as long as the stream goes on
                raise errors.method_not_allowed({"GET"})
            response = await bounded(self._ctx, self._load, lambda: handler(call), streams=streams)
        except Exception as exc:  # noqa: BLE001  # the outermost boundary: all become a Status
            response = failed(exc, call)
            if request.writer.output_size > 0:
                abort(request)  # in the midst of another answer, which its reader must not take
                # for a whole one, nor this for a part of it
        return finish(self._metrics, call, response, started, labels)

    async def end_streams(self, app: web.Application) -> None:
        """End watches and streams: their clients come back elsewhere, or later."""
        del app
        for task in tuple(self._load.streams):
            task.cancel()

    async def _understand(self, request: web.Request) -> tuple[Handler, Call, Route | None]:
        """Who asks for what, and who answers it. Authentication comes before anything is told."""
        path = request.path
        short = len(path) <= _SHORT_CHARS
        found = self._known_routes(path) if short else self._routes.find(path)
        route, params = found.get(request.method) or found.get(_as_get(request)) or (None, {})
        public = route is not None and route.public
        user, token = await authenticate(self._ctx, request, public=public)
        if not public and route not in _FOR_ALL:
            refuse_impersonation(request)
        call = Call(self._ctx, request, user, token, params)
        if route is not None:
            return route.handler, call, route
        if found:
            raise errors.method_not_allowed(found)
        if not is_resource_path(path):
            raise errors.no_such_path()
        understood = self._known_targets if short else partial(resolve, self._ctx.kinds)
        call.resource = understood(request.method, path, watch=call.flag("watch"))
        records.authorize(call)
        return self._handler(call), call, None

    def _handler(self, call: Call) -> Handler:
        target = call.target
        handler = HANDLERS.get((target.verb, target.subresource))
        if handler is None:
            raise errors.method_not_allowed()
        return handler


def _streams(call: Call, route: Route | None) -> bool:
    if route is None:
        return call.target.verb == "watch"
    return route.streams or (route.watches and call.flag("watch"))


def _as_get(request: web.Request) -> str:
    return "GET" if request.method == "HEAD" else request.method


def _labels(call: Call, route: Route | None, default: tuple[str, str]) -> tuple[str, str]:
    """Verb and resource of the metrics: a bounded set, never a name or a path from outside."""
    if route is not None:
        return (route.method, route.resource or route.path)
    target = call.target
    resource = target.served.info.plural
    if target.subresource:
        resource += "/" + target.subresource
    return (target.verb.upper(), resource)


def build_app(ctx: Context) -> web.Application:
    """The whole HTTP surface as one application."""
    app = web.Application(client_max_size=ctx.limits.body_bytes)
    entry = _Entry(ctx)
    app[SILENT] = entry.silent
    app[WRITE_S] = ctx.limits.write_s
    watch.install(app, Pulse(ctx.access, ctx.clock, ctx.registry))
    app.on_shutdown.append(entry.end_streams)
    app.router.add_route("*", r"/{path:[\s\S]*}", entry.__call__)
    return app
