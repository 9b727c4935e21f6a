"""How a record's fields merge: which lists are sets or maps by key, which values are atomic.

Read once per kind from its structural schema (x-kubernetes-list-type, x-kubernetes-map-type;
https://kubernetes.io/docs/reference/using-api/server-side-apply/#merge-strategy). Names every
field by a path as fieldsV1 does. Not the ownership algebra itself: that is fields.py.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import orjson

Path = tuple[str, ...]
"""Path elements as fieldsV1 spells them: `f:name`, `k:{"key":"value"}`, `v:"value"`."""

Shape = Literal["granular", "atomic", "set", "map"]


@dataclass(frozen=True, slots=True)
class Topology:
    """How one value merges. Maps are granular unless `atomic`; lists atomic unless set or map."""

    maps: Literal["granular", "atomic"] = "granular"
    lists: Literal["atomic", "set", "map"] = "atomic"
    keys: tuple[str, ...] = ()
    """The fields that tell items of a `map` list apart."""
    fields: Mapping[str, "Topology"] = field(default_factory=dict)
    items: "Topology | None" = None
    """Of list items, or of a map's values."""

    def of(self, name: str) -> "Topology":
        """The topology of one field of a map."""
        return self.fields.get(name) or self.items or PLAIN

    @property
    def item(self) -> "Topology":
        return self.items or PLAIN


PLAIN: Final = Topology()
"""No schema: maps granular, lists atomic."""

METADATA: Final = Topology(
    fields={
        "finalizers": Topology(lists="set"),
        "ownerReferences": Topology(lists="map", keys=("uid",), items=Topology(maps="atomic")),
    }
)
"""ObjectMeta is the same for every kind."""

DEFAULT: Final = Topology(
    fields={
        "metadata": METADATA,
        "status": Topology(fields={"conditions": Topology(lists="map", keys=("type",))}),
    }
)
"""What holds for every record, for callers without a schema."""


def of_schema(schema: Mapping[str, Any]) -> Topology:
    """The topology of a kind, from its structural schema; metadata is ObjectMeta's own."""
    root = _of_schema(schema)
    return Topology(fields={**root.fields, "metadata": METADATA})


def _of_schema(schema: Mapping[str, Any]) -> Topology:
    children = schema.get("items")
    if children is None:
        children = schema.get("additionalProperties")
    list_type = schema.get("x-kubernetes-list-type", "atomic")
    return Topology(
        maps="atomic" if schema.get("x-kubernetes-map-type") == "atomic" else "granular",
        lists=list_type,
        keys=tuple(schema.get("x-kubernetes-list-map-keys", ())),
        fields={name: _of_schema(sub) for name, sub in (schema.get("properties") or {}).items()},
        items=_of_schema(children) if isinstance(children, Mapping) else None,
    )


def item_key(item: Any, topology: Topology) -> str:
    """How fieldsV1 names one item of a set or map list."""
    if topology.lists == "set":
        return "v:" + orjson.dumps(item, option=orjson.OPT_SORT_KEYS).decode()
    keys = {key: item.get(key) for key in topology.keys} if isinstance(item, Mapping) else item
    return "k:" + orjson.dumps(keys, option=orjson.OPT_SORT_KEYS).decode()


def keyed(value: list[Any], topology: Topology) -> bool:
    """True if the list merges item by item: every item has its own name.

    A map list with an item that lacks its keys, or that is no map, falls back to atomic: it is
    the validator's to refuse, and must not break ownership.
    """
    if topology.lists == "atomic":
        return False
    if topology.lists == "map":
        return all(isinstance(item, Mapping) and _has_keys(item, topology) for item in value)
    return all(not isinstance(item, dict | list) for item in value)


def _has_keys(item: Mapping[str, Any], topology: Topology) -> bool:
    return any(key in item for key in topology.keys)


def leaves(value: Any, topology: Topology, at: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every owned path below `value` with its value.

    Leaves are scalars, atomic values and empty maps or lists. An item of a map list is a path of
    its own as well (fieldsV1's "."), with value None: being there is what is owned.
    """
    if isinstance(value, Mapping) and value and topology.maps == "granular":
        for name, sub in value.items():
            yield from leaves(sub, topology.of(name), (*at, "f:" + name))
    elif isinstance(value, list) and value and keyed(value, topology):
        yield from _item_leaves(value, topology, at)
    else:
        yield at, value


def _item_leaves(value: list[Any], topology: Topology, at: Path) -> Iterator[tuple[Path, Any]]:
    for item in value:
        path = (*at, item_key(item, topology))
        if topology.lists == "set" or topology.item.maps == "atomic":
            yield path, item
        else:
            yield path, None
            yield from leaves(item, topology.item, path)
