"""At rest is at rest: a day of each kind, Ready and left alone, is no write and no change."""

import asyncio
import gc
import time

import pytest

from tests.sim.check import restless
from tests.sim.stage import READY_S, Stage
from tests.sim.worlds import WORLDS
from tests.support.figures import tell
from tests.support.virtual import run

DAY_S = 24 * 3600.0
BLOCKED_S = 0.05


@pytest.mark.parametrize("kind", list(WORLDS))
def test_a_converged_record_is_left_alone_for_a_day(kind: str) -> None:
    async def main() -> list[str]:
        stage = Stage()
        async with stage.supervised():
            await stage.platform.settle(2)
            await stage.make(kind)
            await stage.platform.settle(READY_S)
            return await restless(stage, DAY_S)

    assert run(main) == []
    tell("simulated hours at rest", 24, kind=kind)


def test_the_loop_is_never_blocked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every callback of a busy platform, by the processor time of its thread: waiting for a
    loaded machine isn't blocking."""
    worst: list[tuple[float, str]] = []
    plain = asyncio.Handle._run

    def timed(self: asyncio.Handle) -> None:
        began_s = time.thread_time()
        plain(self)
        took_s = time.thread_time() - began_s
        if took_s > BLOCKED_S:
            worst.append((took_s, repr(self)))

    async def main() -> None:
        stage = Stage()
        async with stage.supervised():
            await stage.platform.settle(2)
            for number in range(1200):
                await stage.make("Volume", name=f"volume-{number}")
            for number in range(30):
                await stage.make("App", name=f"app-{number}")
            await stage.platform.settle(READY_S)
            stage.kill()
            await stage.platform.settle(READY_S)

    # what the suite has left on the heap is no part of the platform
    gc.collect()
    gc.freeze()
    monkeypatch.setattr(asyncio.Handle, "_run", timed)
    try:
        run(main)
    finally:
        gc.unfreeze()
    assert worst == []
