"""Do these tests bite? Planted bugs, a few of them each day in turn (all of them with --long):
one that survives the command it names is a hole in the tests, and fails here."""

import time

import pytest

from tests.sim.conftest import effort_of_the_mode
from tests.sim.planting import Bug, bugs, hunt, told

DAY_S = 24 * 3600


def rotation() -> list[Bug]:
    """The same ones all day long, so that a failure can be looked into."""
    every, count = bugs(), effort_of_the_mode().planted
    first = int(time.time() // DAY_S) * count
    return [every[(first + n) % len(every)] for n in range(min(count, len(every)))]


@pytest.mark.parametrize("bug", rotation(), ids=lambda bug: bug.name)
def test_planted_bug_is_caught(bug: Bug) -> None:
    found = told(hunt(bug))
    assert found.caught, f"{bug.says} It survived: pytest {' '.join(bug.caught_by)}\n{found.told}"
