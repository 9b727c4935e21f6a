"""Drivers that are away: how often they are asked, and by whom."""

import asyncio
import random
from dataclasses import dataclass, field

import pytest

from controlplane.engine.breaker import (
    ASKS_ANYWAY_S,
    FIRST_OPEN_S,
    MAX_OPEN_S,
    THRESHOLD,
    Breakers,
)
from controlplane.errors import DriverUnavailableError
from controlplane.records import Key
from tests.support.bench import Bench, box_key
from tests.support.platform import Platform
from tests.support.toys import Thing, World
from tests.support.virtual import LoopClock, in_virtual_time

HOUR_S = 3600.0


@dataclass(slots=True)
class Servers(World):
    """Two that one driver speaks to: what is on the far one can't be reached."""

    far: set[str] = field(default_factory=set)
    """Names of Boxes."""
    call_s: float = 0.0

    async def observe(self, name: str) -> Thing | None:
        kind, *_, box, _ = name.split("-")
        if kind != "box" or box not in self.far:
            return await World.observe(self, name)
        self.calls["far"] += 1
        await asyncio.sleep(self.call_s)
        raise DriverUnavailableError("things", "cannot look: no answer")


def numbered(word: str, count: int) -> list[str]:
    return [f"{word}{number}" for number in range(count)]


async def resized(bench: Bench, name: str, size: int, within_s: float) -> bool:
    """Whether an edit of a Box is carried out in time."""
    await bench.edit(box_key(name), size=size)
    await bench.settle(within_s)
    thing = bench.thing(box_key(name))
    return bench.ready(box_key(name)) and thing is not None and thing.size == size


def key(kind: str) -> Key:
    return Key(kind, "shop", "a")


def open_for(breakers: Breakers, driver: str, *kinds: str) -> None:
    for kind in kinds * THRESHOLD:
        breakers.failed(driver, key(kind))


@pytest.mark.parametrize("kind", ["App", "Volume"])
@in_virtual_time
async def test_who_waits_for_one_driver_is_no_probe_of_another(kind: str) -> None:
    clock = LoopClock()
    breakers = Breakers(clock, random.Random(0))
    open_for(breakers, "docker", "App", "Volume")
    await clock.sleep(FIRST_OPEN_S / 2)
    open_for(breakers, "ingress", "App")
    await clock.sleep(FIRST_OPEN_S / 2)
    held = breakers.admit(key("App"))
    assert held is not None
    assert held.driver == "ingress"
    await clock.sleep(MAX_OPEN_S)
    assert breakers.admit(key(kind)) is None


@in_virtual_time
async def test_an_outage_is_told_once_to_each_and_never_in_the_words_of_another() -> None:
    async with Platform().running() as platform:
        await platform.settle(1)
        apps = [await platform.apply("App", f"web{n}", image="web:1") for n in range(10)]
        await platform.settle(30)
        platform.engine.engine_down()
        await platform.settle(1200)
        told = {platform.condition(each, "Synced")["message"] for each in apps}
        assert told <= {
            "cannot list_containers: the engine does not answer",
            "cannot reach 'docker': it did not answer others, and is tried again",
        }
        writes = [write for write in platform.store.writes if write.key.kind == "App"]
        await platform.settle(3600)
        later = [write for write in platform.store.writes if write.key.kind == "App"]
        assert len(later) == len(writes)


@pytest.mark.parametrize("count", [1, 2, 30])
@in_virtual_time
async def test_a_driver_that_is_back_is_found_in_time_however_few_wait_for_it(count: int) -> None:
    names = [f"b{number}" for number in range(count)]
    for away_s in (60, 600, 3600):
        async with Bench().running() as bench:
            await bench.namespace()
            bench.world.away = DriverUnavailableError("engine", "cannot look: no answer")
            for name in names:
                await bench.box(name)
            await bench.settle(away_s)
            bench.world.away = None
            await bench.settle(MAX_OPEN_S + 1)
            assert [name for name in names if not bench.ready(box_key(name))] == []


@in_virtual_time
async def test_who_was_to_ask_again_and_is_deleted_leaves_that_to_another() -> None:
    async with Bench().running() as bench:
        await bench.namespace()
        bench.world.away = DriverUnavailableError("engine", "cannot look: no answer")
        names = [f"b{number}" for number in range(3)]
        for name in names:
            await bench.box(name)
        await bench.settle(600)
        await bench.delete(box_key("b0"))
        await bench.delete(box_key("b1"))
        await bench.settle(600)
        bench.world.away = None
        await bench.settle(MAX_OPEN_S + 1)
        assert bench.ready(box_key("b2"))


@in_virtual_time
async def test_an_outage_costs_a_probe_now_and_then_however_many_wait() -> None:
    async with Bench().running() as bench:
        await bench.namespace()
        bench.world.away = DriverUnavailableError("engine", "cannot look: no answer")
        for number in range(30):
            await bench.box(f"b{number}")
        await bench.settle(600)
        before = bench.world.calls["observe"]
        await bench.settle(3600)
        assert bench.world.calls["observe"] - before <= 3600 / MAX_OPEN_S + 1


@pytest.mark.parametrize(("far", "near"), [(1, 1), (1, 10), (20, 2)])
@in_virtual_time
async def test_who_is_on_another_server_is_served_while_one_is_away(far: int, near: int) -> None:
    world = Servers(far=set(numbered("far", far)))
    async with Bench(world=world).shop(*numbered("far", far), *numbered("near", near)) as bench:
        await bench.settle(MAX_OPEN_S)
        for hour in range(3):
            before = world.calls["far"]
            for size in range(2, 8):
                assert await resized(bench, "near0", hour * 10 + size, within_s=3)
                await bench.settle(HOUR_S / 6)
            # the probes, and each of those that fail once in ten minutes
            most = HOUR_S / MAX_OPEN_S + far * HOUR_S / ASKS_ANYWAY_S
            assert world.calls["far"] - before <= most + (far if hour == 0 else 1)
        await bench.box("near-new")
        await bench.settle(3)
        assert bench.ready(box_key("near-new"))
        passes = world.calls["observe"]
        await bench.settle(HOUR_S)
        # resync, at most: who was not held is not woken because another probes
        assert world.calls["observe"] - passes <= (near + 2) * HOUR_S / 480 + 2
        world.far.clear()
        await bench.settle(MAX_OPEN_S + 1)
        assert [name for name in numbered("far", far) if not bench.ready(box_key(name))] == []


@in_virtual_time
async def test_an_edit_comes_before_the_many_that_an_outage_holds() -> None:
    names = numbered("far", 100)
    world = Servers(call_s=2.0)
    async with Bench(world=world).shop("near", *names) as bench:
        world.far.update(names)
        await bench.wake()
        await bench.settle(60)
        for size in range(2, 6):
            await bench.settle(20)
            assert await resized(bench, "near", size, within_s=MAX_OPEN_S)


@in_virtual_time
async def test_an_edit_takes_the_turn_of_one_that_nobody_waits_for() -> None:
    clock = LoopClock()
    breakers = Breakers(clock, random.Random(0))
    open_for(breakers, "things", "Box")
    other, edited = box_key("other"), box_key("edited")
    assert breakers.admit(other) is not None
    held = breakers.admit(edited, edited=True)
    assert held is not None
    assert held.probes
    await clock.sleep(FIRST_OPEN_S)
    assert breakers.admit(other) is not None
    assert breakers.admit(edited) is None


@in_virtual_time
async def test_who_failed_in_passing_is_not_kept_by_one_that_fails_for_ever() -> None:
    clock = LoopClock()
    breakers = Breakers(clock, random.Random(0))
    far, near = box_key("far"), box_key("near")
    breakers.failed("things", near)
    for _ in range(THRESHOLD):
        breakers.failed("things", far)
    due = {far: FIRST_OPEN_S, near: 3.0}
    asked: set[Key] = set()
    while near not in asked:
        each = min(due, key=lambda who: due[who])
        await clock.sleep(due[each] - clock.monotonic())
        held = breakers.admit(each)
        if held is None:
            asked.add(each)
            due[each] = clock.monotonic() + (breakers.failed("things", each) or 0.0)
        else:
            due[each] = clock.monotonic() + held.retry_after_s
        assert clock.monotonic() < 5 * MAX_OPEN_S


@in_virtual_time
async def test_who_failed_in_passing_is_not_kept_by_many_that_fail_for_ever() -> None:
    clock, rng = LoopClock(), random.Random(0)
    breakers = Breakers(clock, rng)
    near = box_key("near")
    breakers.failed("things", near)
    due = {key: rng.uniform(0.0, MAX_OPEN_S) for key in map(box_key, numbered("far", 300))}
    for far in due:
        breakers.failed("things", far)
    due[near] = 3.0
    asked = 0
    while True:
        each = min(due, key=lambda who: due[who])
        await clock.sleep(max(0.0, due[each] - clock.monotonic()))
        held = breakers.admit(each)
        if held is None and each == near:
            break
        if held is None:
            asked += 1
            backoff_s = rng.uniform(150.0, 300.0)
            due[each] = clock.monotonic() + (breakers.failed("things", each) or backoff_s)
        else:
            due[each] = clock.monotonic() + max(held.retry_after_s, rng.uniform(1.0, 300.0))
        assert clock.monotonic() < 2 * ASKS_ANYWAY_S
    assert asked < clock.monotonic()


@in_virtual_time
async def test_what_is_moved_off_the_server_that_is_away_waits_for_it_no_more() -> None:
    names = numbered("far", 10)
    world = Servers(far=set(names))
    async with Bench(world=world).shop(*names) as bench:
        await bench.settle(600)
        world.far.discard("far3")
        assert await resized(bench, "far3", 2, within_s=3)


@in_virtual_time
async def test_many_records_ask_one_by_one_and_once_each_in_an_outage() -> None:
    clock, rng = LoopClock(), random.Random(0)
    breakers = Breakers(clock, rng)
    keys = [box_key(name) for name in numbered("far", 200)]
    open_for(breakers, "things", "Box")
    calls: list[float] = []
    while clock.monotonic() < HOUR_S / 6:
        rng.shuffle(keys)
        for each in keys:
            if breakers.admit(each) is None:
                calls.append(clock.monotonic())
                breakers.failed("things", each)
        await clock.sleep(FIRST_OPEN_S)
    # one that asks for the first time in each second, and the probes
    assert max(calls.count(moment) for moment in set(calls)) <= 2
    assert len(calls) <= len(keys) + HOUR_S / 6 / MAX_OPEN_S + 6
    assert len([moment for moment in calls if moment > HOUR_S / 12]) <= HOUR_S / 12 / MAX_OPEN_S + 1
    assert breakers.admit(box_key("near")) is None


@in_virtual_time
async def test_all_that_an_outage_holds_runs_again_once_it_is_over() -> None:
    names = numbered("far", 100)
    world = Servers()
    async with Bench(world=world).shop(*names) as bench:
        for away_s in (30, 600):
            world.far.update(names)
            await bench.wake()
            await bench.settle(away_s)
            world.far.clear()
            await bench.settle(MAX_OPEN_S + 1)
            synced = {bench.condition(box_key(name), "Synced")["status"] for name in names}
            assert synced == {"True"}


@in_virtual_time
async def test_what_is_gone_leaves_nothing_behind() -> None:
    names = numbered("far", 8)
    world = Servers(far=set(names))
    async with Bench(world=world).shop(*names) as bench:
        await bench.settle(600)
        assert bench.term is not None
        assert "things" in bench.term.breakers.open
        for name in names:
            await bench.delete(box_key(name))
        await bench.settle(5)
        assert not bench.term.breakers.open
        assert all(not queue.failures(box_key(name))
                   for queue in bench.term.queues.values() for name in names)  # fmt: skip
        await bench.box("near")
        await bench.settle(3)
        assert bench.ready(box_key("near"))
