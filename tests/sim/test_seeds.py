"""Schedules from seeds: whatever users, outsiders, servers and deaths do in whatever order, the
platform comes to rest as its records say. A wrong one is run again by the command it prints.
"""

import pytest

from tests.sim.conftest import Effort, effort_of_the_mode
from tests.sim.seeds import wrong
from tests.support.figures import tell

BATCH = 25


@pytest.mark.parametrize("first", range(1, effort_of_the_mode().seeds + 1, BATCH))
def test_schedules_end_as_the_records_say(first: int, effort: Effort) -> None:
    last = min(first + BATCH, effort.seeds + 1)
    found = [problem for seed in range(first, last) if (problem := wrong(seed))]
    tell("seeds", last - first)
    assert found == [], "\n\n".join(found)
