"""What Kubernetes itself does to its core kinds on every write: a Secret's stringData, base64 with
line breaks, the label of a Namespace. Works on plain JSON, and judges nothing."""

import base64
from typing import Any, Final

from api.served import Served
from resources.core import one_line

_BASE64: Final = {"Secret": "data", "ConfigMap": "binaryData"}
"""Kinds with fields of base64, which may have line breaks as it is sent."""


def core_conventions(served: Served, obj: dict[str, Any]) -> dict[str, Any]:
    """What Kubernetes itself does to its core kinds on every write."""
    info = served.info
    if info.group:
        return obj
    normalize_data(served, obj)
    if info.kind == "Namespace" and obj["metadata"].get("name"):
        meta = obj["metadata"]
        named = {"kubernetes.io/metadata.name": meta["name"]}
        meta["labels"] = {**(meta.get("labels") or {}), **named}
    return obj


def normalize_data(served: Served, obj: dict[str, Any]) -> None:
    """What one says in several ways, in the one way in which it is kept: before it is compared with
    what is there."""
    if served.info.group:
        return
    if (name := _BASE64.get(served.info.kind)) and isinstance(data := obj.get(name), dict):
        obj[name] = {k: one_line(v) if isinstance(v, str) else v for k, v in data.items()}
    if served.info.kind == "Secret":
        _encode_string_data(obj)


def _encode_string_data(obj: dict[str, Any]) -> None:
    """A Secret's stringData is written into data, base64, and never kept."""
    plain, data = obj.get("stringData"), obj.get("data") or {}
    if not isinstance(plain, dict) or not isinstance(data, dict):
        return  # the model says what is wrong with it
    if not all(isinstance(value, str) for value in plain.values()):
        return
    del obj["stringData"]
    if plain:
        encoded = {k: base64.b64encode(v.encode()).decode() for k, v in plain.items()}
        obj["data"] = {**data, **encoded}
