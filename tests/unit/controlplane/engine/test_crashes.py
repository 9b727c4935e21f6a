"""Killed at any call, before or after its effect: the next term finishes, once, and leaves
nothing over. The boundaries are discovered by running, not listed."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from controlplane.records import Stored, Write
from tests.support.bench import Bench, box_key
from tests.support.memory import MemoryStore
from tests.support.toys import Thing, World
from tests.support.virtual import run

A = box_key("a")
SETTLE_S = 1300.0
"""Two sweeps and two resyncs."""


@dataclass
class Fuse:
    """Cuts the process off at the n-th outside call, before or after it took effect."""

    at: int = -1
    after: bool = False
    calls: int = 0
    burnt: asyncio.Event = field(default_factory=asyncio.Event)

    async def call(self, effect: Callable[[], Awaitable[Stored | None]]) -> Stored | None:
        mine, self.calls = self.calls, self.calls + 1
        if mine != self.at:
            return await effect()
        if self.after:
            await effect()
        self.burnt.set()
        await asyncio.sleep(1e9)
        raise AssertionError("unreachable: the term was cancelled")


class FusedStore(MemoryStore):
    """Writes of the engine pass the fuse; those of users don't."""

    fuse: Fuse | None = None

    async def write(self, write: Write, /) -> Stored:
        if self.fuse is None or write.epoch is None:
            return await super().write(write)
        done = await self.fuse.call(lambda: MemoryStore.write(self, write))
        assert done is not None
        return done


class FusedWorld(World):
    fuse: Fuse | None = None

    async def ensure(self, thing: Thing) -> None:
        await self._fused(lambda: World.ensure(self, thing))

    async def remove(self, name: str) -> None:
        await self._fused(lambda: World.remove(self, name))

    async def _fused(self, effect: Callable[[], Awaitable[None]]) -> None:
        async def run_it() -> Stored | None:
            await effect()
            return None

        if self.fuse is None:
            await effect()
        else:
            await self.fuse.call(run_it)


async def create(bench: Bench) -> None:
    await bench.box("a", cpu="1", data="Delete", secret=True)


async def update(bench: Bench) -> None:
    await bench.edit(A, cpu="2", size=7)


async def delete(bench: Bench) -> None:
    await bench.delete(A)


async def retain(bench: Bench) -> None:
    await bench.edit(A, data="Retain")
    await bench.delete(A)


ACTIONS: dict[str, tuple[tuple[Callable[[Bench], Awaitable[None]], ...], bool]] = {
    "create": ((create,), True),
    "update": ((create, update), True),
    "delete": ((create, delete), False),
    "retain": ((create, retain), False),
}
"""The last one is done with the fuse lit; what is expected after: does the box exist?"""


def end_state(bench: Bench) -> tuple[object, ...]:
    """What the world and the store come to, without uids and times."""
    things = sorted(name.rsplit("-", 1)[0] for name in bench.world.things)
    sizes = sorted(thing.size for thing in bench.world.things.values())
    records = sorted(
        str(stored.key)
        for kind in ("Namespace", "Box", "Depot", "Secret")
        for stored in bench.store.cache.list(kind)
    )
    held = bench.ledger.totals().allocated
    return (things, sizes, records, held, bench.find(A) is not None and bench.ready(A))


async def play(action: str, fuse: Fuse) -> Bench:
    steps, _ = ACTIONS[action]
    store, world = FusedStore(), FusedWorld()
    bench = Bench(store=store, world=world)
    async with bench.running():
        await bench.namespace()
        for step in steps[:-1]:
            await step(bench)
            await bench.settle(10)
        await bench.settle(10)
    async with bench.crashing():
        await bench.settle(10)
        store.fuse = world.fuse = fuse
        await steps[-1](bench)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(fuse.burnt.wait(), timeout=30)
    return bench


async def recovered(action: str, fuse: Fuse) -> tuple[object, ...]:
    bench = await play(action, fuse)
    assert isinstance(bench.store, FusedStore)
    assert isinstance(bench.world, FusedWorld)
    bench.store.fuse = bench.world.fuse = None
    async with bench.running():
        await bench.settle(SETTLE_S)
        found = end_state(bench)
        calls = (bench.world.calls["ensure"], bench.world.calls["remove"])
        await bench.settle(SETTLE_S)
        assert calls == (bench.world.calls["ensure"], bench.world.calls["remove"])
    return found


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_crash_at_every_call_converges_to_the_same_end(action: str) -> None:
    counting = Fuse()
    expected = run(lambda: recovered(action, counting))
    assert expected[-1] == ACTIONS[action][1]
    assert counting.calls > 3
    for at in range(counting.calls):
        for after in (False, True):
            found = run(lambda at=at, after=after: recovered(action, Fuse(at, after)))  # type: ignore[misc]  # bound arguments
            assert found == expected, f"crashed at call {at}, {'after' if after else 'before'}"
