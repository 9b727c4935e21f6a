"""A leader stalls in the middle of its work (stopped, swapped out, cut off), another takes over,
and then the first one goes on: what it had in flight may still happen, and nothing else."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from controlplane.engine.leader import MARGIN_PART, TTL_S
from controlplane.seam import Call
from tests.sim.snapshot import records_of, world_of
from tests.sim.stage import LATE_S, Stage
from tests.sim.story import Story, lead_up, stories
from tests.support.faults import Tracer
from tests.support.figures import tell
from tests.support.virtual import LoopClock, run

ACTS_S = TTL_S * (1 - MARGIN_PART)
STALL_S = 60.0


@dataclass(slots=True)
class Stalling:
    """Stops at its n-th change for a minute, before or after the effect, and tells what its
    process began once its lease had ended."""

    at: int
    after: bool
    until_s: float = 0.0
    stalled: bool = False
    late: list[str] = field(default_factory=list)
    changes: int = 0

    def opened(self, port: str, verbs: Sequence[str], /) -> None:
        """Nothing to prepare."""

    async def __call__(self, call: Call, /) -> Any:
        mine = self._number(call)
        if mine == self.at and not self.after:
            await self._stall()
            return await call.go()
        late = self._is_late(call)
        reply = await call.go()
        if late:
            # the drivers' own guard did not refuse it either
            self.late.append(f"{call.port}.{call.verb}")
        if mine == self.at:
            await self._stall()
        return reply

    def _number(self, call: Call) -> int:
        if not call.changes:
            return -1
        self.changes += 1
        return self.changes - 1

    def _is_late(self, call: Call) -> bool:
        late = bool(self.until_s) and LoopClock().monotonic() >= self.until_s
        return late and call.changes and call.port != "store"

    async def _stall(self) -> None:
        self.stalled = True
        await asyncio.sleep(STALL_S)


async def taken_over(story: Story, seam: Stalling) -> tuple[str, str]:
    """What is there in the end, after a takeover in the middle of the act."""
    stage = Stage(Tracer())
    async with stage.supervised():
        await lead_up(stage, story)
    platform = stage.platform
    async with asyncio.TaskGroup() as tasks:
        seam.until_s = LoopClock().monotonic() + 1 + ACTS_S
        first = platform.new_term(seam=seam, until_s=seam.until_s)
        old = tasks.create_task(first.run(asyncio.Event()))
        await platform.settle(1)
        seam.changes = 0
        await story.act(stage, story.key)
        await platform.settle(TTL_S)
        stopping = asyncio.Event()
        new = tasks.create_task(platform.new_term(seam=Tracer()).run(stopping))
        await platform.settle(LATE_S)
        stopping.set()
        await asyncio.wait({new})
        old.cancel()
    return world_of(platform), records_of(platform)


NAMES = {"App-create", "App-edit-image", "Database-create", "Database-delete"}
STORIES = [s for kind in ("App", "Database") for s in stories(kind) if str(s) in NAMES]


@pytest.mark.parametrize("story", STORIES, ids=str)
def test_who_led_before_changes_nothing_any_more(story: Story) -> None:
    wanted = run(lambda: taken_over(story, Stalling(-1, after=False)))
    plans = 0
    for at in range(12):
        for after in (False, True):
            seam = Stalling(at, after)
            found = run(lambda seam=seam: taken_over(story, seam))  # type: ignore[misc]  # bound
            plans += seam.stalled
            assert seam.late == [], f"stalled at change {at}: it went on with {seam.late}"
            assert found == wanted, f"stalled at change {at}"
    assert plans
    tell("takeovers", plans, kind=story.kind)
