"""The one schema-driven pass over what a client sent: prune unknown fields, drop nulls, default.

The models validate afterwards and see known fields only. Also turns a model's complaints into
field errors, and checks metadata, which every kind has.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from api import errors
from api.pruning import Node
from api.qualified import MAX_NAME, is_key, is_subdomain, is_value
from api.served import Served
from resources.meta import FieldError, Record

Reason = Literal[
    "FieldValueRequired",
    "FieldValueInvalid",
    "FieldValueNotSupported",
    "FieldValueForbidden",
    "FieldValueTypeInvalid",
    "FieldValueTooLong",
    "FieldValueTooMany",
]

_SELF_SET: Final = frozenset({"selfLink", "managedFields"})
"""Metadata the models do not know and clients may send back."""
_MAX_SHOWN_CHARS: Final = 64
"""Of a refused value, in an error message."""


class Pruned:
    """One object, pruned and defaulted, and the dotted paths of what was dropped."""

    __slots__ = ("obj", "unknown")

    def __init__(self, obj: dict[str, Any], unknown: list[str]) -> None:
        self.obj = obj
        self.unknown = unknown


def prune(
    served: Served, obj: Mapping[str, Any], *, defaults: bool = True, keeps_unknown: bool = False
) -> Pruned:
    """Keep what the schema knows, drop nulls (null means "not given"), apply defaults.

    Values of a wrong type are left as they are: the model names them better.
    Raises StatusError 422 for a list or map with more entries than may be.
    """
    unknown: list[str] = []
    try:
        out = _Pruner(unknown, defaults, keeps_unknown).map(obj, served.walked, "")
    except _TooManyError as exc:
        meta = obj.get("metadata")
        name = meta.get("name") if isinstance(meta, dict) else ""
        raise errors.invalid(served.info, str(name or ""), [exc.wrong]) from exc
    return Pruned(out, unknown)


class _TooManyError(Exception):
    """A list or map with more entries than may be."""

    def __init__(self, path: str, count: int, limit: int) -> None:
        super().__init__(path)
        told = f"Too many: {count}: must have at most {limit} items"
        self.wrong = FieldError(path, "FieldValueTooMany", told)


class _Pruner:
    """One walk over an object and its schema."""

    __slots__ = ("_defaults", "_kept", "_unknown")

    def __init__(self, unknown: list[str], defaults: bool, kept: bool) -> None:
        self._unknown = unknown
        self._defaults = defaults
        self._kept = kept

    def map(self, value: Mapping[str, Any], node: Node, path: str) -> dict[str, Any]:
        fields = node.fields
        if fields is None:
            return self._values(value, node, path)
        out = {}
        for name, sub in value.items():
            known = fields.get(name)
            if known is not None:
                if isinstance(sub, dict | list):
                    out[name] = self._value(sub, known, f"{path}.{name}" if path else name)
                elif sub is not None:
                    out[name] = sub
            elif self._kept or node.preserve or (path == "metadata" and name in _SELF_SET):
                out[name] = sub
            else:
                self._unknown.append(f"{path}.{name}" if path else name)
        if self._defaults:
            _set_defaults(out, node)
        return out

    def _value(self, value: Any, node: Node, path: str) -> Any:
        if isinstance(value, dict):
            return self.map(value, node, path)
        items = node.items
        if isinstance(value, list) and items is not None:
            if len(value) > node.most:
                raise _TooManyError(path, len(value), node.most)
            return [self._value(v, items, f"{path}[{i}]") for i, v in enumerate(value)]
        return value

    def _values(self, value: Mapping[str, Any], node: Node, path: str) -> dict[str, Any]:
        values = node.values
        if values is None:
            return dict(value)
        if len(value) > node.most:
            raise _TooManyError(path, len(value), node.most)
        return {
            name: self._value(sub, values, f"{path}.{name}")
            for name, sub in value.items()
            if sub is not None
        }


def _set_defaults(out: dict[str, Any], node: Node) -> None:
    for name, default in node.defaults:
        if name not in out:
            out[name] = _fresh(default)


def _fresh(value: Any) -> Any:
    """A copy nobody else holds."""
    if isinstance(value, dict):
        return {name: _fresh(sub) for name, sub in value.items()}
    if isinstance(value, list):
        return [_fresh(sub) for sub in value]
    return value


def validate(
    served: Served, obj: Mapping[str, Any], *, stored: Mapping[str, Any] | None = None
) -> tuple[Record | None, list[FieldError]]:
    """The model of an object, or what is wrong with it, field by field. Labels that are in `stored`
    just so are not judged: the platform wrote them itself, or rules came after them. Nor is what
    the kind's `check_new` spares."""
    kept = ((stored or {}).get("metadata") or {}).get("labels")
    wrong = list(metadata_errors(served, obj.get("metadata") or {}, kept))
    shown = obj
    if "status" not in obj and served.info.has_status:
        shown = {**obj, "status": {}}
    meta = {k: v for k, v in (obj.get("metadata") or {}).items() if k not in _SELF_SET}
    try:
        model = served.model.model_validate({**shown, "metadata": meta})
    except ValidationError as exc:
        secret = served.info.kind == "Secret"
        found = exc.errors(include_url=False, include_context=False)
        wrong += [field_error(error, secret=secret) for error in found]
        return None, wrong
    wrong += model.check_new(stored or {})
    return (None if wrong else model), wrong


def field_error(error: ErrorDetails, *, secret: bool = False) -> FieldError:
    """One pydantic complaint as Kubernetes says it: field, value and fix."""
    path = ""
    for part in error["loc"]:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    kind, message = error["type"], error["msg"].removeprefix("Value error, ")
    if not path and (named := _NAMED.match(message)):
        path = named[0]  # a rule about the record as a whole says of which field it complains
    if kind == "missing":
        return FieldError(path, "FieldValueRequired", "Required value")
    reason: Reason = "FieldValueInvalid"
    if kind in ("literal_error", "enum"):
        reason, message = "FieldValueNotSupported", _not_supported(message)
    elif kind.endswith(("_type", "_parsing")):
        reason = "FieldValueTypeInvalid"
    elif kind in ("string_too_long", "too_long"):
        reason = "FieldValueTooLong"
    elif kind == "extra_forbidden":
        return FieldError(path, "FieldValueForbidden", "unknown field; remove it")
    shown = "" if secret else _show(error.get("input"))
    message = _WRITE.get(kind) or message.replace("Input should be", "write a value", 1)
    return FieldError(path, reason, f"{_VERDICT[reason]}: {shown}{message}")


_NAMED: Final = re.compile(r"(?:spec|metadata)(?:\.\w+)+")
_VERDICT: Final[dict[str, str]] = {
    "FieldValueInvalid": "Invalid value",
    "FieldValueNotSupported": "Unsupported value",
    "FieldValueTypeInvalid": "Invalid value",
    "FieldValueTooLong": "Too long",
}


_WHOLE: Final = "write a whole number, without quotes"
_LIST: Final = "write a list: lines that begin with '- ', or [...]"
_MAP: Final = "write a map: lines of 'name: value', or {...}"
_WRITE: Final[dict[str, str]] = {
    "string_type": "write a string; quote what YAML takes for a number, true or false",
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_from_float": _WHOLE,
    "bool_type": "write true or false, without quotes",
    "bool_parsing": "write true or false, without quotes",
    "tuple_type": _LIST,
    "list_type": _LIST,
    "dict_type": _MAP,
    "mapping_type": _MAP,
    "model_type": _MAP,
    "model_attributes_type": _MAP,
}
"""What pydantic says in Python's words, in those of a manifest."""


def _not_supported(message: str) -> str:
    return message.replace("Input should be", "supported values:", 1)


def _show(value: Any) -> str:
    """A refused scalar, quoted and cut; maps and lists are not repeated."""
    if isinstance(value, Mapping | list | tuple) or value is None:
        return ""
    text = str(value)
    if len(text) > _MAX_SHOWN_CHARS:
        text = text[:_MAX_SHOWN_CHARS] + "…"
    return f"{text!r}: " if isinstance(value, str) else f"{text}: "


_LABEL: Final = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_MAX_ANNOTATION_BYTES: Final = 256 * 1024
"""Kubernetes' own total limit of a record's annotations."""


def name_error(served: Served, name: str) -> str | None:
    """Why a name can't be used, with the fix; None if it can."""
    if served.info.dns_name:
        if _LABEL.fullmatch(name):
            return None
        return (
            "write a DNS label: at most 63 lower-case letters, digits and '-', "
            "starting with a letter and ending with a letter or digit"
        )
    if is_subdomain(name):
        return None
    return (
        "write a DNS subdomain: at most 253 lower-case letters, digits, '-' and '.', "
        "starting and ending with a letter or digit"
    )


def metadata_errors(
    served: Served, meta: Mapping[str, Any], kept: Any = None
) -> Iterator[FieldError]:
    """Names, labels (but for those `kept` as they are), annotations and finalizers, as every
    kind's must be."""
    name = meta.get("name") or ""
    if not isinstance(name, str):
        return  # the model says it
    if name and (why := name_error(served, name)):
        yield FieldError("metadata.name", "FieldValueInvalid", f"Invalid value: {_show(name)}{why}")
    yield from _label_errors(meta.get("labels") or {}, kept)
    yield from _annotation_errors(meta.get("annotations") or {})
    finalizers = meta.get("finalizers")
    for index, finalizer in enumerate(finalizers if isinstance(finalizers, list) else ()):
        if isinstance(finalizer, str) and not is_key(finalizer):
            yield FieldError(
                f"metadata.finalizers[{index}]",
                "FieldValueInvalid",
                f"Invalid value: {_show(finalizer)}write a qualified name such as "
                "'example.com/cleanup'",
            )


def _key_error(where: str, key: str) -> FieldError:
    return FieldError(
        where,
        "FieldValueInvalid",
        f"Invalid value: {_show(key)}write a name of at most 63 letters, digits, '-', '_' and "
        "'.', optionally after a DNS prefix and '/'",
    )


def _label_errors(labels: Any, kept: Any) -> Iterator[FieldError]:
    if not isinstance(labels, Mapping):
        return
    known = kept if isinstance(kept, Mapping) else {}
    for key, value in labels.items():
        if key in known and known[key] == value:
            continue
        if not is_key(key):
            yield _key_error("metadata.labels", key)
        if isinstance(value, str) and not is_value(value):
            yield FieldError(
                "metadata.labels",
                "FieldValueInvalid",
                f"Invalid value: {_show(value)}a label's value is at most {MAX_NAME} letters, "
                "digits, '-', '_' and '.', or empty; use an annotation for anything else",
            )


def _annotation_errors(annotations: Any) -> Iterator[FieldError]:
    if not isinstance(annotations, Mapping):
        return
    size = 0
    for key, value in annotations.items():
        size += len(key) + (len(value.encode()) if isinstance(value, str) else 0)
        if not is_key(key.lower()):
            yield _key_error("metadata.annotations", key)
    if size > _MAX_ANNOTATION_BYTES:
        yield FieldError(
            "metadata.annotations",
            "FieldValueTooLong",
            f"Too long: {size} bytes in all; at most {_MAX_ANNOTATION_BYTES} are kept",
        )
