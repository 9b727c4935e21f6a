"""How hard simulation tries, by scripts/test's mode; and a quiet log, as thousands of runs talk."""

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import structlog
from hypothesis import Phase

from tests.support.quiet import quiet


@dataclass(frozen=True, slots=True)
class Effort:
    """Bounds of one run: --sim must end within five minutes beside everything else."""

    edits: int
    """Other values of each field."""
    twice: int
    """Plans with two crashes, for each story."""
    seeds: int
    views: int
    """Plans with stale, missing, slow and lying answers, for each story."""
    examples: int
    """Of each kind's state machine."""
    planted: int
    values: int = 2
    """Other values of each field that are tried back and forth."""
    thorough: bool = False
    """Every boundary of an edit or a restart in all three positions; else in one, in turn."""
    looks: int = 0
    """Positions in which to crash at each call that only looks: none, one in turn, or all three."""
    test_s: int = 400
    """Bound of one test against hanging. A namespace with one of each kind in it takes 60 s alone
    on a core; at length a kind's state machine 100 s and its plans an hour; more beside others."""
    phases: tuple[Phase, ...] = (Phase.generate,)
    """A failing example has at most twelve steps as it is; making it smaller takes minutes."""


EFFORTS = {
    "fast": Effort(1, 1, 10, 1, 2, 1, values=1),
    "sim": Effort(1, 1, 500, 2, 4, 8),
    "long": Effort(
        3,
        5,
        10_000,
        6,
        60,
        1000,
        values=99,
        thorough=True,
        looks=1,
        test_s=14_400,
        phases=(Phase.generate, Phase.shrink),
    ),
}
EFFORTS["plain"] = EFFORTS["sim"]
if os.environ.get("CP_TEST_EVERYTHING"):
    EFFORTS["long"] = replace(EFFORTS["long"], examples=100, looks=3)


HERE = Path(__file__).parent
SHARD = os.environ.get("CP_SIM_SHARD", "1/1")
"""`2/3`: the second of three parts, run at once by scripts/test where there are cores."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep this shard's share, by name: the same in each run. Each as long as the mode takes."""
    mine, of = map(int, SHARD.split("/"))
    kept = [item for item in items if zlib.crc32(item.nodeid.encode()) % of == mine - 1]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(effort_of_the_mode().test_s))


def effort_of_the_mode() -> Effort:
    return EFFORTS[os.environ.get("CP_TEST_PROFILE", "fast")]


@pytest.fixture(scope="session")
def effort() -> Effort:
    return effort_of_the_mode()


@pytest.fixture(autouse=True, scope="session")
def _quiet() -> Iterator[None]:
    quiet()
    yield
    structlog.reset_defaults()
