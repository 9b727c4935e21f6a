"""Every lifecycle while servers are slow, fail, forget, leave things out of lists, answer what was
so before, or say 200 and do nothing: once that is over, the end is that of a clean run.
"""

import random
import zlib

import pytest

from tests.sim.conftest import Effort, effort_of_the_mode
from tests.sim.crash import clean
from tests.sim.stage import LATE_S, Outcome, Stage
from tests.sim.story import Story, lead_up, stories
from tests.sim.worlds import WORLDS
from tests.support.faults import Tracer
from tests.support.figures import tell
from tests.support.memory import LaggingStore, MemoryStore
from tests.support.platform import Platform
from tests.support.virtual import run
from tests.support.weather import FOG, LIES, STORM, Climate, Weather

LASTS_S = 90.0
STORIES = [
    story
    for kind in WORLDS
    for story in stories(kind, effort_of_the_mode().edits)
    if story.name != "restart"
]


async def weathered(story: Story, climate: Climate, rng: random.Random, *, late: bool) -> Outcome:
    """The story's end after its act was done in this weather; `late`: with a stale view, too."""
    weather = Weather(rng)
    store = LaggingStore(rng=rng) if late else MemoryStore()
    stage = Stage(Tracer(weather=weather), Platform(store=store))
    async with stage.supervised():
        await lead_up(stage, story)
        weather.climate = climate
        await story.act(stage, story.key)
        await stage.platform.settle(LASTS_S)
        weather.climate = Climate()
        await stage.platform.settle(LATE_S)
    assert stage.breaches == [], "\n".join(stage.breaches)
    return stage.outcome()


@pytest.mark.parametrize("story", STORIES, ids=str)
def test_bad_answers_leave_nothing_behind(story: Story, effort: Effort) -> None:
    wanted = clean(story).outcome
    for number in range(effort.views):
        seed = zlib.crc32(f"{story}/{number}".encode())
        climate = (FOG, LIES, STORM)[number % 3]
        late = bool(number % 2)
        found = run(
            lambda: weathered(story, climate, random.Random(seed), late=late)  # noqa: B023
        )
        same = (found.world, found.records) == (wanted.world, wanted.records)
        assert same, f"{story} in {climate}, plan {number}, late={late}\n{wanted.unlike(found)}"
    tell("plans with bad answers", effort.views, kind=story.kind)
