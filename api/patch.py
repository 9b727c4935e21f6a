"""JSON patch (RFC 6902) and merge patch (RFC 7386). Pure: the input is never modified."""

import copy
from collections.abc import Mapping
from typing import Any, Final

import orjson

from api import errors

JSON_PATCH: Final = "application/json-patch+json"
MERGE_PATCH: Final = "application/merge-patch+json"
STRATEGIC: Final = "application/strategic-merge-patch+json"
APPLY: Final = "application/apply-patch+yaml"

_MAX_OPERATIONS: Final = 10_000
"""As Kubernetes: a patch of more steps than this is refused."""
_MAX_COPIED_BYTES: Final = 1 << 20
"""All that one patch may copy: `copy` in a row doubles an object each time."""
_MAX_MOVED_ITEMS: Final = 100_000_000
"""All that one patch may push along in lists, 0.65 ns each: 10,000 inserts at the head of the
longest list that a record may have (pruning.MAX_ENTRIES). A list twenty times as long, which
only a patch can make and no record can keep, took 1.9 s."""


class PatchError(Exception):
    """A JSON patch that cannot be carried out: a failed test or a path that isn't there."""


def json_patch(obj: Mapping[str, Any], operations: Any) -> Any:
    """RFC 6902. Raises StatusError 400 for a malformed patch, 413 for one that is too much work,
    PatchError for a failed one."""
    if not isinstance(operations, list):
        raise errors.bad_request("a JSON patch is a list of operations")
    if len(operations) > _MAX_OPERATIONS:
        raise errors.too_much(
            f"The allowed maximum operations in a JSON patch is {_MAX_OPERATIONS}, "
            f"got {len(operations)}"
        )
    patched = _Patched(copy.deepcopy(dict(obj)))
    for operation in operations:
        patched.operate(operation)
    return patched.document


class _Patched:
    """A document under way, and what changing it has cost."""

    def __init__(self, document: Any) -> None:
        self.document = document
        self._copied = 0
        self._moved = 0

    def operate(self, operation: Any) -> None:
        if not isinstance(operation, Mapping):
            raise errors.bad_request("each operation of a JSON patch is an object")
        match operation.get("op"):
            case "add":
                self._add(_pointer(operation), _value(operation))
            case "remove":
                self._remove(_pointer(operation))
            case "replace":
                self._replace(_pointer(operation), operation)
            case "move":
                self._move(_pointer(operation, "from"), _pointer(operation))
            case "copy":
                self._copy(_pointer(operation, "from"), _pointer(operation))
            case "test":
                self._test(_pointer(operation), _value(operation))
            case other:
                raise errors.bad_request(
                    f"unknown JSON patch operation {other!r}; use one of: "
                    "add, remove, replace, move, copy, test"
                )

    def _add(self, path: list[str], value: Any) -> None:
        if not path:
            self.document = value
            return
        parent = _get(self.document, path[:-1])
        if isinstance(parent, dict):
            parent[path[-1]] = value
        elif isinstance(parent, list):
            index = _index(parent, path[-1], end=True)
            self._pushes(len(parent) - index)
            parent.insert(index, value)
        else:
            raise PatchError(f"there is nothing to add to at {_told(path)}")

    def _remove(self, path: list[str]) -> None:
        if not path:
            raise PatchError("the whole object cannot be removed")
        parent = _get(self.document, path[:-1])
        _get(parent, path[-1:])
        if isinstance(parent, dict):
            del parent[path[-1]]
        else:
            index = _index(parent, path[-1])
            self._pushes(len(parent) - index)
            del parent[index]

    def _replace(self, path: list[str], operation: Mapping[str, Any]) -> None:
        """As kube-apiserver has it, a field that isn't there is set, where RFC 6902 has it fail:
        Terraform's provider replaces `/immutable`, which a Secret or ConfigMap need not have.
        https://github.com/evanphx/json-patch/blob/v4.12.0/patch.go (partialDoc.get)"""
        if not path:
            self.document = _value(operation)
            return
        parent = _get(self.document, path[:-1])
        if isinstance(parent, dict):
            parent[path[-1]] = _value(operation)
        elif isinstance(parent, list):
            parent[_index(parent, path[-1])] = _value(operation)
        else:
            raise PatchError(f"there is nothing at {_told(path)}")

    def _move(self, source: list[str], target: list[str]) -> None:
        if target[: len(source)] == source and target != source:
            raise PatchError("a value cannot be moved into itself")
        value = _get(self.document, source)
        self._remove(source)
        self._add(target, value)

    def _copy(self, source: list[str], target: list[str]) -> None:
        value = _get(self.document, source)
        self._copied += _size(value)
        if self._copied > _MAX_COPIED_BYTES:
            raise errors.too_much(
                f"the copy operations of a JSON patch copy at most {_MAX_COPIED_BYTES} bytes"
            )
        self._add(target, copy.deepcopy(value))

    def _test(self, path: list[str], value: Any) -> None:
        if value is None and path:
            parent = _get(self.document, path[:-1])
            if isinstance(parent, dict) and path[-1] not in parent:
                return  # as kube-apiserver has it: a field that isn't there is null
        if not _same(_get(self.document, path), value):
            raise PatchError(f"the test at {_told(path)} failed")

    def _pushes(self, items: int) -> None:
        """Raises StatusError 413."""
        self._moved += items
        if self._moved > _MAX_MOVED_ITEMS:
            raise errors.too_much(
                "this JSON patch inserts into and removes from a list that is too long for that; "
                "replace the list as a whole"
            )


def _size(value: Any) -> int:
    """In bytes. Raises StatusError 400 for what operations before have nested too deeply."""
    try:
        return len(orjson.dumps(value))
    except orjson.JSONEncodeError as exc:
        raise errors.bad_request("what a JSON patch copies is nested too deeply") from exc


def _pointer(operation: Mapping[str, Any], name: str = "path") -> list[str]:
    text = operation.get(name)
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise errors.bad_request(f"the {name!r} of a JSON patch operation starts with '/'")
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _value(operation: Mapping[str, Any]) -> Any:
    if "value" not in operation:
        raise errors.bad_request("this JSON patch operation needs a 'value'")
    return copy.deepcopy(operation["value"])


def _index(items: list[Any], part: str, *, end: bool = False) -> int:
    if end and part == "-":
        return len(items)
    if not part.isdecimal() or (len(part) > 1 and part[0] == "0"):
        raise PatchError(f"{part!r} is not an index of a list")
    index = int(part) if len(part) < 10 else len(items) + 1
    if index >= len(items) + (1 if end else 0):
        raise PatchError(f"the list has no index {part}")
    return index


def _get(document: Any, path: list[str]) -> Any:
    for part in path:
        if isinstance(document, dict) and part in document:
            document = document[part]
        elif isinstance(document, list):
            document = document[_index(document, part)]
        else:
            raise PatchError(f"there is nothing at {_told(path)}")
    return document


def _told(path: list[str]) -> str:
    return "/" + "/".join(path)


def _same(one: Any, two: Any) -> bool:
    """Equality as JSON has it: true is not 1."""
    if isinstance(one, bool) is not isinstance(two, bool):
        return False
    return bool(one == two)


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, Mapping):
        return copy.deepcopy(patch)
    out = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            out.pop(name, None)
        else:
            out[name] = merge_patch(out.get(name), value)
    return out
