"""How hard simulation tries, by scripts/test's mode; and a quiet log, as thousands of runs talk."""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import structlog


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
    looks: bool
    """Crash at calls that only look, too."""


EFFORTS = {
    "fast": Effort(1, 1, 10, 1, 2, 1, looks=False),
    "sim": Effort(1, 4, 500, 5, 25, 8, looks=False),
    "long": Effort(3, 40, 10_000, 40, 1000, 1000, looks=True),
}
EFFORTS["plain"] = EFFORTS["sim"]


def effort_of_the_mode() -> Effort:
    return EFFORTS[os.environ.get("CP_TEST_PROFILE", "fast")]


@pytest.fixture(scope="session")
def effort() -> Effort:
    return effort_of_the_mode()


@pytest.fixture(autouse=True, scope="session")
def _quiet() -> Iterator[None]:
    silent = structlog.make_filtering_bound_logger(logging.CRITICAL)
    structlog.configure(wrapper_class=silent, cache_logger_on_first_use=False)
    yield
    structlog.reset_defaults()
