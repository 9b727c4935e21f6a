"""Killed at every boundary of every lifecycle of every kind, in three ways, and twice in one run:
the end is that of the clean run, made and removed as often; no orphan, no duplicate, nothing
removed that the spec doesn't want removed.
"""

import random
import zlib

import pytest

from tests.sim.conftest import Effort, effort_of_the_mode
from tests.sim.crash import clean, crashed
from tests.sim.story import Story, stories
from tests.sim.worlds import WORLDS
from tests.support.faults import POSITIONS, Cut
from tests.support.figures import tell

WHOLE = "delete-with-all-in-it"
"""A plan of it takes a second: each boundary in one position in turn, whatever the effort."""
STORIES = [story for kind in WORLDS for story in stories(kind, effort_of_the_mode().edits)]


def cuts_of(story: Story, boundaries: int, effort: Effort) -> list[Cut]:
    """All of them; of edits, restarts and a whole namespace, which are many, each boundary in one
    position in turn."""
    every = [Cut(at, position) for at in range(boundaries) for position in POSITIONS]
    many = story.name in ("restart", WHOLE) or story.name.startswith("edit-")
    if (effort.thorough and story.name != WHOLE) or not many:
        return every
    turn = zlib.crc32(str(story).encode())
    chosen = [cut for n, cut in enumerate(every) if n % len(POSITIONS) == (n // 3 + turn) % 3]
    return chosen[turn % 3 :: 4] if story.name == "restart" else chosen


@pytest.mark.parametrize("story", STORIES, ids=str)
def test_crash_at_every_boundary_comes_to_the_same_end(story: Story, effort: Effort) -> None:
    looks = effort.looks and story.name != WHOLE
    found = clean(story, looks=looks)
    plans = [(cut,) for cut in cuts_of(story, len(found.trace), effort)]
    problems = [crashed(story, cuts, found.outcome, looks=looks) for cuts in plans]
    tell("crash plans", len(plans), kind=story.kind)
    assert [problem for problem in problems if problem] == []


@pytest.mark.parametrize("story", STORIES, ids=str)
def test_two_crashes_in_one_run_come_to_the_same_end(story: Story, effort: Effort) -> None:
    found = clean(story)
    rng = random.Random(zlib.crc32(str(story).encode()))
    plans = []
    for _ in range(effort.twice if found.trace else 0):
        first = rng.randrange(len(found.trace))
        # calls are counted on: the second strikes while the next process takes it up again
        second = first + rng.randint(1, 6)
        plans.append((Cut(first, rng.choice(POSITIONS)), Cut(second, rng.choice(POSITIONS))))
    problems = [crashed(story, cuts, found.outcome) for cuts in plans]
    tell("crash plans with two crashes", len(plans), kind=story.kind)
    assert [problem for problem in problems if problem] == []


def test_every_kind_has_every_lifecycle() -> None:
    for kind, world in WORLDS.items():
        names = {story.name for story in STORIES if story.kind == kind}
        assert "restart" in names
        if world.lives:
            assert {"create", "delete", "adopt"} <= names
