"""Killed at every boundary of every lifecycle of every kind, in three ways, and twice in one run:
the end is that of the clean run, made and removed as often; no orphan, no duplicate, nothing
removed that the spec doesn't want removed.
"""

import random
import zlib

import pytest

from tests.sim.conftest import Effort, effort_of_the_mode
from tests.sim.crash import boundary, clean, crashed
from tests.sim.story import Story, stories
from tests.sim.worlds import WORLDS
from tests.support.faults import POSITIONS, Cut, Site
from tests.support.figures import tell

WHOLE = "delete-with-all-in-it"
"""A plan of it takes a second: each boundary in one position in turn, whatever the effort."""
STORIES = [story for kind in WORLDS for story in stories(kind, effort_of_the_mode().edits)]


def cuts_of(story: Story, trace: tuple[Site, ...], effort: Effort) -> list[Cut]:
    """Each call in all three positions; in one of them in turn those of edits, restarts and a
    whole namespace, which are many, and looks, as the effort says."""
    many = story.name in ("restart", WHOLE) or story.name.startswith("edit-")
    each = (effort.thorough and story.name != WHOLE) or not many
    turn = zlib.crc32(str(story).encode())
    cuts = []
    for at, site in enumerate(trace):
        looks = story.name != "restart" and not boundary(site)
        all_three = effort.looks == len(POSITIONS) if looks else each
        in_turn = POSITIONS[(at + turn) % len(POSITIONS)]
        cuts += [Cut(at, position) for position in (POSITIONS if all_three else (in_turn,))]
    return cuts[turn % 3 :: 4] if story.name == "restart" and not each else cuts


@pytest.mark.parametrize("story", STORIES, ids=str)
def test_crash_at_every_boundary_comes_to_the_same_end(story: Story, effort: Effort) -> None:
    looks = effort.looks > 0 and story.name != WHOLE
    found = clean(story, looks=looks)
    plans = [(cut,) for cut in cuts_of(story, found.trace, effort)]
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
