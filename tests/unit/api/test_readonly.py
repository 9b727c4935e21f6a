"""A watch of what never changes is held to the same promises as one of records."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from prometheus_client import CollectorRegistry

from api.context import Call, Context, Limits
from api.pulse import Pulse
from api.readonly import ROUTES
from api.served import Catalogue
from api.watch import PULSE
from controlplane.access import ADMINS, Access, User
from resources.kinds import KINDS
from tests.support.virtual import LoopClock, in_virtual_time

PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
DEFINITIONS = sum(1 for model in KINDS if model.info.group)


class _Connection(asyncio.Transport):
    broken_off = False

    def is_closing(self) -> bool:
        return self.broken_off

    def abort(self) -> None:
        self.broken_off = True


async def _watched_s(take: Callable[[bytes], Awaitable[None]], query: str = "") -> float:
    """How long a watch lasts whose client takes what it is sent like that: too little."""
    clock, app, nothing = LoopClock(), web.Application(), SimpleNamespace(revision=1)
    parts: dict[str, Any] = {"records": nothing, "view": nothing, "kinds": Catalogue(KINDS)}
    access = Access(nothing, clock)
    ctx = Context(access=access, clock=clock, registry=CollectorRegistry(), **parts)
    assert ctx.limits == Limits()
    pulse = app[PULSE] = Pulse(access, clock, CollectorRegistry())
    connection = _Connection()
    path = f"{PATH}?watch=true{query}"
    request: Any = make_mocked_request("GET", path, app=app, transport=connection)
    request.protocol.writer.write = take
    (route,) = (route for route in ROUTES if route.path == PATH)
    # 100: more than any of this may take
    async with asyncio.timeout(100), asynccontextmanager(pulse.attached)(app):
        began = clock.monotonic()
        await route.handler(Call(ctx, request, User("ann", (ADMINS,))))
        lasted_s = clock.monotonic() - began
    # not ended as if that were all
    assert connection.broken_off
    return lasted_s


@in_virtual_time
async def test_it_ends_in_time_though_its_client_is_slow() -> None:
    taken: list[bytes] = []

    async def slowly(data: bytes) -> None:
        await asyncio.sleep(0.4)
        taken.append(data)

    assert await _watched_s(slowly, "&timeoutSeconds=2") < 4
    assert 0 < len(taken) < DEFINITIONS


@in_virtual_time
async def test_who_takes_nothing_is_cut_off() -> None:
    async def never(_: bytes) -> None:
        await asyncio.Event().wait()

    assert await _watched_s(never) == Limits().write_s
    assert await _watched_s(never, "&timeoutSeconds=2") < 4
