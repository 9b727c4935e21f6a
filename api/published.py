"""Schemas as OpenAPI publishes them: named, complete as documentation, metadata by reference.

`kubectl explain` shows types and descriptions only, so each description also says the field's
default and example. Structural schemas come from schema.py; this never changes what is accepted.
"""

import copy
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from api.metaschema import API_VERSION, KIND, LIST_META, OBJECT_META, Schema, all_of, ref
from resources.meta import KindInfo


def schema_name(info: KindInfo, suffix: str = "") -> str:
    """`cloud.bunker.v1.Database`; core kinds keep Kubernetes' own `io.k8s.api.core.v1.Secret`."""
    domain = ".".join(reversed(info.group.split("."))) if info.group else "io.k8s.api.core"
    return f"{domain}.{info.version}.{info.kind}{suffix}"


def gvk(info: KindInfo) -> dict[str, str]:
    """The x-kubernetes-group-version-kind of a kind."""
    return {"group": info.group, "version": info.version, "kind": info.kind}


def published(info: KindInfo, structural: Mapping[str, Any]) -> Schema:
    """The component of one kind."""
    schema = copy.deepcopy(dict(structural))
    properties = schema.setdefault("properties", {})
    for prop in properties.values():
        _complete(prop)
    properties["apiVersion"] = {**API_VERSION}
    properties["kind"] = {**KIND}
    properties["metadata"] = all_of(OBJECT_META, "Name, identity and history of the record.")
    for name, text in (("spec", "What is desired."), ("status", "What was observed.")):
        if name in properties:
            properties[name].setdefault("description", text)
    schema["x-kubernetes-group-version-kind"] = [gvk(info)]
    return schema


def published_list(info: KindInfo) -> Schema:
    """The component of a list of one kind."""
    return {
        "type": "object",
        "description": f"A list of {info.kind}.",
        "required": ["items"],
        "properties": {
            "apiVersion": {**API_VERSION},
            "items": {
                "type": "array",
                "items": ref(schema_name(info)),
                "description": "The records.",
            },
            "kind": {**KIND},
            "metadata": all_of(LIST_META, "Version of the list, and how to go on reading it."),
        },
        "x-kubernetes-group-version-kind": [{**gvk(info), "kind": f"{info.kind}List"}],
    }


def outline(info: KindInfo, parts: Iterable[str]) -> Schema:
    """The schema of a kind whose fields are Kubernetes' own business: anything in each part."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "type": "object",
        "description": f"Kubernetes' own {info.kind}, as far as clients need it here.",
        "properties": {part: {**anything, "description": f"The {part}."} for part in parts},
    }


def described(schema: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """(dotted path, description) of every field below a schema, "" where there is none."""
    for name, prop in schema.get("properties", {}).items():
        here = f"{path}.{name}" if path else name
        yield here, prop.get("description", "")
        yield from described(prop, here)
    for inner in (schema.get("items"), schema.get("additionalProperties")):
        if isinstance(inner, Mapping):
            yield from described(inner, path)


def _complete(schema: Schema) -> None:
    """Say default and example in the description, and spell quantities as clients read them."""
    if schema.get("x-kubernetes-int-or-string"):
        schema.update(type="string", format="int-or-string")
        schema.pop("anyOf", None)
    # sources are wrapped by hand; clients wrap for themselves. A blank line stays a paragraph
    text = re.sub(r"(?<!\n)\n(?!\n)", " ", schema.get("description", ""))
    if "default" in schema and "Default:" not in text:
        text = f"{text} Default: `{_spelled(schema['default'])}`."
    if "example" in schema and "Example:" not in text:
        text = f"{text} Example: `{_spelled(schema['example'])}`."
    if text:
        schema["description"] = text.strip()
    for prop in schema.get("properties", {}).values():
        _complete(prop)
    for inner in (schema.get("items"), schema.get("additionalProperties")):
        if isinstance(inner, dict):
            _complete(inner)


def _spelled(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)
