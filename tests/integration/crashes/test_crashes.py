"""Lifecycles on real servers, killed at their calls in three ways: the end is that of the clean
run, made and removed as often, with users' data still there. `scripts/test --long` plays all
stories at each or every second call, `--night` in each way, plain `scripts/test` a few plans of a
few.
"""

import asyncio
import os
import random
import zlib
from collections.abc import Callable, Coroutine
from typing import Final

import pytest

from tests.integration.crashes.plans import BERTHS, Played, play, problem
from tests.integration.crashes.stories import STORIES
from tests.sim.story import Story, restart
from tests.support.faults import POSITIONS, Cut
from tests.support.figures import tell

THOROUGH: Final = os.environ.get("CP_TEST_PROFILE") == "long"
pytestmark = [
    pytest.mark.docker,
    pytest.mark.chaos,
    # a story of an S3 server took a quarter of an hour on a host with three other things to do
    pytest.mark.timeout(7200 if THOROUGH else 900),
]

WHOLE: Final = ("App", "Database")
"""Kinds whose stories are cut at each call in every way where time is no matter; others in one, in
turn."""
EVERYTHING: Final = THOROUGH and bool(os.environ.get("CP_TEST_EVERYTHING"))
"""Some 1,300 plans, 11 a minute on two cores."""
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

PAIRS: Final = 4 if EVERYTHING else 2 if THOROUGH else 1
"""Plans with two crashes, for each story that has them."""
TWICE: Final = [
    story
    for story in STORIES
    if (THOROUGH and story.kind in WHOLE and story.act is not restart)
    or str(story) == "App-web-create"
]
ABREAST: Final = 4
"""Stories with two crashes at once: each plays three times, the first alone, and mostly waits."""
TWICE_TOGETHER: Final = [TWICE[at : at + ABREAST] for at in range(0, len(TWICE), ABREAST)]


def cuts_of(story: Story, clean: Played) -> list[Cut]:
    calls = range(len(clean.trace))
    every = [Cut(at, position) for at in calls for position in POSITIONS]
    seed = zlib.crc32(str(story).encode())
    if not THOROUGH:
        # spread over the whole, others for each story
        few = FEW[str(story)]
        return every[seed % (len(every) // few) :: len(every) // few][:few]
    whole = story.kind in WHOLE
    if EVERYTHING and whole and story.act is not restart:
        return every
    # of a restart, all calls are looks
    step = (1 if EVERYTHING or whole else 2) * (2 if story.act is restart else 1)
    return [Cut(at, POSITIONS[(at // step + seed) % len(POSITIONS)]) for at in calls[::step]]


def pairs_of(story: Story, clean: Played) -> list[tuple[Cut, ...]]:
    """Two crashes in one run: the second strikes while the next process takes it up again."""
    rng = random.Random(zlib.crc32(str(story).encode()))
    # early enough for a second one to have something to strike
    firsts = [rng.randrange((len(clean.trace) + 1) // 2) for _ in range(PAIRS)]
    return [
        tuple(Cut(at, rng.choice(POSITIONS)) for at in (first, first + rng.randint(1, 6)))
        for first in firsts
    ]


async def ends_of(
    story: Story,
    room: asyncio.Semaphore,
    plans_of: Callable[[Story, Played], list[tuple[Cut, ...]]],
) -> list[tuple[str, Played]]:
    """(what is wrong with it, plan) of each of its plans."""
    async with room:
        clean = await play(story)
    assert not clean.problems

    async def crashed(cuts: tuple[Cut, ...]) -> tuple[str, Played]:
        async with room:
            found = await play(story, cuts, clean.outcome)
        return problem(story, cuts, clean, found), found

    async with asyncio.TaskGroup() as tasks:
        playing = [tasks.create_task(crashed(cuts)) for cuts in plans_of(story, clean)]
    return [task.result() for task in playing]


async def abreast(
    stories: list[Story], playing: Callable[[Story, asyncio.Semaphore], Coroutine[None, None, None]]
) -> None:
    """Their plans together, BERTHS at once."""
    room = asyncio.Semaphore(BERTHS)
    async with asyncio.TaskGroup() as tasks:
        for story in stories:
            tasks.create_task(playing(story, room))


async def once(story: Story, room: asyncio.Semaphore) -> None:
    ends = await ends_of(story, room, lambda each, clean: [(cut,) for cut in cuts_of(each, clean)])
    # what is wrong comes first: it says more than that a plan struck nothing
    assert [told for told, _ in ends if told] == []
    # in real time a run may make a call less than the clean one: what struck nothing shows nothing
    struck = [found for _, found in ends if found.struck]
    assert 3 * len(struck) >= 2 * len(ends)
    tell("crash plans on a real engine", len(struck), kind=story.kind)


@pytest.mark.parametrize("stories", TOGETHER, ids=lambda each: str(each[0]))
async def test_crash_at_a_boundary_on_real_servers_comes_to_the_same_end(
    stories: list[Story],
) -> None:
    await abreast(stories, once)


async def twice(story: Story, room: asyncio.Semaphore) -> None:
    ends = await ends_of(story, room, pairs_of)
    assert [told for told, _ in ends if told] == []
    struck = sum(1 for _, found in ends if len(found.struck) == 2)
    tell("crash plans with two crashes on a real engine", struck, kind=story.kind)
    # of a story of one or two calls, nothing is left for the second
    assert any(found.struck for _, found in ends)


@pytest.mark.parametrize("stories", TWICE_TOGETHER, ids=lambda each: str(each[0]))
async def test_two_crashes_in_one_run_on_real_servers_come_to_the_same_end(
    stories: list[Story],
) -> None:
    await abreast(stories, twice)
