"""What reconciling costs outside: calls of drivers and writes to the store, on fakes."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from controlplane.records import Key
from controlplane.seam import Call
from tests.sim.stage import READY_S, Stage
from tests.sim.worlds import WORLDS, example
from tests.support.costs import hold, python_calls
from tests.support.virtual import run

LIVING = [kind for kind, world in WORLDS.items() if world.lives]
RESTING = 100
HOUR_S = 3600.0


def key_of(kind: str) -> Key:
    meta = example(kind)["metadata"]
    return Key(kind, meta.get("namespace", ""), meta["name"])


async def counted(
    stage: Stage, name: str, act: Callable[[], Awaitable[object]]
) -> dict[str, float]:
    """Calls out of the process that follow from `act`, until all is at rest."""
    stage.tracer.trace.clear()
    stage.tracer.armed = True
    await act()
    await stage.platform.settle(READY_S)
    stage.tracer.armed = False
    changes = sum(site.changes for site in stage.tracer.trace)
    return {f"{name}: changes": changes, f"{name}: reads": len(stage.tracer.trace) - changes}


@pytest.mark.parametrize("kind", LIVING)
def test_the_life_of_a_record(kind: str) -> None:
    """Made and Ready, the process killed and restarted, deleted."""
    counts: dict[str, float] = {}

    async def restart() -> None:
        stage.kill()

    async def main() -> None:
        async with stage.supervised():
            await stage.platform.settle(2)
            await stage.provide(example(kind))
            await stage.platform.settle(READY_S)
            counts.update(await counted(stage, "create", lambda: stage.make(kind)))
            counts.update(await counted(stage, "restart", restart))
            counts.update(
                await counted(stage, "delete", lambda: stage.platform.delete(key_of(kind)))
            )

    stage = Stage()
    run(main)
    hold(f"life of a {kind}", counts)


def test_an_hour_of_rest() -> None:
    """Apps that are as they should be: what the process does of itself."""
    counts: dict[str, float] = {}

    async def main() -> None:
        stage = Stage()
        async with stage.supervised():
            await stage.platform.settle(2)
            for number in range(RESTING):
                await stage.make("App", {**example("App")["spec"]}, name=f"app-{number}")
            await stage.platform.settle(HOUR_S)
            stage.tracer.armed = True
            with python_calls() as took:
                await stage.platform.settle(HOUR_S)
            counts["calls of Python functions, each App"] = took.calls / RESTING
            counts["calls of drivers, each App"] = len(stage.tracer.trace) / RESTING
            counts["changes"] = sum(site.changes for site in stage.tracer.trace)

    run(main)
    hold("an hour of rest", counts)


@dataclass(slots=True)
class Slow:
    """Each call takes a while, as outside."""

    seconds: float = 0.05

    def opened(self, port: str, verbs: Sequence[str], /) -> None:
        """Nothing to prepare."""

    async def __call__(self, call: Call, /) -> Any:
        await asyncio.sleep(self.seconds)
        return await call.go()


def test_a_burst_of_changes_is_few_passes() -> None:
    """1,000 edits of one App in a moment: no more calls than one edit takes, or two."""
    counts: dict[str, float] = {}

    async def edits(stage: Stage) -> None:
        key = key_of("App")
        for number in range(1000):
            spec = stage.spec(key)
            env = [{"name": "NUMBER", "value": str(number)}]
            await stage.edit(key, {**spec, "env": env})

    async def main() -> None:
        stage = Stage()
        async with stage.supervised():
            await stage.platform.settle(2)
            await stage.make("App")
            await stage.platform.settle(READY_S)
            stage.tracer.weather = Slow()
            counts.update(await counted(stage, "burst", lambda: edits(stage)))

    run(main)
    hold("a thousand edits of an App", counts)
