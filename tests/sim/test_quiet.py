"""At rest is at rest: a day of each kind, Ready and left alone, is no write and no change."""

import asyncio
import gc
import time

import pytest

from controlplane.records import Key
from tests.sim.check import restless
from tests.sim.stage import READY_S, Stage
from tests.sim.worlds import SPACE, WORLDS, example
from tests.support.figures import tell
from tests.support.running import USER
from tests.support.virtual import run

DAY_S = 24 * 3600.0
BLOCKED_S = 0.05
APPS = 150
VOLUMES = 2500
"""So many that a loop over all of them that doesn't let others run is too long."""


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


async def wake_all(stage: Stage) -> None:
    """Let all Apps be due at once, with nothing to do: their Namespace says something else."""
    home = stage.platform.get(Key("Namespace", "", SPACE))
    status = home.obj["status"]
    said = [{**each, "message": "something else"} for each in status["conditions"]]
    told = {**home.obj, "status": {**status, "conditions": said}}
    await stage.platform.records.update(home, told, actor=USER, subresource="status")


def held_up(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, str]]:
    """Callbacks of a busy platform that took longer than they may, by the processor time of their
    thread: waiting for a loaded machine isn't blocking. Nor is the collector, whose longest look
    takes 60 to 160 ms here: the heap is the simulation's, with all that it remembers."""
    found: list[tuple[float, str]] = []
    plain = asyncio.Handle._run
    collecting_s = 0.0

    def collected(phase: str, _: dict[str, int]) -> None:
        nonlocal collecting_s
        now_s = time.thread_time()
        collecting_s += now_s if phase == "stop" else -now_s

    def timed(self: asyncio.Handle) -> None:
        began_s = time.thread_time() - collecting_s
        plain(self)
        took_s = time.thread_time() - collecting_s - began_s
        if took_s > BLOCKED_S:
            task = getattr(self._callback, "__self__", None)  # type: ignore[attr-defined]
            found.append((took_s, repr(task if isinstance(task, asyncio.Task) else self)))

    async def main() -> None:
        stage = Stage()
        async with stage.supervised():
            await stage.platform.settle(2)
            small = example("Volume")["spec"] | {"size": "1Mi"}
            for number in range(VOLUMES):
                await stage.make("Volume", small, f"volume-{number}")
            for number in range(APPS):
                await stage.make("App", name=f"app-{number}")
            await stage.platform.settle(READY_S)
            await wake_all(stage)
            await stage.platform.settle(READY_S)
            stage.kill()
            await stage.platform.settle(READY_S)

    # what the suite has left on the heap is no part of the platform
    gc.collect()
    gc.freeze()
    gc.callbacks.append(collected)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(asyncio.Handle, "_run", timed)
            run(main)
    finally:
        gc.callbacks.remove(collected)
        gc.unfreeze()
    return found


def test_the_loop_is_never_blocked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert held_up(monkeypatch) == []
