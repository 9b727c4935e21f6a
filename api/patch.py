"""JSON patch (RFC 6902) and merge patch (RFC 7386). Pure: the input is never modified."""

import copy
from collections.abc import Callable, Mapping
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


class PatchError(Exception):
    """A JSON patch that cannot be carried out: a failed test or a path that isn't there."""


def json_patch(obj: Mapping[str, Any], operations: Any) -> Any:
    """RFC 6902. Raises StatusError 400 for a malformed patch, PatchError for a failed one."""
    if not isinstance(operations, list):
        raise errors.bad_request("a JSON patch is a list of operations")
    if len(operations) > _MAX_OPERATIONS:
        raise errors.bad_request(f"a JSON patch has at most {_MAX_OPERATIONS} operations")
    document: Any = copy.deepcopy(dict(obj))
    copied = 0
    for operation in operations:
        if isinstance(operation, Mapping) and operation.get("op") == "copy":
            copied += _size(_get(document, _pointer(operation, "from")))
            if copied > _MAX_COPIED_BYTES:
                raise errors.too_large(_MAX_COPIED_BYTES)
        document = _operate(document, operation)
    return document


def _size(value: Any) -> int:
    """In bytes. Raises StatusError 400 for what operations before have nested too deeply."""
    try:
        return len(orjson.dumps(value))
    except orjson.JSONEncodeError as exc:
        raise errors.bad_request("what a JSON patch copies is nested too deeply") from exc


def _operate(document: Any, operation: Any) -> Any:
    if not isinstance(operation, Mapping):
        raise errors.bad_request("each operation of a JSON patch is an object")
    run = _OPERATIONS.get(str(operation.get("op")))
    if run is None:
        raise errors.bad_request(
            f"unknown JSON patch operation {operation.get('op')!r}; use one of: "
            + ", ".join(_OPERATIONS)
        )
    return run(document, operation)


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


def _add(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent = _get(document, path[:-1])
    if isinstance(parent, dict):
        parent[path[-1]] = value
    elif isinstance(parent, list):
        parent.insert(_index(parent, path[-1], end=True), value)
    else:
        raise PatchError(f"there is nothing to add to at {_told(path)}")
    return document


def _remove(document: Any, path: list[str]) -> Any:
    if not path:
        raise PatchError("the whole object cannot be removed")
    parent = _get(document, path[:-1])
    _get(parent, path[-1:])
    if isinstance(parent, dict):
        del parent[path[-1]]
    else:
        del parent[_index(parent, path[-1])]
    return document


def _op_replace(document: Any, operation: Mapping[str, Any]) -> Any:
    path = _pointer(operation)
    _get(document, path)
    if not path:
        return _value(operation)
    parent = _get(document, path[:-1])
    if isinstance(parent, list):
        parent[_index(parent, path[-1])] = _value(operation)
    else:
        parent[path[-1]] = _value(operation)
    return document


def _op_move(document: Any, operation: Mapping[str, Any]) -> Any:
    source, target = _pointer(operation, "from"), _pointer(operation)
    if target[: len(source)] == source and target != source:
        raise PatchError("a value cannot be moved into itself")
    value = _get(document, source)
    return _add(_remove(document, source), target, value)


def _op_copy(document: Any, operation: Mapping[str, Any]) -> Any:
    value = copy.deepcopy(_get(document, _pointer(operation, "from")))
    return _add(document, _pointer(operation), value)


def _op_test(document: Any, operation: Mapping[str, Any]) -> Any:
    path = _pointer(operation)
    if not _same(_get(document, path), _value(operation)):
        raise PatchError(f"the test at {_told(path)} failed")
    return document


def _same(one: Any, two: Any) -> bool:
    """Equality as JSON has it: true is not 1."""
    if isinstance(one, bool) is not isinstance(two, bool):
        return False
    return bool(one == two)


_OPERATIONS: Final[dict[str, Callable[[Any, Mapping[str, Any]], Any]]] = {
    "add": lambda document, op: _add(document, _pointer(op), _value(op)),
    "remove": lambda document, op: _remove(document, _pointer(op)),
    "replace": _op_replace,
    "move": _op_move,
    "copy": _op_copy,
    "test": _op_test,
}


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
