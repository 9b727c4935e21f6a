"""Values for every field of a spec, by semantic type, derived from the kind's own schema.

A field's docstring carries an `Example:`; enums, bounds, quantities and patterns say the rest.
What the model refuses is dropped afterwards, so candidates may be generous.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any, Final

import yaml

POOL: Final = (
    "alpha",
    "beta",
    "info",
    "A_B",
    "x@alpha.example",
    "alpha.example",
    "/healthz",
    "10.98.0.0/24",
    "10.98.0.7",
    "1h",
    "1",
    "nginx:1.27",
    "0 3 * * *",
    "Europe/Berlin",
)
"""Tried on every pattern that has no example."""
CPUS: Final = ("100m", "200m", "350m")
SIZES: Final = ("64Mi", "128Mi", "192Mi", "2Gi", "3Gi")
MAX_ITEMS: Final = 2
_EXAMPLE = re.compile(r"Example:\s*`([^`]+)`")


class Values:
    """Candidates for one spec; `refs` says which records a reference may name."""

    def __init__(self, schema: Mapping[str, Any], refs: Mapping[str, tuple[str, ...]]) -> None:
        self._defs: Mapping[str, Any] = schema.get("$defs", {})
        self._refs = refs
        """Name of a definition (`DatabaseRef`, `Ref`, ...) or of a field -> names to use."""
        self.fields: Mapping[str, Any] = schema.get("properties", {})

    def of(self, field: str) -> list[Any]:
        """Candidates for one top-level field of the spec, no two alike."""
        found: list[Any] = []
        for value in self._of(self.fields[field], field):
            if value not in found:
                found.append(value)
        return found

    def _of(self, schema: Mapping[str, Any], name: str) -> Iterator[Any]:
        yield from self._examples(schema, name)
        if "$ref" in schema:
            definition = schema["$ref"].rpartition("/")[2]
            yield from self._object(self._defs[definition], definition, name)
            return
        for key in ("anyOf", "oneOf"):
            for each in schema.get(key, ()):
                yield from self._of(each, name)
        if "allOf" in schema:
            yield from self._of(schema["allOf"][0], name)
        yield from self._plain(schema, name)

    def _examples(self, schema: Mapping[str, Any], name: str) -> Iterator[Any]:
        if "default" in schema and schema["default"] is not None:
            yield schema["default"]
        for text in _EXAMPLE.findall(str(schema.get("description", ""))):
            read = yaml.safe_load(text)
            # YAML has times, JSON has none
            yield text if schema.get("type") == "string" or isinstance(read, date) else read
            if isinstance(read, int | float):
                yield text  # a quoted number: a version
        del name

    def _plain(self, schema: Mapping[str, Any], name: str) -> Iterator[Any]:
        if "enum" in schema:
            yield from schema["enum"]
        elif "const" in schema:
            yield schema["const"]
        elif "x-kubernetes-int-or-string" in schema:
            yield from (*CPUS, *SIZES)
        else:
            yield from self._typed(schema, name)

    def _typed(self, schema: Mapping[str, Any], name: str) -> Iterator[Any]:
        match schema.get("type"):
            case "null":
                yield None
            case "boolean":
                yield from (True, False)
            case "integer":
                yield from _integers(schema)
            case "string":
                yield from _strings(schema)
            case "array":
                yield from self._array(schema, name)
            case "object":
                yield from self._object(schema, "", name)
            case _:
                return

    def _array(self, schema: Mapping[str, Any], name: str) -> Iterator[Any]:
        items = _first(self._of(schema.get("items", {}), name), 6)
        for item in items[:3]:
            yield [item]
        for other in items[1:MAX_ITEMS]:
            yield [items[0], other]
        yield []

    def _object(self, schema: Mapping[str, Any], definition: str, field: str) -> Iterator[Any]:
        properties = schema.get("properties")
        if not properties:
            if "enum" in schema or schema.get("type") not in (None, "object"):
                yield from self._plain(schema, field)
                return
            yield from ({"ALPHA": "one"}, {"ALPHA": "two", "BETA": "three"}, {})
            return
        names = self._refs.get(definition) or self._refs.get(field)
        if names and "name" in properties:
            base = {"name": names[0]}
            yield from ({"name": name} for name in names)
            for key in sorted(properties.keys() - {"name"}):
                yield from ({**base, key: v} for v in _first(self._of(properties[key], key), 2))
            return
        required = schema.get("required", ())
        choices = {key: _first(self._of(properties[key], key), 5) for key in properties}
        base = {key: choices[key][0] for key in required if choices[key]}
        if base or not required:
            yield base
        for key, values in choices.items():
            for value in values[:2]:
                yield {**base, key: value}


def _integers(schema: Mapping[str, Any]) -> Iterator[int]:
    low = int(schema.get("minimum", schema.get("exclusiveMinimum", 0)))
    high = int(schema.get("maximum", low + 1000))
    start = max(low, 0) if high >= 0 else low
    for value in (start, start + 1, start + 2, start + 7):
        if value <= high:
            yield value


def _strings(schema: Mapping[str, Any]) -> Iterator[str]:
    pattern = re.compile(str(schema.get("pattern", "")))
    for value in POOL:
        if pattern.search(value) and len(value) <= int(schema.get("maxLength", 10**6)):
            yield value


def _first(values: Iterator[Any], most: int) -> list[Any]:
    found: list[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
        if len(found) == most:
            break
    return found
