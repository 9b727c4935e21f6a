"""The structural schema of a kind, from its model: what is pruned by, defaulted by and published.

Structural as Kubernetes means it
(https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema):
references inlined, one type a field, no null, x-kubernetes-* extensions kept, defaults as a person
would write them. Not the OpenAPI document around it.
"""

import copy
from collections.abc import Iterator, Mapping
from typing import Any, Final, get_args

from pydantic import BaseModel

from resources.meta import Record

Schema = dict[str, Any]

_KEPT: Final = frozenset(
    {
        "type",
        "description",
        "default",
        "enum",
        "pattern",
        "format",
        "minimum",
        "maximum",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "uniqueItems",
        "minProperties",
        "maxProperties",
        "multipleOf",
        "required",
        "example",
    }
)


def structural_schema(model: type[Record]) -> Schema:
    """The schema of a kind, references inlined, with `status` not required.

    Each field has a description where the model gives one, and its default in wire form; defaults
    that only say "nothing" (null, empty map or list) are left out.
    """
    raw = model.model_json_schema(by_alias=True, mode="validation")
    definitions = raw.pop("$defs", {})
    defaults = {cls.__name__: _defaults(cls) for cls in _models(model, set())}
    for name, definition in definitions.items():
        _set_defaults(definition, defaults.get(name, {}))
    _set_defaults(raw, defaults.get(model.__name__, {}))
    schema = _Inliner(definitions).inline(raw)
    schema["required"] = [n for n in schema.get("required", ()) if n not in ("metadata", "status")]
    if not schema["required"]:
        del schema["required"]
    for name in ("metadata", "status"):
        if name in schema["properties"]:
            _drop_defaults(schema["properties"][name])
    schema["properties"]["apiVersion"] = {"type": "string", "description": _API_VERSION}
    schema["properties"]["kind"] = {"type": "string", "description": _KIND}
    return schema


_API_VERSION: Final = "Group and version of this record's schema. Example: `bunker.cloud/v1`."
_KIND: Final = "What this record is. Example: `Database`."


def _models(annotation: Any, seen: set[type[BaseModel]]) -> Iterator[type[BaseModel]]:
    """Every model class reachable from a type annotation."""
    is_model = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    if is_model and annotation not in seen:
        seen.add(annotation)
        yield annotation
        for info in annotation.model_fields.values():
            yield from _models(info.annotation, seen)
    for argument in get_args(annotation):
        yield from _models(argument, seen)


def _defaults(model: type[BaseModel]) -> dict[str, Any]:
    """Field -> default in wire form (`512Mi`, not 536870912), for fields that have one."""
    empty = model.model_construct()
    wire: dict[str, Any] = empty.model_dump(
        mode="json", by_alias=True, exclude_none=True, warnings=False
    )
    return {name: value for name, value in wire.items() if value not in ({}, [], "")}


def _set_defaults(definition: Schema, defaults: Mapping[str, Any]) -> None:
    for name, prop in definition.get("properties", {}).items():
        prop.pop("default", None)
        if name in defaults and name not in definition.get("required", ()):
            prop["default"] = copy.deepcopy(defaults[name])


def _drop_defaults(schema: Schema) -> None:
    """Status is observed and metadata given, never assumed: no default gets into them."""
    schema.pop("default", None)
    for sub in schema.get("properties", {}).values():
        _drop_defaults(sub)
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            _drop_defaults(schema[name])


class _Inliner:
    """Replaces $ref by what it names and drops what is not structural."""

    def __init__(self, definitions: Mapping[str, Schema]) -> None:
        self._definitions = definitions

    def inline(self, raw: Schema) -> Schema:
        raw = self._resolved(raw)
        out = {k: v for k, v in raw.items() if k in _KEPT or k.startswith("x-kubernetes-")}
        if "const" in raw:
            out["enum"] = [raw["const"]]
        if raw.get("examples"):
            out["example"] = raw["examples"][0]
        _exclusive(raw, out)
        if "properties" in raw:
            out["properties"] = {n: self.inline(sub) for n, sub in raw["properties"].items()}
        self._children(raw, out)
        if _anything(raw, out):
            out["x-kubernetes-preserve-unknown-fields"] = True
        return out

    def _children(self, raw: Schema, out: Schema) -> None:
        items = raw.get("items") or next(iter(raw.get("prefixItems", ())), None)
        if isinstance(items, dict):
            out["items"] = self.inline(items)
        values = raw.get("additionalProperties")
        if isinstance(values, dict):
            out["additionalProperties"] = self.inline(values)
        branches = raw.get("anyOf") or raw.get("oneOf")
        if branches:
            out["anyOf"] = [self.inline(branch) for branch in branches]

    def _resolved(self, raw: Schema) -> Schema:
        """Follow $ref and single-branch unions; what is said beside them wins."""
        branches = [b for b in (raw.get("anyOf") or raw.get("oneOf") or ()) if not _null(b)]
        if len(branches) == 1:
            beside = {k: v for k, v in raw.items() if k not in ("anyOf", "oneOf")}
            return self._resolved({**branches[0], **beside})
        if branches:
            raw = {**raw, "anyOf": branches}
            raw.pop("oneOf", None)
        if "$ref" in raw:
            name = raw["$ref"].rsplit("/", 1)[-1]
            beside = {k: v for k, v in raw.items() if k != "$ref"}
            return self._resolved({**self._definitions[name], **beside})
        if len(raw.get("allOf", ())) == 1:
            beside = {k: v for k, v in raw.items() if k != "allOf"}
            return self._resolved({**raw["allOf"][0], **beside})
        return raw


def _null(schema: Schema) -> bool:
    return schema.get("type") == "null"


def _exclusive(raw: Schema, out: Schema) -> None:
    """OpenAPI 3.0 spells exclusive bounds as a flag beside the bound."""
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if exclusive in raw:
            out[bound] = raw[exclusive]
            out[exclusive] = True


def _anything(raw: Schema, out: Schema) -> bool:
    """True for `Any` and for maps of it: fields the schema says nothing about."""
    if raw.get("additionalProperties") is True:
        return True
    typed = {"type", "anyOf", "enum", "properties", "x-kubernetes-int-or-string"} & out.keys()
    return not typed
