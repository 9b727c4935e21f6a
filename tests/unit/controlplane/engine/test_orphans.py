"""Records that vanish without a teardown, their finalizer taken off by hand: data stays, the rest
goes, and the next record of that name is not held for the one that went.
"""

from tests.support.bench import Bench, box_key
from tests.support.virtual import in_virtual_time

A = box_key("a")
SETTLE_S = 1300.0


async def strip(bench: Bench) -> None:
    """Delete it, and take its finalizers off before any teardown."""
    await bench.put_finalizers(A)
    await bench.delete(A)
    assert bench.find(A) is None


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
