"""The structural schema of a kind as pruning walks it: worked out once, so that a write costs a
look-up a field, and not a search for the defaults of every field that was left out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

PRESERVE: Final = "x-kubernetes-preserve-unknown-fields"
MAX_ENTRIES: Final = 10_000
"""Of a list or map whose schema sets no bound of its own: the models complain about each entry, of
which 1 MiB can hold 300,000; that took 5 s, and 60 MB to tell."""


@dataclass(frozen=True, slots=True)
class Node:
    """One schema: of an object with fields, a map, a list, or anything else."""

    fields: "Mapping[str, Node] | None" = None
    defaults: tuple[tuple[str, Any], ...] = ()
    """Of the fields that have one. Copy a value before anybody may change it."""
    preserve: bool = False
    """Unknown fields are kept."""
    items: "Node | None" = None
    values: "Node | None" = None
    most: int = MAX_ENTRIES
    """Entries of the list or map."""


def walked(schema: Mapping[str, Any]) -> Node:
    """A structural schema (api/schema.py), ready to be walked."""
    properties, items = schema.get("properties"), schema.get("items")
    values = schema.get("additionalProperties")
    fields = None
    defaults: tuple[tuple[str, Any], ...] = ()
    if properties is not None:
        fields = {name: walked(known) for name, known in properties.items()}
        with_default = {name: known for name, known in properties.items() if "default" in known}
        defaults = tuple((name, known["default"]) for name, known in with_default.items())
    return Node(
        fields=fields,
        defaults=defaults,
        preserve=bool(schema.get(PRESERVE, False)),
        items=None if items is None else walked(items),
        values=walked(values) if isinstance(values, dict) else None,
        most=schema.get("maxItems" if items is not None else "maxProperties", MAX_ENTRIES),
    )
