"""Server-side apply on plain objects."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import orjson
import pytest

from controlplane.applying import Applied, apply
from controlplane.fields import after_update
from controlplane.topology import PLAIN, Topology, of_schema

T0, T1 = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
TOPOLOGY: Topology = of_schema(
    {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "properties": {
                    "size": {"type": "integer"},
                    "users": {
                        "type": "array",
                        "x-kubernetes-list-type": "map",
                        "x-kubernetes-list-map-keys": ["name"],
                        "items": {"type": "object"},
                    },
                    "tags": {"type": "array", "x-kubernetes-list-type": "set"},
                    "order": {"type": "array"},
                    "whole": {"type": "object", "x-kubernetes-map-type": "atomic"},
                },
            }
        },
    }
)


def _apply(
    live: dict[str, Any] | None,
    managed: bytes,
    spec: dict[str, Any],
    manager: str = "me",
    *,
    time: str = T0,
    force: bool = False,
) -> Applied:
    return apply(
        live,
        managed,
        {"spec": spec},
        manager=manager,
        api_version="bunker.cloud/v1",
        time=time,
        topology=TOPOLOGY,
        force=force,
    )


def test_apply_twice_changes_nothing() -> None:
    first = _apply(None, b"[]", {"size": 1, "tags": ["a"]})
    again = _apply(first.obj, first.managed_fields, {"size": 1, "tags": ["a"]}, time=T1)
    assert again.obj == first.obj
    assert again.managed_fields is first.managed_fields


def test_a_dropped_field_is_removed() -> None:
    first = _apply(None, b"[]", {"size": 1, "tags": ["a", "b"], "users": [{"name": "x", "r": 1}]})
    then = _apply(first.obj, first.managed_fields, {"tags": ["b"], "users": [{"name": "x"}]})
    assert then.obj == {"spec": {"tags": ["b"], "users": [{"name": "x"}]}}


EMPTIED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"users": [{"name": "a"}, {"name": "b", "r": 1}]}, {"users": []}),
    ({"tags": ["a", "b"]}, {"tags": []}),
    ({"map": {"a": 1}}, {"map": {}}),
    ({"map": {"deep": {"a": 1}}}, {"map": {"deep": {}}}),
    ({"users": [{"name": "a", "map": {"a": 1}}]}, {"users": [{"name": "a", "map": {}}]}),
    ({"size": 1}, {}),
]


@pytest.mark.parametrize(("before", "emptied"), EMPTIED)
def test_what_is_applied_empty_is_empty_at_once(
    before: dict[str, Any], emptied: dict[str, Any]
) -> None:
    first = _apply(None, b"[]", before)
    then = _apply(first.obj, first.managed_fields, emptied)
    assert then.obj == {"spec": emptied}
    again = _apply(then.obj, then.managed_fields, emptied, time=T1)
    assert again.obj == then.obj
    assert again.managed_fields is then.managed_fields


def test_what_another_applied_empty_stays() -> None:
    other = _apply(None, b"[]", {"tags": [], "size": 1}, "other")
    mine = _apply(other.obj, other.managed_fields, {"tags": ["a"]})
    left = _apply(mine.obj, mine.managed_fields, {})
    assert left.obj == other.obj
    again = _apply(left.obj, left.managed_fields, {"tags": [], "size": 1}, "other")
    assert (again.obj, again.managed_fields) == (left.obj, left.managed_fields)


def test_what_is_emptied_and_nobodys_goes() -> None:
    first = _apply(None, b"[]", {"size": 1, "map": {"deep": {"a": 1}}, "tags": ["a"]})
    assert _apply(first.obj, first.managed_fields, {"size": 1}).obj == {"spec": {"size": 1}}


def test_a_dropped_field_stays_while_another_owns_it() -> None:
    first = _apply(None, b"[]", {"size": 1})
    both = _apply(first.obj, first.managed_fields, {"size": 1}, "other")
    assert not both.conflicts
    left = _apply(both.obj, both.managed_fields, {"tags": ["a"]})
    assert left.obj["spec"]["size"] == 1
    gone = _apply(left.obj, left.managed_fields, {}, "other")
    assert "size" not in gone.obj["spec"]


def test_another_value_on_anothers_field_conflicts_and_force_takes_it() -> None:
    first = _apply(None, b"[]", {"size": 1})
    second = _apply(first.obj, first.managed_fields, {"size": 2}, "other")
    assert [(c.manager, c.field) for c in second.conflicts] == [("me", ".spec.size")]
    forced = _apply(first.obj, first.managed_fields, {"size": 2}, "other", force=True)
    assert forced.obj == {"spec": {"size": 2}}
    assert [entry["manager"] for entry in orjson.loads(forced.managed_fields)] == ["other"]


def test_an_update_takes_a_field_and_apply_then_conflicts() -> None:
    first = _apply(None, b"[]", {"size": 1})
    patched = {"spec": {"size": 5}}
    managed = after_update(
        first.managed_fields,
        first.obj,
        patched,
        manager="kubectl-patch",
        api_version="bunker.cloud/v1",
        time=T1,
    )
    again = _apply(patched, managed, {"size": 1})
    assert [(c.manager, c.field) for c in again.conflicts] == [("kubectl-patch", ".spec.size")]


def test_items_of_two_managers_live_in_one_list() -> None:
    first = _apply(None, b"[]", {"users": [{"name": "a", "role": "r"}]})
    second = _apply(first.obj, first.managed_fields, {"users": [{"name": "b"}]}, "other")
    assert second.obj["spec"]["users"] == [{"name": "a", "role": "r"}, {"name": "b"}]
    gone = _apply(second.obj, second.managed_fields, {})
    assert gone.obj["spec"]["users"] == [{"name": "b"}]


def test_an_items_key_stays_while_another_owns_a_field_of_it() -> None:
    first = _apply(None, b"[]", {"users": [{"name": "a", "role": "r"}]})
    patched = {"spec": {"users": [{"name": "a", "role": "r", "extra": 1}]}}
    managed = after_update(
        first.managed_fields,
        first.obj,
        patched,
        manager="patcher",
        api_version="bunker.cloud/v1",
        time=T1,
        topology=TOPOLOGY,
    )
    left = _apply(patched, managed, {})
    assert left.obj["spec"]["users"] == [{"name": "a", "extra": 1}]


def test_atomic_values_are_replaced_whole() -> None:
    first = _apply(None, b"[]", {"order": [1, 2], "whole": {"a": 1, "b": 2}})
    then = _apply(first.obj, first.managed_fields, {"order": [2], "whole": {"a": 1}})
    assert then.obj == {"spec": {"order": [2], "whole": {"a": 1}}}


def test_a_conflict_names_a_list_item_readably() -> None:
    first = _apply(None, b"[]", {"users": [{"name": "a", "role": "r"}]})
    second = _apply(first.obj, first.managed_fields, {"users": [{"name": "a", "role": "x"}]}, "o")
    assert [c.field for c in second.conflicts] == ['.spec.users[name="a"].role']


def _instructions(run: Callable[[], object]) -> int:
    """How many of Python's instructions it takes: the same on any machine."""
    count = 0

    def trace(frame: FrameType, event: str, _arg: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run()
    finally:
        sys.settrace(before)
    return count


def _costs_of_dropping(fields: int) -> int:
    """One manager gives up all its fields, another one keeps as many."""
    mine = {"data": {f"a{n}": "" for n in range(fields)}}
    others = {"data": {f"b{n}": "" for n in range(fields)}}

    def as_manager(live: Any, managed: bytes, config: dict[str, Any], manager: str) -> Applied:
        return apply(
            live,
            managed,
            config,
            manager=manager,
            api_version="v1",
            time=T0,
            topology=PLAIN,
        )

    first = as_manager(None, b"[]", mine, "me")
    both = as_manager(first.obj, first.managed_fields, others, "other")
    return _instructions(lambda: as_manager(both.obj, both.managed_fields, {}, "me"))


def test_giving_up_twice_the_fields_costs_twice_as_much() -> None:
    assert _costs_of_dropping(200) < 2.5 * _costs_of_dropping(100)
