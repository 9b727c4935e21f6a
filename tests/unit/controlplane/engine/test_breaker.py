"""Drivers that are away: how often they are asked, and by whom."""

import random

import pytest

from controlplane.engine.breaker import FIRST_OPEN_S, MAX_OPEN_S, THRESHOLD, Breakers
from tests.support.platform import Platform
from tests.support.virtual import LoopClock, in_virtual_time


def open_for(breakers: Breakers, driver: str, *kinds: str) -> None:
    for kind in kinds * THRESHOLD:
        breakers.failed(driver, kind)


@pytest.mark.parametrize("kind", ["App", "Volume"])
@in_virtual_time
async def test_who_waits_for_one_driver_is_no_probe_of_another(kind: str) -> None:
    clock = LoopClock()
    breakers = Breakers(clock, random.Random(0))
    open_for(breakers, "docker", "App", "Volume")
    await clock.sleep(FIRST_OPEN_S / 2)
    open_for(breakers, "ingress", "App")
    await clock.sleep(FIRST_OPEN_S / 2)
    held = breakers.admit("App")
    assert held is not None
    assert held.driver == "ingress"
    await clock.sleep(MAX_OPEN_S)
    assert breakers.admit(kind) is None


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
