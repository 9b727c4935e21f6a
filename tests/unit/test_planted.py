"""Planted bugs stay plantable: code that moves on takes its patches along."""

import pytest

from tests.sim.planting import FOLDER, Bug, bugs

ALL = bugs()


@pytest.mark.parametrize("bug", ALL, ids=lambda bug: bug.name)
def test_planted_bug_applies_and_names_who_catches_it(bug: Bug) -> None:
    assert bug.problem() == ""
    assert bug.says.endswith(".")
    assert bug.caught_by


def test_there_are_enough_of_them() -> None:
    assert len(ALL) >= 40
    assert len(list(FOLDER.iterdir())) == len(ALL), "only patches are kept here"
