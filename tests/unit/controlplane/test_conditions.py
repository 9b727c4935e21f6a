"""Conditions: what is kept of those before, whoever wrote them."""

from typing import Any

import pytest

from controlplane.conditions import Fact, Summary, find, merge
from resources.meta import Condition

THEN, NOW = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
SERVES = Summary(Fact("True", "Reconciled"), ready=Fact("True", "Serves"))


def stored(kind: str = "Ready", status: str = "True", **more: Any) -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": "X", **more}


def time_of(conditions: list[dict[str, Any]], kind: str = "Ready") -> str:
    found = find(conditions, kind)
    assert found is not None
    return str(found["lastTransitionTime"])


@pytest.mark.parametrize(
    ("before", "time"),
    [
        pytest.param([], NOW, id="new"),
        pytest.param([stored(lastTransitionTime=THEN)], THEN, id="the same since then"),
        pytest.param([stored(status="False", lastTransitionTime=THEN)], NOW, id="flipped"),
        pytest.param([stored()], NOW, id="without a time"),
        pytest.param([stored(lastTransitionTime="")], NOW, id="an empty time"),
        pytest.param([stored(lastTransitionTime="Monday")], NOW, id="no time"),
    ],
)
def test_when_it_turned_is_told_whatever_was_written(
    before: list[dict[str, Any]], time: str
) -> None:
    assert time_of(merge(before, SERVES, generation=1, now=NOW)) == time


def test_the_same_again_changes_nothing() -> None:
    once = merge([stored()], SERVES, generation=1, now=THEN)
    assert merge(once, SERVES, generation=1, now=NOW) == once


def test_what_nothing_is_said_of_stays_as_it_was() -> None:
    before = [stored(), stored("Own"), stored("Other", "False", lastTransitionTime=THEN)]
    merged = merge(before, Summary(Fact("False", "Away")), generation=1, now=NOW)
    assert [each["type"] for each in merged[-2:]] == ["Own", "Other"]
    assert [find(merged, each["type"]) for each in before] == before


@pytest.mark.parametrize("kind", ["Ready", "Own"])
def test_of_two_of_a_type_the_first_is_kept(kind: str) -> None:
    before = [stored(kind, lastTransitionTime=THEN), stored(kind, "False", lastTransitionTime=NOW)]
    merged = merge(before, Summary(Fact("False", "Away")), generation=1, now=NOW)
    assert [each for each in merged if each["type"] == kind] == before[:1]


def test_a_kinds_own_condition_without_a_time_gets_one() -> None:
    own = Condition(type="Own", status="True", reason="X")
    said = Summary(Fact("True", "Reconciled"), extras=(own,))
    assert time_of(merge([stored("Own")], said, generation=1, now=NOW), "Own") == NOW
