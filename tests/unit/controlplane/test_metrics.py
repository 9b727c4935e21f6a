"""What records are counted by, and what an alert is about."""

from typing import Any

import pytest

from controlplane.metrics import told_as


@pytest.mark.parametrize(
    ("status", "reason", "names"),
    [
        ("True", "Serving", ("Ready",)),
        ("False", "CrashLooping", ("NotReady",)),
        ("Unknown", "Pending", ("NotReady",)),
        pytest.param("False", "Paused", (), id="as its spec says"),
        pytest.param("False", "Disabled", (), id="a peer that is switched off"),
    ],
)
def test_who_should_serve_and_does_not_is_counted(
    status: str, reason: str, names: tuple[str, ...]
) -> None:
    condition: dict[str, Any] = {"type": "Ready", "status": status, "reason": reason}
    assert told_as(condition) == names


def test_other_conditions_are_counted_while_they_are_true() -> None:
    assert told_as({"type": "Stalled", "status": "True", "reason": "X"}) == ("Stalled",)
    assert told_as({"type": "Stalled", "status": "False", "reason": "X"}) == ()
