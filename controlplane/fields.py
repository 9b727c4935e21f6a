"""Who owns which field: the algebra of metadata.managedFields. Pure.

Kubernetes' rules for every write that is not a server-side apply
(https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management): what a
manager changes is its own from then on, and no one else's. Apply itself is in applying.py.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import orjson

from controlplane.topology import DEFAULT, Path, Topology, item_key, keyed, leaves

Paths = frozenset[Path]
Operation = Literal["Apply", "Update"]

MAX_UPDATERS: Final = 10
"""Update entries an object keeps apart; a manager per User-Agent must not grow it for ever."""

_UNTRACKED_TOP: Final = frozenset({"apiVersion", "kind"})
_UNTRACKED_META: Final = frozenset(
    {
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "generation",
        "managedFields",
        "selfLink",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    }
)


@dataclass(frozen=True, slots=True)
class Owner:
    """One entry of managedFields: who, how, through which subresource, and what."""

    manager: str
    operation: Operation
    api_version: str
    subresource: str
    time: str
    paths: Paths

    @property
    def identity(self) -> tuple[str, Operation, str, str]:
        return (self.manager, self.operation, self.api_version, self.subresource)


def tracked(obj: Mapping[str, Any]) -> dict[str, Any]:
    """The object without what the server owns and nobody manages."""
    kept = {name: value for name, value in obj.items() if name not in _UNTRACKED_TOP}
    meta = {k: v for k, v in (obj.get("metadata") or {}).items() if k not in _UNTRACKED_META}
    if meta:
        kept["metadata"] = meta
    else:
        kept.pop("metadata", None)
    return kept


def values_of(obj: Mapping[str, Any], topology: Topology) -> dict[Path, Any]:
    """Every tracked path of an object with its value."""
    return {path: value for path, value in leaves(tracked(obj), topology) if path}


def to_fields_v1(paths: Iterable[Path]) -> dict[str, Any]:
    """The nested fieldsV1 form; a path that also has children carries ".": {}."""
    root: dict[str, Any] = {}
    for path in sorted(paths):
        node = root
        for depth, element in enumerate(path):
            # sorted: a parent comes before its children, so an empty node met on the way down
            # below the root is an owned path itself
            below = node.get(element)
            if below is None:
                below = node[element] = {}
            elif not below and depth < len(path) - 1:
                below["."] = {}
            node = below
    return root


def from_fields_v1(tree: Mapping[str, Any]) -> Paths:
    """The set of paths in a fieldsV1 tree. Tolerates any well-formed JSON object."""
    return frozenset(_paths(tree, ()))


def _paths(tree: Mapping[str, Any], at: Path) -> Iterable[Path]:
    for element, below in tree.items():
        if element == ".":
            yield at
        elif isinstance(below, Mapping) and below:
            yield from _paths(below, (*at, element))
        else:
            yield (*at, element)


def parse(managed: bytes | Sequence[Mapping[str, Any]]) -> tuple[Owner, ...]:
    """Read managedFields. Entries of another fieldsType are dropped: nothing can read them."""
    entries = orjson.loads(managed) if isinstance(managed, bytes) else managed
    return tuple(
        Owner(
            manager=str(entry.get("manager", "")),
            operation="Apply" if entry.get("operation") == "Apply" else "Update",
            api_version=str(entry.get("apiVersion", "")),
            subresource=str(entry.get("subresource", "")),
            time=str(entry.get("time") or ""),
            paths=_readable(entry.get("fieldsV1")),
        )
        for entry in entries
        if entry.get("fieldsType", "FieldsV1") == "FieldsV1"
    )


def _readable(tree: Any) -> Paths:
    """Clients may write managedFields: what is no tree owns nothing."""
    return from_fields_v1(tree) if isinstance(tree, Mapping) else frozenset()


def dump(owners: Iterable[Owner]) -> bytes:
    """Canonical managedFields: Apply entries first, then by time and name; empty ones dropped."""
    ordered = sorted(
        (owner for owner in owners if owner.paths),
        key=lambda owner: (owner.operation != "Apply", owner.time, owner.identity),
    )
    return orjson.dumps([_entry(owner) for owner in ordered], option=orjson.OPT_SORT_KEYS)


def _entry(owner: Owner) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "manager": owner.manager,
        "operation": owner.operation,
        "apiVersion": owner.api_version,
        "fieldsType": "FieldsV1",
        "fieldsV1": to_fields_v1(owner.paths),
    }
    if owner.time:  # typed clients read an empty one as no time, and fail
        entry["time"] = owner.time
    if owner.subresource:
        entry["subresource"] = owner.subresource
    return entry


def covered(paths: Iterable[Path]) -> Paths:
    """Every path that is one of `paths` or above one."""
    return frozenset(path[:size] for path in paths for size in range(1, len(path) + 1))


@dataclass(frozen=True, slots=True)
class Difference:
    """What a write does to an object's paths."""

    set: Paths
    """Added, or given another value."""
    removed: Paths


def difference(
    before: Mapping[str, Any] | None, after: Mapping[str, Any], topology: Topology
) -> Difference:
    """Compare two objects path by path."""
    new = values_of(after, topology)
    if before is None:
        return Difference(frozenset(new), frozenset())
    old = values_of(before, topology)
    changed = frozenset(p for p, value in new.items() if p not in old or old[p] != value)
    removed = frozenset(p for p in old if p not in new)
    if removed:
        # a map that was empty and now has fields is still there
        removed -= {path[:depth] for path in new for depth in range(1, len(path))}
    return Difference(changed, removed)


def after_update(
    managed: bytes,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any],
    *,
    manager: str,
    api_version: str,
    time: str,
    subresource: str = "",
    topology: Topology = DEFAULT,
) -> bytes:
    """managedFields after a create (`before` None), update or patch by `manager`.

    Changed paths move to the manager's Update entry and leave everyone else's; removed paths
    leave everyone's. Returns `managed` itself, byte for byte, when ownership does not move, so
    that a write that changes nothing stays a no-op. `time` is RFC 3339.
    """
    if before is None and managed == b"[]":
        return _all_of(after, topology, manager, api_version, subresource, time)
    diff = difference(before, after, topology)
    if not diff.set and not diff.removed:
        return managed
    owners = parse(managed)
    mine = Owner(manager, "Update", api_version, subresource, time, frozenset())
    gone = diff.set | diff.removed
    kept = []
    for owner in owners:
        if owner.identity == mine.identity:
            mine = replace(mine, paths=owner.paths - diff.removed, time=owner.time)
        else:
            kept.append(replace(owner, paths=owner.paths - gone))
    grown = mine.paths | diff.set
    if grown != mine.paths or not _has(owners, mine):
        mine = replace(mine, paths=grown, time=time)
    result = _bounded((*kept, mine))
    return managed if _same(owners, result) else dump(result)


def _all_of(
    obj: Mapping[str, Any],
    topology: Topology,
    manager: str,
    api_version: str,
    subresource: str,
    time: str,
) -> bytes:
    """Everything of a new object is its creator's: the most frequent case, without set algebra."""
    tree = fields_tree(tracked(obj), topology)
    if not tree:
        return b"[]"
    entry = {
        "manager": manager,
        "operation": "Update",
        "apiVersion": api_version,
        "time": time,
        "fieldsType": "FieldsV1",
        "fieldsV1": tree,
    }
    if subresource:
        entry["subresource"] = subresource
    return orjson.dumps([entry], option=orjson.OPT_SORT_KEYS)


def fields_tree(value: Any, topology: Topology) -> dict[str, Any]:
    """fieldsV1 of a value: what `to_fields_v1` makes of all its leaves."""
    if isinstance(value, dict):
        if topology.maps == "atomic":
            return {}
        return {
            "f:" + name: fields_tree(sub, topology.of(name)) if isinstance(sub, dict | list) else {}
            for name, sub in value.items()
        }
    if isinstance(value, list) and topology.lists != "atomic" and keyed(value, topology):
        return {item_key(item, topology): _item_tree(item, topology) for item in value}
    return {}


def _item_tree(item: Any, topology: Topology) -> dict[str, Any]:
    below = fields_tree(item, topology.item) if topology.lists == "map" else {}
    return {".": {}, **below} if below else {}


def _bounded(owners: tuple[Owner, ...]) -> tuple[Owner, ...]:
    """At most MAX_UPDATERS Update entries, as Kubernetes: the oldest merge into one."""
    updates = sorted((o for o in owners if o.operation == "Update" and o.paths), key=_age)
    if len(updates) <= MAX_UPDATERS:
        return owners
    old = updates[: len(updates) - MAX_UPDATERS + 1]
    ancient = replace(
        old[-1],
        manager="ancient-changes",
        subresource="",
        paths=frozenset().union(*(owner.paths for owner in old)),
    )
    return (*(owner for owner in owners if owner not in old), ancient)


def _age(owner: Owner) -> tuple[bool, str]:
    return (owner.manager != "ancient-changes", owner.time)


def _has(owners: Iterable[Owner], mine: Owner) -> bool:
    return any(owner == mine for owner in owners)


def _same(old: Iterable[Owner], new: Iterable[Owner]) -> bool:
    """Equal ownership, whatever the times."""
    return ownership(old) == ownership(new)


def ownership(owners: Iterable[Owner]) -> dict[tuple[str, Operation, str, str], Paths]:
    """Who owns what, without times: what a no-op write is judged by."""
    return {owner.identity: owner.paths for owner in owners if owner.paths}
