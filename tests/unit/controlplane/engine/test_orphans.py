"""Records that vanish without a teardown, their finalizer taken off by hand: data stays, the rest
goes, and the next record of that name is not held for the one that went.
"""

import asyncio
from dataclasses import dataclass, field, replace

import pytest

from controlplane.engine.cache import Cache
from controlplane.engine.port import Outside
from controlplane.engine.term import Setup
from controlplane.records import Key
from resources.meta import Footprint, Record
from tests.support.bench import Bench, WorldSweeper, box_key
from tests.support.memory import MemoryStore
from tests.support.running import USER
from tests.support.toys import Depot, World
from tests.support.virtual import in_virtual_time

A, B = box_key("a"), box_key("b")
SETTLE_S = 1300.0


async def strip(bench: Bench, key: Key = A) -> None:
    """Delete it, and take its finalizers off before any teardown."""
    await bench.put_finalizers(key)
    await bench.delete(key)
    assert bench.find(key) is None


@in_virtual_time
async def test_data_stays_when_its_owner_vanishes() -> None:
    async with Bench().running() as bench:
        await bench.namespace()
        await bench.box("a", data="Retain", secret=True)
        await bench.settle(10)
        await strip(bench)
        await bench.settle(SETTLE_S)
        (depot,) = bench.store.cache.list("Depot")
        assert depot.owner_uids == ()
        assert not depot.deleting
        assert [t for t in bench.world.things if t.startswith("box")] == []


@in_virtual_time
async def test_next_of_its_name_is_not_taken_for_it() -> None:
    async with Bench().running() as bench:
        await bench.namespace()
        await bench.box("a", secret=True)
        await bench.settle(10)
        await strip(bench)
        await bench.box("a", secret=True)
        await bench.settle(SETTLE_S)
        assert bench.ready(A)
        uids = {thing.uid for name, thing in bench.world.things.items() if name[:3] == "box"}
        assert uids == {bench.get(A).uid}


@in_virtual_time
async def test_room_is_kept_while_the_bigger_size_is_still_in_use() -> None:
    """It waits for something before it can become smaller: what it has is charged till then."""
    async with Bench().running() as bench:
        await bench.namespace()
        await bench.box("a", cpu="2")
        await bench.settle(10)
        await bench.edit(A, cpu="1", reads="Secret/none")
        await bench.settle(60)
        assert bench.status(A)["allocation"]["cpu"] == "2"
        assert bench.ledger.totals().allocated.cpu_millicores == 2000


@dataclass(slots=True)
class SlowSweeper(WorldSweeper):
    async def remove(self, item: Outside, /) -> None:
        await asyncio.sleep(5)
        await WorldSweeper.remove(self, item)


@dataclass(slots=True)
class SlowlySwept(Bench):
    def setup(self) -> Setup:
        return replace(Bench.setup(self), sweepers=(SlowSweeper(self.world),))


@in_virtual_time
async def test_what_vanishes_during_a_sweep_keeps_its_room_until_the_next_one() -> None:
    async with SlowlySwept().shop("a", "b", cpu="1") as bench:
        await bench.settle(10)
        await strip(bench, A)
        await bench.settle(3)  # a sweep has found what is a's, and that b's is owned
        await strip(bench, B)
        await bench.settle(3.5)
        assert [name.split("-")[2] for name in bench.world.things if name[:3] == "box"] == ["b"]
        assert bench.ledger.totals().allocated.cpu_millicores == 1000
        await bench.settle(10)
        assert not any(name.startswith("box") for name in bench.world.things)
        assert bench.ledger.totals().allocated.cpu_millicores == 0


@in_virtual_time
async def test_a_pass_that_ends_after_its_record_vanished_holds_nothing_for_it() -> None:
    slow = asyncio.Event()
    slow.set()
    async with Bench(world=World(slow=slow)).shop("a", site="x.example", publish=True) as bench:
        slow.clear()
        await bench.edit(A, size=2)
        await bench.settle(1)
        await strip(bench)
        await bench.settle(60)  # swept, and what it held is given back
        slow.set()
        await bench.settle(1)
        await bench.box("b", site="x.example", publish=True)
        await bench.settle(60)
        assert bench.ready(B), bench.condition(B)
        assert bench.status(B)["allocation"]["ports"] == [30000]


@dataclass(slots=True)
class Stalling(Bench):
    """Who follows the changes is held up at the first Depot, and cut off after few of them."""

    store: MemoryStore = field(default_factory=lambda: MemoryStore(Cache(pending_changes=8)))

    def setup(self) -> Setup:
        async def prepare(model: type[Record]) -> None:
            await asyncio.sleep(10.0 if model is Depot else 0.0)

        return replace(Bench.setup(self), prepare=prepare)


@pytest.mark.parametrize("swept", [True, False])
@in_virtual_time
async def test_who_vanishes_while_changes_are_missed_keeps_no_room_from_others(swept: bool) -> None:
    bench = Stalling(capacity=Footprint(2000, 2**40, 2**40), sweeping=swept)
    async with bench.shop("a", "holder", cpu="1"):
        await bench.box("older", cpu="1")
        await bench.settle(2)
        await bench.box("younger", cpu="1")
        await bench.settle()
        depot = {"apiVersion": "bunker.cloud/v1", "kind": "Depot", "metadata": {"name": "d"}}
        await bench.records.create("Depot", depot, actor=USER)
        await bench.settle(1)
        await bench.delete(box_key("older"))
        await strip(bench)
        for size in range(10):
            await bench.edit(box_key("holder"), size=size)
        await bench.settle(SETTLE_S)
        assert bench.ready(box_key("younger"))
        assert bench.ledger.totals().allocated.cpu_millicores == 2000
        assert swept == (sum(name.startswith("box") for name in bench.world.things) == 2)
