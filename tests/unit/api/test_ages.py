"""The same steps as kubectl's own."""

from datetime import UTC, datetime

import pytest

from api.ages import age, human_duration

MINUTE, HOUR, DAY = 60, 3600, 86400


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-5, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (5 * MINUTE + 3, "5m3s"),
        (10 * MINUTE + 3, "10m"),
        (179 * MINUTE, "179m"),
        (3 * HOUR, "3h"),
        (7 * HOUR + 5 * MINUTE, "7h5m"),
        (8 * HOUR + 5 * MINUTE, "8h"),
        (47 * HOUR, "47h"),
        (2 * DAY, "2d"),
        (7 * DAY + 3 * HOUR, "7d3h"),
        (8 * DAY + 3 * HOUR, "8d"),
        (729 * DAY, "729d"),
        (731 * DAY, "2y1d"),
        (365 * 9 * DAY + DAY, "9y"),
    ],
)
def test_human_duration_matches_kubectl(seconds: int, expected: str) -> None:
    assert human_duration(seconds) == expected


def test_age_counts_from_a_time() -> None:
    now = datetime(2026, 1, 1, 0, 5, 3, tzinfo=UTC)
    assert age("2026-01-01T00:00:00Z", now) == "5m3s"
    assert age("2026-01-01T00:00:00", now) == "5m3s"


@pytest.mark.parametrize("value", [None, 7, "yesterday"])
def test_age_of_no_time_is_unknown(value: object) -> None:
    assert age(value, datetime(2026, 1, 1, tzinfo=UTC)) == "<unknown>"
