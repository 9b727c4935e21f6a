"""Admission end to end: what fits runs, the rest says why and starts by itself."""

import random
from typing import Any

import pytest

from controlplane.engine.controller import Tuning
from controlplane.engine.resolve import allocation_of
from controlplane.errors import RetryableError
from controlplane.records import Write
from resources.meta import Footprint
from tests.support.bench import Bench, box_key
from tests.support.running import USER
from tests.support.virtual import in_virtual_time, run

MIB = 2**20
CAPACITY = Footprint(2000, 1000 * MIB, 10**12)
A, B = box_key("a"), box_key("b")


def stored_sum(bench: Bench) -> Footprint:
    total = Footprint()
    for stored in bench.store.cache.list("Box"):
        held = allocation_of(stored)
        total += held.footprint if held is not None else Footprint()
    return total


def real_sum(bench: Bench) -> Footprint:
    total = Footprint()
    for thing in bench.world.things.values():
        total += thing.footprint
    return total


def watched(
    *,
    capacity: Footprint = CAPACITY,
    quotas: dict[str, Footprint] | None = None,
    seed: int = 0,
) -> Bench:
    """A host of this capacity; the promise is checked at every commit."""
    bench = Bench(capacity=capacity, quotas=quotas or {}, seed=seed)

    def check(_write: Write) -> None:
        assert stored_sum(bench).fits(capacity), "more is promised than there is"
        assert real_sum(bench).fits(stored_sum(bench)), "more runs than is promised"

    bench.store.on_write = check
    return bench


@in_virtual_time
async def test_exactly_those_that_fit_run_and_the_rest_says_why() -> None:
    async with watched().shop() as bench:
        for i in range(20):
            await bench.box(f"b{i:02}", cpu="300m", memory="64Mi")
        await bench.settle(30)
        names = [f"b{i:02}" for i in range(20)]
        running = {name for name in names if bench.ready(box_key(name))}
        assert len(running) == 6
        waiting = next(name for name in names if name not in running)
        admitted = bench.condition(box_key(waiting), "Admitted")
        assert admitted["reason"] == "BudgetExceeded"
        assert "short of 100m CPU" in admitted["message"]
        writes = {name: bench.store.writes_to(box_key(name)) for name in names}
        await bench.delete(box_key(min(running)))
        await bench.settle(5)
        now = {name for name in names if bench.find(box_key(name)) and bench.ready(box_key(name))}
        assert len(now) == 6
        assert now > running - {min(running)}
        touched = [n for n in names if bench.store.writes_to(box_key(n)) != writes[n]]
        assert set(touched) == (now - running) | {min(running)}


@in_virtual_time
async def test_shrinking_one_starts_the_next() -> None:
    async with watched().shop() as bench:
        await bench.box("a", cpu="2")
        await bench.settle()
        await bench.box("b", cpu="1")
        await bench.settle()
        assert not bench.ready(B)
        await bench.edit(A, cpu="1")
        await bench.settle()
        assert bench.ready(B)
        assert bench.ledger.totals().free.cpu_millicores == 0


@in_virtual_time
async def test_growth_that_does_not_fit_leaves_what_runs_alone() -> None:
    async with watched().shop() as bench:
        await bench.box("a", cpu="1")
        await bench.box("b", cpu="1")
        await bench.settle()
        await bench.edit(A, cpu="2")
        await bench.settle()
        assert bench.ready(A)
        assert bench.condition(A, "Admitted")["status"] == "False"
        assert bench.status(A)["allocation"]["cpu"] == "1"
        await bench.delete(B)
        await bench.settle()
        assert bench.status(A)["allocation"]["cpu"] == "2"


@in_virtual_time
async def test_scaling_up_beyond_the_room_waits_as_any_edit_does() -> None:
    """`kubectl scale` writes by another way than `kubectl apply`."""
    async with watched().shop() as bench:
        await bench.box("a", cpu="1", size=1)
        await bench.box("b", cpu="1")
        await bench.settle()
        base = bench.get(A)
        scaled = {**base.obj, "spec": {"cpu": "2", "size": 2}}
        await bench.records.update(base, scaled, actor=USER, subresource="scale")
        await bench.settle()
        thing = bench.thing(A)
        assert thing is not None
        assert thing.size == 1
        assert bench.status(A)["allocation"]["spec"] == {"cpu": "1", "size": 1}
        await bench.delete(B)
        await bench.settle()
        thing = bench.thing(A)
        assert thing is not None
        assert thing.size == 2
        assert "spec" not in bench.status(A)["allocation"]


@in_virtual_time
async def test_growth_that_waits_leaves_the_admitted_size_to_be_healed() -> None:
    async with watched().shop() as bench:
        await bench.box("a", cpu="1", size=1)
        await bench.box("b", cpu="1")
        await bench.settle()
        base = bench.get(A)
        bigger = {**base.obj, "spec": {"cpu": "2"}}
        asked = await bench.records.update(base, bigger, actor=USER, dry_run=True)
        assert "spec" not in asked.obj["status"]["allocation"], "kubectl diff stays short"
        await bench.edit(A, cpu="2", size=2)
        await bench.edit(A, cpu="3", size=3)
        await bench.settle()
        thing = bench.thing(A)
        assert thing is not None
        assert thing.size == 1
        assert bench.status(A)["allocation"]["spec"] == {"cpu": "1", "size": 1}
        bench.break_thing(A)
        await bench.settle(700)
        assert bench.thing(A) == thing
        assert bench.condition(A, "Synced")["reason"] == "BudgetExceeded"
        assert bench.reasons().count("BudgetExceeded") == 1
    async with bench.running():
        bench.break_thing(A)
        await bench.settle(700)
        assert bench.thing(A) == thing, "after a restart, too"
        await bench.delete(B)
        await bench.edit(A, cpu="2")
        await bench.settle()
        grown = bench.thing(A)
        assert grown is not None
        assert grown.size == 3
        assert bench.condition(A, "Synced")["status"] == "True"
        assert "spec" not in bench.status(A)["allocation"]


@pytest.mark.parametrize("fails", [False, True], ids=["made", "yet to be made"])
@in_virtual_time
async def test_room_given_up_before_a_growth_that_waits_goes_to_others(fails: bool) -> None:
    """The growth is asked for while the step to the smaller size is under way, which may fail."""
    bench = watched(capacity=Footprint(3000, 10**12, 10**12))
    async with bench.shop("c", cpu="1"):
        await bench.box("a", cpu="2", site="old.example")
        await bench.box("b", cpu="1", site="old.example")
        await bench.settle()
        bench.world.latency_s = 2.0
        bench.world.errors = [RetryableError("cannot ensure thing 'a': busy")] * fails
        await bench.edit(A, cpu="1", size=2, site="new.example")
        await bench.settle(1)
        await bench.edit(A, cpu="3", size=3)
        await bench.settle(2 if fails else 0.9)
        assert bench.status(A)["allocation"]["cpu"] == "2", "it runs at that size still"
        await bench.settle(60)
        assert bench.status(A)["allocation"]["cpu"] == "1"
        assert bench.condition(A, "Admitted")["reason"] == "BudgetExceeded"
        assert bench.ready(B)
        assert bench.ledger.totals().free.cpu_millicores == 0
        writes = bench.store.writes_to(A)
        await bench.settle(2000)
        assert bench.store.writes_to(A) <= writes + 1, "of what it is short of now"
    async with bench.running():
        bench.break_thing(A)
        await bench.settle(700)
        thing = bench.thing(A)
        assert thing is not None
        assert (thing.size, thing.running) == (2, True), "healed as it was admitted"
        await bench.delete(B)
        await bench.delete(box_key("c"))
        await bench.settle(30)
        thing = bench.thing(A)
        assert thing is not None
        assert thing.size == 3
        assert bench.status(A)["allocation"]["cpu"] == "3"
        assert "spec" not in bench.status(A)["allocation"]


@in_virtual_time
async def test_quota_holds_for_its_namespace_alone() -> None:
    quota = {"shop": Footprint(500, 10**12, 10**12)}
    async with watched(quotas=quota).running() as bench:
        await bench.namespace()
        await bench.namespace("other")
        await bench.settle()
        await bench.box("a", cpu="600m")
        await bench.box("a", namespace="other", cpu="600m")
        await bench.settle()
        assert bench.condition(A, "Admitted")["reason"] == "QuotaExceeded"
        assert bench.ready(box_key("a", "other"))


async def two_wait(bench: Bench) -> None:
    """`old`, and after it `young`, for what `holder` has; it is enough for one of them."""
    await bench.box("holder", cpu="2")
    await bench.settle()
    await bench.box("old", cpu="1500m")
    await bench.settle(2)
    await bench.box("young", cpu="1500m")
    await bench.settle()


@in_virtual_time
async def test_restart_forgets_nothing_and_keeps_the_order_of_those_that_wait() -> None:
    async with watched().shop() as bench:
        await two_wait(bench)
    async with bench.running():
        await bench.settle()
        assert bench.ledger.totals().allocated.cpu_millicores == 2000
        await bench.delete(box_key("holder"))
        await bench.settle()
        assert bench.ready(box_key("old"))
        assert not bench.ready(box_key("young"))


@pytest.mark.parametrize("seed", range(12))
def test_promise_holds_at_every_moment_of_a_random_history(seed: int) -> None:
    """Edits, deletes, crashes and restarts in any order; in the end nothing that waits would
    fit, and everything else holds exactly what it asks for."""

    async def main() -> None:
        rng = random.Random(seed)
        bench = watched(seed=seed)
        bench.world.latency_s = 0.3
        bench.store.latency_s = 0.01
        async with bench.running():
            await bench.namespace()
            await bench.settle()
        for _ in range(6):
            async with bench.crashing() if rng.random() < 0.5 else bench.running():
                for _ in range(15):
                    await disturb(bench, rng, rng.choice(NAMES))
                    await bench.settle(rng.random() * 0.5)
        async with bench.running():
            await bench.settle(120)
            for name in NAMES:
                check_settled(bench, name)
            assert bench.ledger.totals().allocated == stored_sum(bench)

    run(main, seed=seed)


NAMES = [f"b{i}" for i in range(12)]


async def disturb(bench: Bench, rng: random.Random, name: str) -> None:
    key = box_key(name)
    stored = bench.find(key)
    cpu, memory = f"{rng.randrange(0, 9)}00m", rng.randrange(0, 500) * MIB
    if stored is None:
        await bench.box(name, cpu=cpu, memory=memory, priority=rng.randrange(3))
    elif stored.deleting:
        return
    elif rng.random() < 0.3:
        await bench.delete(key)
    else:
        await bench.edit(key, cpu=cpu, memory=memory)


def check_settled(bench: Bench, name: str) -> None:
    stored = bench.find(box_key(name))
    if stored is None:
        return
    spec = stored.obj["spec"]
    wants = Footprint(int(spec["cpu"].removesuffix("m")), spec["memory"])
    held = allocation_of(stored)
    has = held.footprint if held is not None else Footprint()
    if bench.condition(box_key(name), "Admitted")["status"] == "True":
        assert has == wants
        assert bench.ready(box_key(name))
    else:
        more = has.at_least(wants) - has
        assert not more.fits(CAPACITY - stored_sum(bench)), f"{name} waits, and would fit"


@in_virtual_time
async def test_one_that_waits_and_breaks_keeps_no_room_from_others() -> None:
    async with watched().shop() as bench:
        await two_wait(bench)
        await bench.edit(box_key("old"), size="broken")
        await bench.settle()
        await bench.delete(box_key("holder"))
        await bench.settle()
        assert bench.ready(box_key("young"))


@pytest.mark.parametrize(
    "edit", [{"cpu": "1"}, {"cpu": "3"}, {"cpu": "2", "priority": -1}], ids=["less", "more", "last"]
)
@in_virtual_time
async def test_one_that_lets_others_go_first_wakes_them(edit: dict[str, Any]) -> None:
    """It is woken as room is freed, and edited before its turn comes."""
    bench = watched()
    bench.tuning = Tuning(workers=1)
    async with bench.shop("busy"):
        await bench.box("a", cpu="1")
        await bench.box("holder", cpu="1")
        await bench.settle()
        await bench.edit(A, cpu="2")
        await bench.settle(2)
        await bench.box("b", cpu="1")
        await bench.settle()
        bench.world.latency_s = 5.0
        await bench.delete(box_key("holder"))
        await bench.settle(1)
        await bench.edit(box_key("busy"), size=2)
        await bench.settle(6)
        assert bench.find(box_key("holder")) is None
        await bench.edit(A, **edit)
        await bench.settle(30)
        assert bench.ready(B)
