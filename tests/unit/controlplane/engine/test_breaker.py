"""Drivers that are away: how often they are asked, and by whom."""

import random

import pytest

from controlplane.engine.breaker import FIRST_OPEN_S, MAX_OPEN_S, THRESHOLD, Breakers
from tests.support.virtual import LoopClock, in_virtual_time


def open_for(breakers: Breakers, driver: str, *kinds: str) -> None:
    for kind in kinds * THRESHOLD:
        breakers.failed(driver, kind, f"{driver} does not answer")


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
