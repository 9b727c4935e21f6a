"""Field selectors, `metadata.name=x,type!=y`, read as Kubernetes reads them. Pure.

As in k8s.io/apimachinery/pkg/fields/selector.go: no blanks are skipped, a backslash before a comma,
an equals sign or a backslash takes it as part of the value.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from api import errors
from resources.meta import KindInfo

_TERM: Final = re.compile(r"(?:[^,\\]|\\.|\\\Z)+", re.DOTALL)
"""Up to the next comma without a backslash before it."""
_OPERATOR: Final = re.compile(r"!=|==|=")
_ESCAPED: Final = re.compile(r"\\(.?)|[,=]", re.DOTALL)
_MAX_SHOWN_CHARS: Final = 80


@dataclass(frozen=True, slots=True)
class FieldTerm:
    """One term of a field selector."""

    field: str
    value: str
    equal: bool

    def matches(self, obj: Mapping[str, Any]) -> bool:
        return (_selected(obj, self.field) == self.value) is self.equal


def parse_fields(text: str | None, info: KindInfo) -> tuple[FieldTerm, ...]:
    """All of them must match. Raises StatusError 400, also for a field that the kind has not
    declared."""
    known = {"metadata.name", *info.selectable_fields}
    if info.namespaced:
        known.add("metadata.namespace")
    return tuple(_terms(text or "", known))


def _terms(text: str, known: set[str]) -> Iterator[FieldTerm]:
    for term in _TERM.findall(text):
        operator = _OPERATOR.search(term)
        if operator is None:
            raise errors.bad_request(
                f"invalid selector: '{_cut(text)}'; can't understand '{_cut(term)}'"
            )
        field = term[: operator.start()]
        value = _unescaped(term[operator.end() :])
        if field not in known:
            raise errors.bad_request(
                f"field label not supported: {_cut(field)}; use one of: {', '.join(sorted(known))}"
            )
        yield FieldTerm(field, value, operator[0] != "!=")


def _unescaped(value: str) -> str:
    return _ESCAPED.sub(_meant, value)


def _meant(found: re.Match[str]) -> str:
    if not found[0].startswith("\\"):
        raise errors.bad_request(
            f"invalid field selector: unescaped character in value: {found[0]}"
        )
    if found[1] not in ("\\", ",", "="):
        raise errors.bad_request(f"invalid field selector: invalid escape sequence: {found[0]}")
    return found[1]


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN_CHARS else text[:_MAX_SHOWN_CHARS] + "…"


def _selected(obj: Mapping[str, Any], field: str) -> str:
    """Of an Event's source its component, else who reports it: as ToSelectableFields in
    kubernetes/pkg/registry/core/event/strategy.go has it."""
    if field == "source":
        return _text_at(obj, "source.component") or _text_at(obj, "reportingComponent")
    return _text_at(obj, field)


def _text_at(obj: Mapping[str, Any], path: str) -> str:
    value: Any = obj
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
