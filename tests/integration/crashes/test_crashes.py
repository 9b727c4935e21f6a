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
FEW: Final = {
    "App-web-environment": 3,
    "Database-cache-create": 3,
    "Zone-signed-create": 1,
    "Bucket-assets-create": 2,
    "VpnPeer-laptop-create": 1,
    "Mailbox-jane-create": 1,
}
"""Plans of a plain run, by story."""
TOGETHER: Final = (
    [[story] for story in STORIES]
    if THOROUGH
    else [[story for story in STORIES if str(story) in FEW]]
)
"""Each on its own, or the few at once: most of the time is waiting."""


def cuts_of(story: Story, clean: Played) -> list[Cut]:
    every = [Cut(at, position) for at in range(len(clean.trace)) for position in POSITIONS]
    if THOROUGH:
        return every
    # spread over the whole, others for each story
    few = FEW[str(story)]
    first = zlib.crc32(str(story).encode()) % (len(every) // few)
    return every[first :: len(every) // few][:few]


async def ends_of(story: Story, room: asyncio.Semaphore) -> list[tuple[str, Played]]:
    """(what is wrong with it, plan) of each of its plans."""
    async with room:
        clean = await play(story)
    assert not clean.problems

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
    return ends


@pytest.mark.parametrize("stories", TOGETHER, ids=lambda each: str(each[0]))
async def test_crash_at_a_boundary_on_real_servers_comes_to_the_same_end(
    stories: list[Story],
) -> None:
    room = asyncio.Semaphore(BERTHS)
    async with asyncio.TaskGroup() as tasks:
        playing = [tasks.create_task(ends_of(story, room)) for story in stories]
    ends = [end for task in playing for end in task.result()]
    assert [told for told, _ in ends if told] == []
