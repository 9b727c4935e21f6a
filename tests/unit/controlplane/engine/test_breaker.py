"""Drivers that are away: how often they are asked, and by whom."""

import random

import pytest

from controlplane.engine.breaker import FIRST_OPEN_S, MAX_OPEN_S, THRESHOLD, Breakers
from controlplane.errors import DriverUnavailableError
from controlplane.records import Key
from tests.support.bench import Bench, box_key
from tests.support.platform import Platform
from tests.support.virtual import LoopClock, in_virtual_time


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
