"""Server-side apply: merge what a manager wants into what is, with conflicts and removals. Pure.

https://kubernetes.io/docs/reference/using-api/server-side-apply/ . Objects are plain JSON;
validation, defaults and storage are the caller's.
"""

import copy
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from controlplane.fields import (
    Owner,
    Paths,
    covered,
    difference,
    dump,
    ownership,
    parse,
    tracked,
    values_of,
)
from controlplane.topology import Path, Topology, item_key, keyed, leaves


@dataclass(frozen=True, slots=True)
class Conflict:
    """A field another manager owns, and to which apply would give another value."""

    manager: str
    api_version: str
    subresource: str
    operation: str
    time: str
    field: str
    """Dotted, as kubectl prints it: `.spec.storageGB`."""


@dataclass(frozen=True, slots=True)
class Applied:
    """The merged object and its new ownership; nothing is to be written while conflicts stand."""

    obj: dict[str, Any]
    managed_fields: bytes
    conflicts: tuple[Conflict, ...] = ()


def apply(
    live: Mapping[str, Any] | None,
    managed: bytes,
    config: Mapping[str, Any],
    *,
    manager: str,
    api_version: str,
    time: str,
    topology: Topology,
    subresource: str = "",
    force: bool = False,
) -> Applied:
    """Apply `config` as `manager`.

    Fields of its previous configuration that are gone from this one and that nobody else owns
    are removed. A value equal to the live one is owned together; a different one on another's
    field is a conflict, or taken over with `force`.
    """
    owners = parse(managed)
    me = Owner(manager, "Apply", api_version, subresource, time, frozenset())
    previous = next((o for o in owners if o.identity == me.identity), None)
    others = [o for o in owners if o.identity != me.identity]
    wanted = frozenset(values_of(config, topology))
    merged = merge(live or {}, config, topology)
    changed = difference(live, merged, topology)
    moved = changed.set | changed.removed
    found = tuple(c for owner in others for c in _conflicts(owner, changed.set))
    if found and not force:
        return Applied(merged, managed, found)
    others = [replace(o, paths=o.paths - moved) for o in others]
    if previous is not None:
        owned = wanted.union(*(owner.paths for owner in others))
        # what nobody holds, nor anything below it
        merged = remove(merged, previous.paths - covered(owned), topology, kept=owned)
    me = replace(me, paths=wanted)
    if previous is not None and previous.paths == wanted:
        me = replace(me, time=previous.time)
    result = (*others, me)
    same = ownership(owners) == ownership(result)
    return Applied(merged, managed if same else dump(result))


def _conflicts(owner: Owner, moved: Paths) -> Iterable[Conflict]:
    for path in sorted(owner.paths & moved):
        yield Conflict(
            owner.manager,
            owner.api_version,
            owner.subresource,
            owner.operation,
            owner.time,
            dotted(path),
        )


def repeated(config: Mapping[str, Any], topology: Topology) -> Path | None:
    """The first item that a list whose items are told apart has twice; None if there is none."""
    seen: set[Path] = set()
    for path, _ in leaves(tracked(config), topology):
        if path in seen:
            return path
        seen.add(path)
    return None


def dotted(path: Path) -> str:
    """`.spec.users[name="bob"].role`: how kubectl names a field."""
    out = ""
    for element in path:
        mark, text = element[:2], element[2:]
        if mark == "f:":
            out += "." + text
        elif mark == "k:":
            out += "[" + text.strip("{}").replace('":', "=").replace('"', "", 1) + "]"
        else:
            out += "[=" + text + "]"
    return out


def merge(live: Mapping[str, Any], config: Mapping[str, Any], topology: Topology) -> dict[str, Any]:
    """`live` with every field of `config` set; lists merge as their topology says."""
    out = dict(live)
    for name, value in config.items():
        out[name] = _merge_value(out.get(name), value, topology.of(name))
    return out


def _merge_value(old: Any, new: Any, topology: Topology) -> Any:
    if isinstance(new, Mapping):
        if topology.maps == "granular" and isinstance(old, Mapping):
            return merge(old, new, topology)
        return copy.deepcopy(dict(new))
    if isinstance(new, list) and isinstance(old, list) and keyed([*old, *new], topology):
        return _merge_list(old, new, topology)
    return copy.deepcopy(new)


def _merge_list(old: list[Any], new: list[Any], topology: Topology) -> list[Any]:
    """Live order first, then what is new in the configuration's order."""
    out = {item_key(item, topology): item for item in old}
    for item in new:
        key = item_key(item, topology)
        out[key] = _merge_value(out.get(key), item, topology.item)
    return list(out.values())


def remove(
    obj: Mapping[str, Any], paths: Paths, topology: Topology, *, kept: Paths = frozenset()
) -> dict[str, Any]:
    """The object without these paths; a map or list emptied by that goes as well, unless it is
    one of `kept`: what is owned empty stays, else the next apply of it would write it again."""
    out = _remove(obj, {*paths}, {*kept}, topology)
    return out if isinstance(out, dict) else {}


def _remove(value: Any, paths: set[Path], kept: set[Path], topology: Topology) -> Any:
    """The value without `paths` (relative to it, as `kept` is), or None if nothing of it is
    left."""
    if not paths:
        return value
    out: dict[str, Any] | list[Any]
    if isinstance(value, Mapping):
        out = _remove_fields(value, paths, kept, topology)
    elif isinstance(value, list) and keyed(value, topology):
        out = _remove_items(value, paths, kept, topology)
    else:
        return value
    return out if out or () in kept else None


def _below(paths: set[Path]) -> dict[str, set[Path]]:
    """The rest of each path, by its first element."""
    found: dict[str, set[Path]] = defaultdict(set)
    for path in paths:
        if path:
            found[path[0]].add(path[1:])
    return found


def _remove_fields(
    value: Mapping[str, Any], paths: set[Path], kept: set[Path], topology: Topology
) -> dict[str, Any]:
    out, gone, stays = {}, _below(paths), _below(kept)
    for name, sub in value.items():
        element = "f:" + name
        below = gone.get(element, set())
        if () in below:
            continue
        left = _remove(sub, below, stays.get(element, set()), topology.of(name))
        if left is not None or sub is None:
            out[name] = left
    return out


def _remove_items(
    value: list[Any], paths: set[Path], kept: set[Path], topology: Topology
) -> list[Any]:
    out, gone, stays = [], _below(paths), _below(kept)
    # what tells an item from the others stays as long as the item does
    keys = {("f:" + key,) for key in topology.keys}
    for item in value:
        element = item_key(item, topology)
        below = gone.get(element, set()) - keys
        if () in below:
            continue
        left = _remove(item, below, stays.get(element, set()), topology.item)
        if left is not None:
            out.append(left)
    return out
