"""Ownership after plain writes."""

from typing import Any

import orjson
import pytest

from controlplane.fields import (
    MAX_UPDATERS,
    after_update,
    dump,
    from_fields_v1,
    parse,
    to_fields_v1,
)

T0, T1 = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"


def _write(
    managed: bytes, before: dict[str, Any] | None, after: dict[str, Any], manager: str, time: str
) -> bytes:
    return after_update(
        managed, before, after, manager=manager, api_version="bunker.cloud/v1", time=time
    )


def _owned(managed: bytes) -> dict[str, Any]:
    return {entry["manager"]: entry["fieldsV1"] for entry in orjson.loads(managed)}


def test_a_create_owns_every_leaf_and_nothing_the_server_owns() -> None:
    obj = {
        "apiVersion": "bunker.cloud/v1",
        "kind": "Thing",
        "metadata": {"name": "x", "uid": "u", "labels": {"a": "b"}, "finalizers": ["f/x"]},
        "spec": {"size": 1, "list": [{"a": 1}], "empty": {}},
    }
    assert _owned(_write(b"[]", None, obj, "me", T0)) == {
        "me": {
            "f:metadata": {"f:labels": {"f:a": {}}, "f:finalizers": {'v:"f/x"': {}}},
            "f:spec": {"f:size": {}, "f:list": {}, "f:empty": {}},
        }
    }


def test_a_changed_leaf_moves_to_its_new_writer() -> None:
    one = {"spec": {"a": 1, "b": 1}}
    two = {"spec": {"a": 1, "b": 2}}
    managed = _write(_write(b"[]", None, one, "first", T0), one, two, "second", T1)
    assert _owned(managed) == {
        "first": {"f:spec": {"f:a": {}}},
        "second": {"f:spec": {"f:b": {}}},
    }


def test_a_removed_leaf_is_owned_by_nobody() -> None:
    one = {"spec": {"a": 1, "b": 1}}
    managed = _write(_write(b"[]", None, one, "first", T0), one, {"spec": {"a": 1}}, "second", T1)
    assert _owned(managed) == {"first": {"f:spec": {"f:a": {}}}}


def test_an_equal_write_returns_the_same_bytes() -> None:
    obj = {"spec": {"a": 1}}
    managed = _write(b"[]", None, obj, "first", T0)
    assert _write(managed, obj, dict(obj), "second", T1) is managed


def test_changing_an_owned_value_again_keeps_bytes_and_time() -> None:
    managed = _write(b"[]", None, {"spec": {"a": 1}}, "first", T0)
    assert _write(managed, {"spec": {"a": 1}}, {"spec": {"a": 2}}, "first", T1) is managed


def test_conditions_are_owned_by_type() -> None:
    obj = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    assert _owned(_write(b"[]", None, obj, "me", T0)) == {
        "me": {
            "f:status": {
                "f:conditions": {'k:{"type":"Ready"}': {".": {}, "f:type": {}, "f:status": {}}}
            }
        }
    }


def test_many_updaters_are_merged_into_one() -> None:
    managed, before = b"[]", None
    obj: dict[str, Any] = {"spec": {}}
    for number in range(MAX_UPDATERS + 5):
        obj = {"spec": {**obj["spec"], f"f{number}": number}}
        managed = _write(managed, before, obj, f"agent-{number}", f"2026-01-01T00:00:{number:02}Z")
        before = obj
    owners = parse(managed)
    assert len(owners) == MAX_UPDATERS
    assert {path for owner in owners for path in owner.paths} == {
        ("f:spec", f"f:f{number}") for number in range(MAX_UPDATERS + 5)
    }


@pytest.mark.parametrize(
    "tree",
    [
        {},
        {"f:a": {}},
        {"f:a": {".": {}, "f:b": {}}},
        {"f:l": {'k:{"name":"x"}': {".": {}, "f:name": {}}, 'v:"s"': {}}},
    ],
)
def test_fields_v1_round_trips(tree: dict[str, Any]) -> None:
    assert to_fields_v1(from_fields_v1(tree)) == tree


def test_dump_drops_empty_entries_and_parse_reads_back() -> None:
    managed = _write(b"[]", None, {"spec": {"a": 1}}, "first", T0)
    assert dump(parse(managed)) == managed
    assert dump(()) == b"[]"


@pytest.mark.parametrize("tree", [None, "x", 7, [], [{}], {"f:a": 1}, {"f:a": {"f:b": []}}])
def test_ownership_that_a_client_made_up_is_read_as_far_as_it_goes(tree: Any) -> None:
    owners = parse([{"manager": 1, "operation": "?", "time": None, "fieldsV1": tree}])
    assert dump(owners) == dump(parse(dump(owners)))
