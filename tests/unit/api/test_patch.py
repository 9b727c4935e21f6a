"""JSON patch and merge patch."""

from typing import Any, SupportsIndex

import pytest

from api.errors import StatusError
from api.patch import PatchError, json_patch, merge_patch

OBJ: dict[str, Any] = {"a": {"b": 1}, "l": [1, 2], "x/y": {"~": 0}}


@pytest.mark.parametrize(
    ("operations", "want"),
    [
        pytest.param(
            [{"op": "add", "path": "/a/c", "value": 2}], {"a": {"b": 1, "c": 2}}, id="add"
        ),
        pytest.param([{"op": "add", "path": "/l/0", "value": 0}], {"l": [0, 1, 2]}, id="insert"),
        pytest.param([{"op": "add", "path": "/l/-", "value": 3}], {"l": [1, 2, 3]}, id="append"),
        pytest.param([{"op": "remove", "path": "/l/1"}], {"l": [1]}, id="remove item"),
        pytest.param([{"op": "remove", "path": "/a/b"}], {"a": {}}, id="remove field"),
        pytest.param(
            [{"op": "replace", "path": "/a/b", "value": []}], {"a": {"b": []}}, id="replace"
        ),
        pytest.param(
            [{"op": "replace", "path": "/l/1", "value": 9}], {"l": [1, 9]}, id="replace item"
        ),
        pytest.param(
            [{"op": "replace", "path": "/immutable", "value": True}],
            {"immutable": True},
            id="replace what isn't there",
        ),
        pytest.param([{"op": "move", "from": "/a/b", "path": "/m"}], {"a": {}, "m": 1}, id="move"),
        pytest.param(
            [{"op": "copy", "from": "/l", "path": "/a/b"}], {"a": {"b": [1, 2]}}, id="copy"
        ),
        pytest.param(
            [{"op": "replace", "path": "/x~1y/~0", "value": 5}], {"x/y": {"~": 5}}, id="escapes"
        ),
        pytest.param(
            [{"op": "test", "path": "/l", "value": [1, 2]}, {"op": "remove", "path": "/l/0"}],
            {"l": [2]},
            id="test passes",
        ),
        pytest.param(
            [{"op": "test", "path": "/a/gone", "value": None}, {"op": "remove", "path": "/l/0"}],
            {"l": [2]},
            id="what isn't there is null",
        ),
    ],
)
def test_json_patch(operations: list[Any], want: dict[str, Any]) -> None:
    before = {"a": {"b": 1}, "l": [1, 2], "x/y": {"~": 0}}
    assert json_patch(OBJ, operations) == {**OBJ, **want}
    assert before == OBJ


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/a/b", "value": 2},
        {"op": "test", "path": "/a/b", "value": True},
        {"op": "test", "path": "/a/b", "value": None},
        {"op": "test", "path": "/a/gone", "value": 1},
        {"op": "test", "path": "/gone/b", "value": None},
        {"op": "test", "path": "/l/2", "value": None},
        {"op": "remove", "path": "/nope"},
        {"op": "remove", "path": "/l/2"},
        {"op": "remove", "path": "/l/01"},
        {"op": "remove", "path": "/l/-"},
        {"op": "remove", "path": ""},
        {"op": "replace", "path": "/nope/b", "value": 1},
        {"op": "replace", "path": "/a/b/c", "value": 1},
        {"op": "replace", "path": "/l/2", "value": 1},
        {"op": "replace", "path": "/l/-", "value": 1},
        {"op": "add", "path": "/a/b/c", "value": 1},
        {"op": "add", "path": "/l/4", "value": 1},
        {"op": "add", "path": "/l/99999999999999999999999", "value": 1},
        {"op": "move", "from": "/a", "path": "/a/b"},
        {"op": "copy", "from": "/nope", "path": "/x"},
    ],
)
def test_json_patch_that_cannot_be_carried_out(operation: dict[str, Any]) -> None:
    with pytest.raises(PatchError):
        json_patch(OBJ, [operation])


@pytest.mark.parametrize(
    "patch",
    [
        {},
        [1],
        [{"op": "spin", "path": "/a"}],
        [{"op": "add", "path": "a", "value": 1}],
        [{"op": "add", "path": "/a"}],
        [{"op": "replace", "path": "/a"}],
        [{"op": "add", "path": 7, "value": 1}],
        [{"path": "/a"}],
        [{"op": "copy", "path": "/a"}],
    ],
)
def test_a_malformed_json_patch_is_a_bad_request(patch: Any) -> None:
    with pytest.raises(StatusError) as caught:
        json_patch(OBJ, patch)
    assert caught.value.code == 400


def test_a_copy_of_what_was_nested_without_end_is_a_bad_request() -> None:
    deep = [{"op": "add", "path": "/a" * n, "value": {}} for n in range(1, 400)]
    with pytest.raises(StatusError) as caught:
        json_patch({}, [*deep, {"op": "copy", "from": "/a", "path": "/b"}])
    assert caught.value.code == 400


def test_copies_that_double_the_object_are_cut_off() -> None:
    bomb = [{"op": "copy", "from": "", "path": f"/k{n}"} for n in range(40)]
    with pytest.raises(StatusError, match="copy at most") as caught:
        json_patch({"a": "x" * 1000}, bomb)
    assert caught.value.code == 413


def test_more_operations_than_kubernetes_takes_are_too_many() -> None:
    with pytest.raises(StatusError, match="10000, got 10001") as caught:
        json_patch(OBJ, [{"op": "test", "path": "/a", "value": OBJ["a"]}] * 10_001)
    assert caught.value.code == 413


class _Heavy(list[int]):
    """A list that counts the items that are pushed along in it."""

    pushed = 0

    def insert(self, index: SupportsIndex, value: int) -> None:
        type(self).pushed += len(self) - index.__index__()
        super().insert(index, value)

    def __delitem__(self, index: SupportsIndex | slice) -> None:
        assert isinstance(index, int)
        type(self).pushed += len(self) - index
        super().__delitem__(index)


@pytest.mark.parametrize(
    "step",
    [
        {"op": "add", "path": "/l/0", "value": 1},
        {"op": "remove", "path": "/l/0"},
        {"op": "move", "from": "/l/0", "path": "/l/-"},
    ],
    ids=lambda step: str(step["op"]),
)
def test_a_list_too_long_for_so_many_changes_is_not_pushed_along_for_seconds(
    step: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Heavy, "pushed", 0)
    with pytest.raises(StatusError, match="replace the list as a whole") as caught:
        json_patch({"l": _Heavy(range(300_000))}, [step] * 9_000)
    assert caught.value.code == 413
    assert 50_000_000 < _Heavy.pushed <= 100_000_000


def test_as_many_changes_as_may_be_to_the_longest_list_a_record_may_have() -> None:
    step = {"op": "add", "path": "/l/0", "value": 1}
    assert len(json_patch({"l": [0]}, [step] * 9_999)["l"]) == 10_000


@pytest.mark.parametrize(
    ("target", "patch", "want"),
    [
        # RFC 7386, appendix A
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch(target: Any, patch: Any, want: Any) -> None:
    assert merge_patch(target, patch) == want
