"""The heartbeat of all streams outlives whatever the look-up of one token meets."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import cast

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from api.pulse import Lifeline, Pulse
from controlplane.access import VIEWERS, Access, token_hash
from controlplane.errors import StoreUnavailableError
from tests.clock import ManualClock, settle
from tests.support.virtual import in_virtual_time


@dataclass(frozen=True, slots=True)
class _Row:
    user: str
    groups: tuple[str, ...]
    expires_at: datetime


@dataclass
class _Tokens:
    """A stand-in for the token table that answers for some not yet, and for some never."""

    rows: dict[bytes, _Row] = field(default_factory=dict)
    held: set[bytes] = field(default_factory=set)
    failing: Exception | None = None

    async def put(
        self, token_hash: bytes, user: str, groups: Sequence[str], expires_at: datetime, /
    ) -> None:
        self.rows[token_hash] = _Row(user, tuple(groups), expires_at)

    async def find(self, token_hash: bytes, /) -> _Row | None:
        if self.failing is not None:
            raise self.failing
        if token_hash in self.held:
            await asyncio.Event().wait()
        return self.rows.get(token_hash)

    async def drop(self, token_hash: bytes, /) -> None:
        self.rows.pop(token_hash, None)


class _Transport:
    def get_write_buffer_size(self) -> int:
        return 1  # a client that reads nothing

    def is_closing(self) -> bool:
        return False


@dataclass
class _Request:
    transport: _Transport = field(default_factory=_Transport)


class World:
    def __init__(self) -> None:
        self.clock, self.tokens = ManualClock(), _Tokens()
        self.access = Access(self.tokens, self.clock)
        self.pulse = Pulse(self.access, self.clock, CollectorRegistry())
        self.flood: list[asyncio.Task[object]] = []

    async def token(self, user: str) -> str:
        made = await self.access.issue(user, (VIEWERS,), ttl=timedelta(hours=1))
        assert await self.access.authenticate(made) is not None
        return made

    @contextmanager
    def stream(self, token: str) -> Iterator[Lifeline]:
        request = cast("web.Request", _Request())
        with self.pulse.holding(Lifeline(request, token, "databases", 3600.0)) as line:
            yield line

    async def be_flooded(self) -> None:
        """As many look-ups of made-up tokens as are made at once, and more; none is answered."""
        made_up = [f"wrong-{number}" for number in range(200)]
        self.tokens.held |= {token_hash(each) for each in made_up}
        self.flood += [asyncio.create_task(self.access.authenticate(each)) for each in made_up]
        await settle()


@asynccontextmanager
async def beating() -> AsyncIterator[World]:
    world = World()
    attached = asynccontextmanager(world.pulse.attached)
    try:
        async with attached(web.Application()):
            yield world
    finally:
        for task in world.flood:
            task.cancel()
        await asyncio.gather(*world.flood, return_exceptions=True)


async def test_a_stream_that_lingers_revoked_and_a_flood_of_wrong_tokens_end_nothing_else() -> None:
    async with beating() as world:
        bob, ann = await world.token("bob"), await world.token("ann")
        with world.stream(bob) as his, world.stream(ann) as hers:
            await world.tokens.drop(token_hash(bob))
            await world.clock.advance(5.0)
            assert his.ended  # and its client reads nothing, so that it stays open
            await world.be_flooded()
            await world.clock.advance(10.0)
            assert not hers.ended
            await world.tokens.drop(token_hash(ann))
            await world.clock.advance(5.0)
            assert hers.ended


async def test_a_flood_of_wrong_tokens_keeps_no_revoked_stream_open() -> None:
    async with beating() as world:
        token = await world.token("bob")
        with world.stream(token) as line:
            await world.be_flooded()
            await world.access.revoke(token)  # not even known any more
            await world.clock.advance(5.0)
            assert line.ended


@pytest.mark.parametrize("failing", [StoreUnavailableError("away"), ValueError("a bug")])
async def test_streams_go_on_while_their_tokens_cannot_be_looked_up(failing: Exception) -> None:
    async with beating() as world:
        token = await world.token("ann")
        with world.stream(token) as line:
            world.tokens.failing = failing
            await world.clock.advance(10.0)
            assert not line.ended
            world.tokens.failing = None
            await world.tokens.drop(token_hash(token))
            await world.clock.advance(5.0)
            assert line.ended


async def _end(line: Lifeline, after_s: float) -> None:
    line.bookmark_due = True
    line.interrupt()
    await asyncio.sleep(after_s)
    line.end()


@in_virtual_time
async def test_a_write_that_hangs_is_given_up_soon_after_its_stream_has_ended() -> None:
    loop = asyncio.get_running_loop()
    line = Lifeline(cast("web.Request", _Request()), "", "databases", 3600.0)
    await line.write(asyncio.sleep(3), within_s=20)
    async with asyncio.TaskGroup() as group:
        group.create_task(_end(line, 1.0))
        with pytest.raises(TimeoutError):
            await line.write(asyncio.sleep(3600), within_s=20)
    assert loop.time() == pytest.approx(4.5)
    await line.write(asyncio.sleep(0.1), within_s=20)  # who takes what there is, gets it
    with pytest.raises(TimeoutError):
        await line.write(asyncio.sleep(3600), within_s=20)
    assert loop.time() == pytest.approx(5.1)


@in_virtual_time
async def test_a_write_that_hangs_takes_no_longer_than_it_may() -> None:
    line = Lifeline(cast("web.Request", _Request()), "", "databases", 3600.0)
    async with asyncio.TaskGroup() as group:
        group.create_task(_end(line, 19.9))
        with pytest.raises(TimeoutError):
            await line.write(asyncio.sleep(3600), within_s=20)
    assert asyncio.get_running_loop().time() == pytest.approx(20)
