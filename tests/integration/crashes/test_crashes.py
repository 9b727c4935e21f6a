"""Lifecycles on a real engine, killed at each boundary in three ways: the end is that of the clean
run, made and removed as often, with the data still there. `scripts/test --long` plays all of them,
plain `scripts/test` a few.
"""

import asyncio
import os
import zlib
from typing import Final

import pytest

from tests.integration.crashes.plans import BERTHS, Played, play, problem
from tests.integration.crashes.stories import STORIES
from tests.sim.story import Story
from tests.support.faults import POSITIONS, Cut
from tests.support.figures import tell

pytestmark = [pytest.mark.docker, pytest.mark.chaos, pytest.mark.timeout(900)]

THOROUGH: Final = os.environ.get("CP_TEST_PROFILE") == "long"
FEW: Final = {"App-web-environment": 3, "Database-cache-create": 4, "Zone-signed-create": 3}
"""Plans of a plain run, by story."""
PLAYED: Final = [story for story in STORIES if THOROUGH or str(story) in FEW]


def cuts_of(story: Story, clean: Played) -> list[Cut]:
    every = [Cut(at, position) for at in range(len(clean.trace)) for position in POSITIONS]
    if THOROUGH:
        return every
    # spread over the whole, others for each story
    few = FEW[str(story)]
    first = zlib.crc32(str(story).encode()) % (len(every) // few)
    return every[first :: len(every) // few][:few]


@pytest.mark.parametrize("story", PLAYED, ids=str)
async def test_crash_at_a_boundary_on_a_real_engine_comes_to_the_same_end(story: Story) -> None:
    clean = await play(story)
    assert not clean.problems
    room = asyncio.Semaphore(BERTHS)

    async def crashed(cut: Cut) -> tuple[str, Played]:
        async with room:
            found = await play(story, (cut,), clean.outcome)
        return problem(story, cut, clean, found), found

    async with asyncio.TaskGroup() as tasks:
        playing = [tasks.create_task(crashed(cut)) for cut in cuts_of(story, clean)]
    ends = [task.result() for task in playing]
    # in real time a run may make a call less than the clean one: what struck nothing shows nothing
    struck = [found for _, found in ends if found.struck]
    assert 3 * len(struck) >= 2 * len(ends)
    tell("crash plans on a real engine", len(struck), kind=story.kind)
    assert [told for told, _ in ends if told] == []
