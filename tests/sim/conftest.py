"""How hard simulation tries, by scripts/test's mode; and a quiet log, as thousands of runs talk."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

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
    looks: bool = False
    """Crash at calls that only look, too."""
    phases: tuple[Phase, ...] = (Phase.generate,)
    """A failing example has at most twelve steps as it is; making it smaller takes minutes."""


EFFORTS = {
    "fast": Effort(1, 1, 10, 1, 2, 1),
    "sim": Effort(1, 4, 500, 5, 25, 8),
    "long": Effort(
        3, 40, 10_000, 40, 1000, 1000, looks=True, phases=(Phase.generate, Phase.shrink)
    ),
}
EFFORTS["plain"] = EFFORTS["sim"]


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
