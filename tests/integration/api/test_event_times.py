"""Times and counts of Events: what typed clients read, and no other."""

from typing import Any

import pytest

from controlplane.store.records import Actor
from tests.integration.api.client import Client
from tests.integration.api.conftest import NS

pytestmark = pytest.mark.postgres
EVENTS = NS + "/events"

WRONG_TIMES = [
    *((field, time) for field in ("first", "last") for time in ("yesterday", "", "2026-01-31")),
    # Go's MicroTime takes six digits and no others
    *(("event", time) for time in ("yesterday", "2026-01-31T12:00:00Z", "2026-01-31T12:00:00.5Z")),
    ("series", "2026-01-31T12:00:00Z"),
]
SOUND_TIMES: list[tuple[str, str | None]] = [
    *((field, None) for field in ("first", "last", "event", "series")),
    *((field, "2026-01-31T12:00:00Z") for field in ("first", "last")),
    *((field, "2026-01-31T12:00:00.000001+01:00") for field in ("last", "event", "series")),
]
TIMES = {"first": "firstTimestamp", "last": "lastTimestamp", "event": "eventTime"}


def event_at(field: str, time: str | None) -> dict[str, Any]:
    told: dict[str, Any] = {"series": {"lastObservedTime": time}}
    if field in TIMES:
        told = {TIMES[field]: time}
    about = {"kind": "App", "name": "a", "namespace": "default"}
    kind = {"apiVersion": "v1", "kind": "Event"}
    return {**kind, "metadata": {"name": "told"}, "involvedObject": about, **told}


async def test_an_event_happened_at_times_that_typed_clients_read(editor: Client) -> None:
    for field, time in WRONG_TIMES:
        refused = await editor("POST", EVENTS, event_at(field, time))
        assert (refused.code, field, time) == (422, field, time)
        assert [c["field"] for c in refused.causes] == [TIMES.get(field, "series.lastObservedTime")]
    for field, sound in SOUND_TIMES:
        sent = event_at(field, sound)
        assert (await editor("POST", EVENTS, sent)).code == 201
        read = (await editor("GET", f"{EVENTS}/told")).body
        found = read.get(TIMES[field]) if field in TIMES else read["series"].get("lastObservedTime")
        assert found == sound
        assert (await editor("DELETE", f"{EVENTS}/told")).code == 200


async def test_an_event_happens_no_more_often_than_clients_can_count(editor: Client) -> None:
    for more in ({"count": 2**31}, {"series": {"count": 2**31}}):
        assert (await editor("POST", EVENTS, event_at("first", None) | more)).code == 422


async def test_an_event_stored_with_no_time_is_read_and_described(admin: Client) -> None:
    sent = event_at("last", "yesterday")
    sent["metadata"]["namespace"] = "default"
    await admin.served.records.create("Event", sent, actor=Actor("old", "old"))
    assert (await admin("GET", f"{EVENTS}/told")).body["lastTimestamp"] == "yesterday"
    patch = {"metadata": {"labels": {"a": "b"}}}
    path = f"{EVENTS}/told"
    answer = await admin("PATCH", path, patch, type="application/merge-patch+json")
    assert (answer.code, answer.body["lastTimestamp"]) == (200, "yesterday")
