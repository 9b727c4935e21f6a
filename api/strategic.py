"""Kubernetes' strategic merge patch, with merge keys taken from the kind's topology. Pure.

https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md
Served for the core kinds only: kubectl knows their Go types and sends nothing else for them.
"""

import copy
from collections.abc import Mapping
from typing import Any, Final

from api import errors
from controlplane.topology import Topology, item_key

_PATCH: Final = "$patch"
_RETAIN: Final = "$retainKeys"
_DELETE_FROM: Final = "$deleteFromPrimitiveList/"
_ORDER: Final = "$setElementOrder/"


def strategic_merge(
    target: Mapping[str, Any], patch: Mapping[str, Any], topology: Topology
) -> dict[str, Any]:
    """`target` with `patch` merged in. Raises StatusError 400 for a malformed directive."""
    directive = patch.get(_PATCH, "merge")
    if directive == "replace":
        return {name: copy.deepcopy(v) for name, v in patch.items() if name != _PATCH}
    if directive == "delete":
        return {}
    if directive != "merge":
        raise errors.bad_request(f"unknown $patch directive {directive!r}")
    out = _retained(target, patch)
    for name, value in patch.items():
        if not name.startswith("$"):
            _merge_field(out, name, value, topology.of(name))
    for name, value in patch.items():
        if name.startswith((_DELETE_FROM, _ORDER)):
            _direct(out, name, _list(value, name), topology)
    return out


def _direct(out: dict[str, Any], name: str, value: list[Any], topology: Topology) -> None:
    """Carry out a directive about a list field."""
    mark, _, field = name.partition("/")
    items = out.get(field) or []
    if not isinstance(items, list):
        raise errors.bad_request(f"{name}: {field} is not a list")
    if mark + "/" == _DELETE_FROM:
        gone = {each for each in value if not isinstance(each, dict | list)}
        items = [item for item in items if isinstance(item, dict | list) or item not in gone]
    else:
        items = _ordered(items, value, topology.of(field))
    if items:
        out[field] = items
    else:
        out.pop(field, None)


def _retained(target: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """The target's fields, only those named by $retainKeys if it is given."""
    keys = patch.get(_RETAIN)
    if keys is None:
        return dict(target)
    keep = {key for key in _list(keys, _RETAIN) if isinstance(key, str)}
    return {name: value for name, value in target.items() if name in keep}


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise errors.bad_request(f"{name} must be a list")
    return value


def _merge_field(out: dict[str, Any], name: str, value: Any, topology: Topology) -> None:
    if value is None:
        out.pop(name, None)
    elif isinstance(value, Mapping):
        old = out.get(name)
        merged = strategic_merge(old if isinstance(old, Mapping) else {}, value, topology)
        if value.get(_PATCH) == "delete":
            out.pop(name, None)
        else:
            out[name] = merged
    elif isinstance(value, list) and topology.lists != "atomic":
        old = out.get(name)
        out[name] = _merge_list(old if isinstance(old, list) else [], value, topology)
    else:
        out[name] = copy.deepcopy(value)


def _merge_list(old: list[Any], new: list[Any], topology: Topology) -> list[Any]:
    """Items merge by key; `$patch: delete` in an item removes it, `replace` replaces the list."""
    if {_PATCH: "replace"} in new:
        return [copy.deepcopy(item) for item in new if item != {_PATCH: "replace"}]
    items = {item_key(item, topology): item for item in old}
    for item in new:
        key = _key(item, topology)
        if isinstance(item, Mapping) and item.get(_PATCH) == "delete":
            items.pop(key, None)
        elif isinstance(item, Mapping):
            items[key] = strategic_merge(items.get(key) or {}, item, topology.item)
        else:
            items[key] = item
    return list(items.values())


def _key(item: Any, topology: Topology) -> str:
    if topology.lists == "map" and not (
        isinstance(item, Mapping) and all(key in item for key in topology.keys)
    ):
        raise errors.bad_request(
            f"an item of this list lacks its merge key {', '.join(topology.keys)}"
        )
    return item_key(item, topology)


def _ordered(items: list[Any], order: list[Any], topology: Topology) -> list[Any]:
    """Items named by $setElementOrder in that order; the rest keep their place after those they
    followed."""
    if topology.lists == "atomic":
        return items
    rank = {item_key(item, topology): index for index, item in enumerate(order)}
    at, keyed_items = -1, []
    for index, item in enumerate(items):
        at = rank.get(item_key(item, topology), at)
        named = item_key(item, topology) in rank
        keyed_items.append(((at, not named, index), item))
    return [item for _, item in sorted(keyed_items, key=lambda pair: pair[0])]
