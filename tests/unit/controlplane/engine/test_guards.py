"""Guards that only misfortune tests: a wrong database, a gap in the changes, a broken stream."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from controlplane.engine.breaker import Breakers
from controlplane.engine.index import Dependents
from controlplane.engine.port import Outside
from controlplane.engine.queue import Queue
from controlplane.engine.sweep import UNSEEN_MAX
from controlplane.engine.term import Setup
from controlplane.engine.wakes import Wakes
from controlplane.errors import ConflictError, SlowReaderError, TerminalError
from controlplane.records import Change, Key, Stored, Write
from tests.support.bench import Bench, WorldSweeper, box_key
from tests.support.memory import MemoryStore
from tests.support.platform import Platform
from tests.support.toys import Thing, World
from tests.support.virtual import LoopClock, in_virtual_time, run

SWEPT_S = 1300.0


def strangers_records(count: int) -> dict[str, Thing]:
    """Things with our labels whose records no database of ours ever had."""
    uids = [f"{number:08x}-1" for number in range(count)]
    names = [f"box-shop-b{number}-{uid[:8]}" for number, uid in enumerate(uids)]
    return {name: Thing(name, uid, 1) for name, uid in zip(names, uids, strict=True)}


def swept(count: int) -> int:
    async def main() -> int:
        bench = Bench()
        bench.world.things = strangers_records(count)
        async with bench.running():
            await bench.settle(SWEPT_S)
            return count - len(bench.world.things)

    return run(main)


def test_leftovers_are_swept() -> None:
    assert swept(UNSEEN_MAX) == UNSEEN_MAX


def test_a_wrong_or_empty_database_takes_nothing_down() -> None:
    assert swept(UNSEEN_MAX + 1) == 0


@dataclass(slots=True)
class Telling(WorldSweeper):
    """Every other thing says by itself whose it is."""

    async def list_owned(self) -> list[Outside]:
        found = await WorldSweeper.list_owned(self)
        return [replace(each, known=number % 2 == 0) for number, each in enumerate(found)]


@dataclass(slots=True)
class Told(Bench):
    def setup(self) -> Setup:
        return replace(Bench.setup(self), sweepers=(Telling(self.world),))


@in_virtual_time
async def test_what_says_whose_it_is_goes_however_many_and_takes_no_other_along() -> None:
    bench = Told()
    bench.world.things = strangers_records(4 * UNSEEN_MAX)
    unknown = list(bench.world.things)[1::2]
    async with bench.running():
        await bench.settle(5)
        assert list(bench.world.things) == unknown


def test_the_known_do_not_count_among_the_many() -> None:
    async def main() -> int:
        bench = Told()
        bench.world.things = strangers_records(2 * UNSEEN_MAX)
        async with bench.running():
            await bench.settle(5)
            return len(bench.world.things)

    assert run(main) == 0


class Gap:
    """A view whose stream breaks at once."""

    revision = 5

    def list(self, kind: str, namespace: str | None = None, /) -> Sequence[Stored]:
        body = b'{"metadata":{"name":"a"}}'
        return [Stored(Key(kind, "shop", "a"), "u", 5, 1, body)]

    def watch(self, kinds: Any, since: int, /) -> "Gap":
        return self

    def __aiter__(self) -> "Gap":
        return self

    async def __anext__(self) -> Change:
        raise SlowReaderError("too far behind")


@in_virtual_time
async def test_after_a_gap_in_the_changes_everything_is_looked_at() -> None:
    clock, rng = LoopClock(), random.Random(0)
    queue = Queue(clock, rng)
    view: Any = Gap()
    queues = {"Box": queue}
    breakers = Breakers(clock, rng)
    wakes = Wakes(view, queues, Dependents(), lambda stored: (), breakers, clock)
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(wakes.follow(0))
        await asyncio.sleep(0.5)
        assert queue.depth == 1
        following.cancel()


@in_virtual_time
async def test_after_a_driver_came_back_everything_is_looked_at() -> None:
    async with Platform().running() as platform:
        await platform.settle(1)
        web = await platform.apply("App", "web", image="web:1")
        await platform.settle(30)
        container = platform.engine.containers[platform.of(web)[0].id]
        platform.engine.engine_down()
        container.state = replace(container.state, running=False)
        await platform.settle(1)
        platform.engine.engine_up()
        await platform.settle(3)
        assert platform.of(web)[0].running


@in_virtual_time
async def test_every_write_of_the_engine_carries_its_epoch() -> None:
    async with Bench().running() as bench:
        await bench.namespace()
        await bench.box("a", data="Delete", secret=True)
        await bench.settle(10)
        await bench.delete(box_key("a"))
        await bench.settle(10)
    mine = [write for write in bench.store.writes if write.actor == "system:agent"]
    assert len(mine) > 5
    assert {write.epoch for write in mine} == {bench.epoch}


@in_virtual_time
async def test_who_asks_to_keep_the_data_while_a_server_stops_is_heard() -> None:
    async with Bench().running() as bench:
        await bench.namespace()
        await bench.box("a", data="Delete")
        await bench.settle(10)
        bench.world.slow = asyncio.Event()
        await bench.delete(box_key("a"))
        await bench.settle(1)
        await bench.edit(box_key("a"), data="Retain")
        stops, bench.world.slow = bench.world.slow, None
        stops.set()
        await bench.settle(30)
        assert bench.find(box_key("a")) is None
        assert [stored.owner_uids for stored in bench.store.cache.list("Depot")] == [()]


@dataclass(slots=True)
class Contended(MemoryStore):
    """Once `lost` is false, the engine's next write of a Box loses a race that nothing tells of."""

    lost: bool = True

    async def write(self, write: Write, /) -> Stored:
        if write.epoch is not None and write.key.kind == "Box" and not self.lost:
            self.lost = True
            raise ConflictError("lost the race")
        return await MemoryStore.write(self, write)


@in_virtual_time
async def test_a_lost_race_is_run_again_at_once() -> None:
    store = Contended()
    async with Bench(store=store).running() as bench:
        await bench.namespace()
        await bench.box("a")
        await bench.settle(30)
        store.lost = False
        await bench.edit(box_key("a"), size=7)
        await bench.settle(5)
        assert store.lost
        assert bench.status(box_key("a"))["size"] == 7


@dataclass(slots=True)
class Failing(World):
    """Nothing can ever be made of it; and whoever learns so can't tell the store."""

    store: MemoryStore | None = None

    async def ensure(self, thing: Thing) -> None:
        assert self.store is not None
        if thing.name.startswith("box"):
            self.store.away = self.calls["ensure"] < 2
            self.calls["ensure"] += 1
            raise TerminalError("cannot make it: it is nonsense")
        await World.ensure(self, thing)


@in_virtual_time
async def test_what_only_an_edit_mends_is_told_once_the_store_is_back() -> None:
    store = MemoryStore()
    async with Bench(store=store, world=Failing(store=store)).running() as bench:
        await bench.namespace()
        await bench.settle()
        await bench.box("a")
        await bench.settle(1)
        store.away = False
        await bench.settle(60)
        assert bench.condition(box_key("a"), "Stalled")["status"] == "True"
        assert bench.world.calls["ensure"] == 3
