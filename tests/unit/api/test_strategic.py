"""Strategic merge patch with its directives."""

from typing import Any

import pytest

from api.errors import StatusError
from api.strategic import strategic_merge
from controlplane.topology import Topology

TOPOLOGY = Topology(
    fields={
        "set": Topology(lists="set"),
        "users": Topology(lists="map", keys=("name",)),
    }
)


def _users(*names: str) -> list[dict[str, Any]]:
    return [{"name": name, "role": "r"} for name in names]


@pytest.mark.parametrize(
    ("target", "patch", "want"),
    [
        pytest.param({"a": 1}, {"b": 2}, {"a": 1, "b": 2}, id="add"),
        pytest.param({"a": 1, "b": 2}, {"a": None}, {"b": 2}, id="null removes"),
        pytest.param({"m": {"a": 1}}, {"m": {"b": 2}}, {"m": {"a": 1, "b": 2}}, id="maps merge"),
        pytest.param({"l": [1]}, {"l": [2]}, {"l": [2]}, id="atomic lists are replaced"),
        pytest.param({"set": ["a"]}, {"set": ["b", "a"]}, {"set": ["a", "b"]}, id="sets unite"),
        pytest.param(
            {"users": _users("a")},
            {"users": [{"name": "a", "role": "x"}, {"name": "b"}]},
            {"users": [{"name": "a", "role": "x"}, {"name": "b"}]},
            id="items merge by key",
        ),
        pytest.param(
            {"users": _users("a", "b")},
            {"users": [{"name": "a", "$patch": "delete"}]},
            {"users": _users("b")},
            id="$patch delete in an item",
        ),
        pytest.param(
            {"users": _users("a", "b")},
            {"users": [{"$patch": "replace"}, {"name": "c"}]},
            {"users": [{"name": "c"}]},
            id="$patch replace in a list",
        ),
        pytest.param(
            {"m": {"a": 1}, "x": 1},
            {"m": {"$patch": "replace", "b": 2}},
            {"m": {"b": 2}, "x": 1},
            id="$patch replace in a map",
        ),
        pytest.param(
            {"m": {"a": 1}, "x": 1}, {"m": {"$patch": "delete"}}, {"x": 1}, id="$patch delete"
        ),
        pytest.param(
            {"m": {"a": 1, "b": 2}},
            {"m": {"$retainKeys": ["b", "c"], "c": 3}},
            {"m": {"b": 2, "c": 3}},
            id="$retainKeys",
        ),
        pytest.param(
            {"set": ["a", "b"]},
            {"$deleteFromPrimitiveList/set": ["a"]},
            {"set": ["b"]},
            id="$delete",
        ),
        pytest.param(
            {"set": ["a"], "x": 1},
            {"$deleteFromPrimitiveList/set": ["a"]},
            {"x": 1},
            id="$delete all",
        ),
        pytest.param(
            {"set": ["a", "b", "c"]},
            {"$setElementOrder/set": ["c", "a", "d"], "set": ["d"]},
            {"set": ["c", "a", "b", "d"]},
            id="$setElementOrder of a set",
        ),
        pytest.param(
            {"users": _users("a", "b")},
            {"$setElementOrder/users": [{"name": "b"}, {"name": "a"}]},
            {"users": _users("b", "a")},
            id="$setElementOrder of a map list",
        ),
    ],
)
def test_strategic_merge(target: Any, patch: Any, want: Any) -> None:
    assert strategic_merge(target, patch, TOPOLOGY) == want


@pytest.mark.parametrize(
    "patch",
    [
        {"$patch": "explode"},
        {"$retainKeys": "x"},
        {"$deleteFromPrimitiveList/set": "x"},
        {"users": [{"role": "nameless"}]},
        {"$deleteFromPrimitiveList/m": ["a"]},
        {"m": True, "$deleteFromPrimitiveList/m": ["a"]},
        {"set": 5, "$setElementOrder/set": ["a"]},
    ],
)
def test_a_malformed_directive_is_a_bad_request(patch: Any) -> None:
    with pytest.raises(StatusError) as caught:
        strategic_merge({"m": {"a": 1}, "users": _users("a")}, patch, TOPOLOGY)
    assert caught.value.code == 400


class Compared(str):
    """Text that counts its comparisons."""

    __slots__ = ()
    times = 0

    def __eq__(self, other: object) -> bool:
        Compared.times += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


@pytest.mark.parametrize("directive", ["$retainKeys", "$deleteFromPrimitiveList/set"])
def test_a_long_directive_costs_as_much_as_it_is_long(directive: str) -> None:
    names = [f"k{n}" for n in range(200)]
    target = {**dict.fromkeys(names, 1), "set": names}
    Compared.times = 0
    strategic_merge(target, {directive: [Compared(f"x{n}") for n in range(200)]}, TOPOLOGY)
    assert Compared.times <= 400
