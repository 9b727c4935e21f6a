"""Events: counted when they are told again, and never in somebody else's words."""

from typing import Any

import pytest

from controlplane import events
from controlplane.events import Happening

WHAT = Happening(
    kind="App",
    api_version="bunker.cloud/v1",
    namespace="shop",
    name="web",
    uid="1f2e3d4c-0000-4000-8000-000000000001",
    severity="Normal",
    reason="Executed",
    message="ann ran 'sh' in Pod app-web-0",
)
EARLIER, NOW = "2026-01-01T00:00:00Z", "2026-01-01T00:10:00Z"
TOLD = events.body(WHAT, count=3, first=EARLIER, last=EARLIER)


def test_what_was_told_is_counted_on() -> None:
    again = events.counted(WHAT, TOLD, more=2, last=NOW)
    assert again == events.body(WHAT, count=5, first=EARLIER, last=NOW)


@pytest.mark.parametrize(
    "forged",
    [
        pytest.param({"message": "nothing happened"}, id="other words"),
        pytest.param({"involvedObject": {"kind": "ConfigMap", "name": "x"}}, id="another record"),
        pytest.param({"type": "Warning", "reason": "Rested", "action": "rest"}, id="another deed"),
        pytest.param({"source": {"component": "me"}, "reportingComponent": "me"}, id="a source"),
        pytest.param({"metadata": {"labels": {"a": "b"}, "ownerReferences": [{}]}}, id="labels"),
    ],
)
def test_what_somebody_else_wrote_under_its_name_is_not_kept(forged: dict[str, Any]) -> None:
    meta = TOLD["metadata"] | forged.get("metadata", {})
    again = events.counted(WHAT, {**TOLD, **forged, "metadata": meta}, more=1, last=NOW)
    assert again == events.body(WHAT, count=4, first=EARLIER, last=NOW)


@pytest.mark.parametrize("count", [None, 0, -5, 2**31 - 1, 2**63, "many", {}])
def test_a_count_that_no_client_can_read_begins_anew(count: object) -> None:
    again = events.counted(WHAT, {**TOLD, "count": count}, more=1, last=NOW)
    assert again["count"] == 1


@pytest.mark.parametrize("first", [None, "yesterday", "9999-12-31T00:00:00Z", "2025-12-31"])
def test_what_cannot_be_when_it_first_happened_is_not_told(first: object) -> None:
    again = events.counted(WHAT, {**TOLD, "firstTimestamp": first}, more=1, last=NOW)
    assert again["firstTimestamp"] == NOW


def test_what_holds_an_event_that_is_being_deleted_stays() -> None:
    meta = {**TOLD["metadata"], "finalizers": ["a/b"], "deletionTimestamp": EARLIER}
    again = events.counted(WHAT, {**TOLD, "metadata": meta}, more=1, last=NOW)
    assert again["metadata"]["finalizers"] == ["a/b"]
