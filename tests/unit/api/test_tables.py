"""Tables as kubectl prints them."""

from datetime import UTC, datetime
from typing import Any

import pytest

from api import tables
from api.negotiate import As
from resources.kinds import KIND_INFOS

NOW = datetime(2026, 1, 1, 0, 5, 3, tzinfo=UTC)
META = {
    "name": "shop-db",
    "namespace": "shop",
    "resourceVersion": "1002",
    "creationTimestamp": "2026-01-01T00:00:00Z",
}
DATABASE: dict[str, Any] = {
    "apiVersion": "bunker.cloud/v1",
    "kind": "Database",
    "metadata": META,
    "spec": {"engine": "redis"},
    "status": {"conditions": [{"type": "Ready", "status": "False", "reason": "Waiting"}]},
}


def cells(obj: dict[str, Any]) -> dict[str, Any]:
    """The row of one object, by column name."""
    found = tables.table(KIND_INFOS[obj["kind"]], [obj], metadata={}, now=NOW)
    (row,) = found["rows"]
    names = [column["name"] for column in found["columnDefinitions"]]
    return dict(zip(names, row["cells"], strict=True))


def test_cells_follow_the_kinds_columns() -> None:
    row = cells(DATABASE)
    assert row["Name"] == "shop-db"
    assert row["Engine"] == "redis"
    assert row["Ready"] == "False"
    assert row["Reason"] == "Waiting"
    assert row["Endpoint"] is None
    assert row["Age"] == "5m3s"


def test_name_comes_first_and_wide_columns_have_a_priority() -> None:
    found = tables.columns(KIND_INFOS["Database"])
    assert found[0]["name"] == "Name"
    assert {column["priority"] for column in found} == {0, 1}


def test_columns_show_a_sealed_secrets_key_count() -> None:
    sealed = {
        "kind": "Secret",
        "metadata": META,
        "type": "Opaque",
        "sealed": "AAAA",
        "secretKeys": ["a", "b"],
    }
    row = cells(sealed)
    assert (row["Type"], row["Data"], row["Age"]) == ("Opaque", 2, "5m3s")


def test_config_map_counts_both_maps() -> None:
    row = cells(
        {"kind": "ConfigMap", "metadata": META, "data": {"a": "1"}, "binaryData": {"b": ""}}
    )
    assert row["Data"] == 2


@pytest.mark.parametrize(
    ("times", "seen"),
    [
        pytest.param({"lastTimestamp": "2026-01-01T00:05:00Z"}, "3s", id="last"),
        pytest.param({"eventTime": "2026-01-01T00:05:01.000000Z"}, "2s", id="event time"),
        pytest.param(
            {
                "lastTimestamp": "2026-01-01T00:00:00Z",
                "series": {"count": 3, "lastObservedTime": "2026-01-01T00:05:02Z"},
            },
            "1s",
            id="series",
        ),
        pytest.param({}, "<unknown>", id="none"),
    ],
)
def test_event_row_is_kubectls_own(times: dict[str, Any], seen: str) -> None:
    event = {
        "kind": "Event",
        "metadata": META,
        "involvedObject": {"kind": "Database", "name": "shop-db"},
        "type": "Warning",
        "reason": "Failed",
        "message": "it did",
        **times,
    }
    row = cells(event)
    assert [row[name] for name in ("Last Seen", "Type", "Reason", "Object", "Message")] == [
        seen,
        "Warning",
        "Failed",
        "database/shop-db",
        "it did",
    ]


@pytest.mark.parametrize(
    ("include", "expected"),
    [
        pytest.param("Metadata", {"kind": "PartialObjectMetadata"}, id="metadata"),
        pytest.param("Object", {"kind": "Database"}, id="object"),
    ],
)
def test_row_object_is_what_was_asked_for(
    include: tables.Include, expected: dict[str, str]
) -> None:
    found = tables.table(KIND_INFOS["Database"], [DATABASE], metadata={}, now=NOW, include=include)
    row = found["rows"][0]["object"]
    assert row["kind"] == expected["kind"]
    assert row["metadata"] == META


def test_row_object_can_be_left_out() -> None:
    found = tables.table(KIND_INFOS["Database"], [DATABASE], metadata={}, now=NOW, include="None")
    assert found["rows"][0]["object"] is None


def test_item_as_table_carries_its_revision() -> None:
    found = tables.item(As.TABLE, KIND_INFOS["Database"], DATABASE, now=NOW)
    assert found["metadata"] == {"resourceVersion": "1002"}


def test_collection_in_each_form() -> None:
    info = KIND_INFOS["Database"]
    kinds = {
        form: tables.collection(form, info, [DATABASE], metadata={}, now=NOW)["kind"] for form in As
    }
    assert kinds == {
        As.OBJECT: "DatabaseList",
        As.TABLE: "Table",
        As.PARTIAL: "PartialObjectMetadataList",
        As.PARTIAL_LIST: "PartialObjectMetadataList",
    }


def test_bookmark_is_one_row_of_nothing() -> None:
    info = KIND_INFOS["Database"]
    found = tables.bookmark(info, {"metadata": {"resourceVersion": "7"}})
    (row,) = found["rows"]
    assert set(row["cells"]) == {None}
    assert row["object"]["metadata"] == {"resourceVersion": "7"}


@pytest.mark.parametrize("kind", sorted(KIND_INFOS))
def test_every_kinds_columns_can_be_read(kind: str) -> None:
    assert cells({"kind": kind, "metadata": META})
