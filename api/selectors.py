"""Label and field selectors: parsed once per request, then matched against records. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson

from api import errors
from controlplane.records import Stored
from resources.meta import KindInfo

Operator = Literal["in", "notin", "exists", "absent"]

_MAX_CHARS: Final = 16 * 1024
_TERM: Final = re.compile(
    r"\s*(?:"
    r"(?P<set_key>[^\s,!=()<>]+)\s+(?P<set_op>in|notin)\s*\((?P<set_values>[^()]*)\)"
    r"|(?P<key>[^\s,!=()<>]+)\s*(?P<op>==|=|!=)\s*(?P<value>[^\s,!=()<>]*)"
    r"|(?P<absent>!)\s*(?P<absent_key>[^\s,!=()<>]+)"
    r"|(?P<exists>[^\s,!=()<>]+)"
    r")\s*(?:,|$)"
)


@dataclass(frozen=True, slots=True)
class Requirement:
    """One term of a label selector."""

    key: str
    operator: Operator
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        if self.operator == "in":
            return value is not None and value in self.values
        if self.operator == "notin":
            return value is None or value not in self.values
        return (value is not None) is (self.operator == "exists")


def parse_labels(text: str | None) -> tuple[Requirement, ...]:
    """`a=b,c!=d,e in (f,g),!h,i`. Raises StatusError 400."""
    if not text or not text.strip():
        return ()
    if len(text) > _MAX_CHARS:
        raise errors.bad_request("the label selector is too long")
    found, at = [], 0
    while at < len(text):
        term = _TERM.match(text, at)
        if term is None:
            raise errors.bad_request(
                f"unable to parse the label selector at {text[at : at + 40]!r}; write terms such "
                "as a=b, a!=b, a in (b,c), a notin (b), a, !a, separated by commas"
            )
        found.append(_requirement(term))
        at = term.end()
    return tuple(found)


def _requirement(term: re.Match[str]) -> Requirement:
    if term["set_key"]:
        values = frozenset(value.strip() for value in term["set_values"].split(","))
        return Requirement(term["set_key"], "in" if term["set_op"] == "in" else "notin", values)
    if term["key"]:
        values = frozenset({term["value"]})
        return Requirement(term["key"], "notin" if term["op"] == "!=" else "in", values)
    if term["absent"]:
        return Requirement(term["absent_key"], "absent")
    return Requirement(term["exists"], "exists")


@dataclass(frozen=True, slots=True)
class FieldTerm:
    """One term of a field selector."""

    field: str
    value: str
    equal: bool

    def matches(self, obj: Mapping[str, Any]) -> bool:
        return (_text_at(obj, self.field) == self.value) is self.equal


def parse_fields(text: str | None, info: KindInfo) -> tuple[FieldTerm, ...]:
    """`metadata.name=x,type!=y`. Raises StatusError 400 for a field the kind has not declared."""
    if not text or not text.strip():
        return ()
    if len(text) > _MAX_CHARS:
        raise errors.bad_request("the field selector is too long")
    known = {"metadata.name", *info.selectable_fields}
    if info.namespaced:
        known.add("metadata.namespace")
    return tuple(_field_term(part.strip(), known) for part in text.split(",") if part.strip())


def _field_term(part: str, known: set[str]) -> FieldTerm:
    found = re.fullmatch(r"([^=!]+?)\s*(==|=|!=)\s*(.*)", part)
    if found is None:
        raise errors.bad_request(f"invalid field selector {part!r}; write field=value")
    if found[1] not in known:
        raise errors.bad_request(
            f"field label not supported: {found[1]}; use one of: {', '.join(sorted(known))}"
        )
    return FieldTerm(found[1], found[3], found[2] != "!=")


def _text_at(obj: Mapping[str, Any], path: str) -> str:
    value: Any = obj
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


@dataclass(frozen=True, slots=True)
class Selector:
    """Labels and fields of one request."""

    labels: tuple[Requirement, ...] = ()
    fields: tuple[FieldTerm, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.labels or self.fields)

    def matches(self, obj: Mapping[str, Any]) -> bool:
        return self.matches_labels(labels_of(obj)) and all(
            term.matches(obj) for term in self.fields
        )

    def matches_labels(self, labels: Mapping[str, str]) -> bool:
        """By labels alone."""
        return all(r.matches(labels) for r in self.labels)

    def matches_stored(self, stored: Stored) -> bool:
        """By name without parsing, which is what `kubectl wait` and `delete` ask for; else
        parsed for the moment: Stored.obj would stay in memory as long as the record does."""
        if self.name is not None and stored.key.name != self.name:
            return False
        return not self or self.matches(orjson.loads(stored.body))

    @property
    def name(self) -> str | None:
        """The one name that can match, if the selector says so."""
        for term in self.fields:
            if term.field == "metadata.name" and term.equal:
                return term.value
        return None


def labels_of(obj: Mapping[str, Any]) -> Mapping[str, str]:
    """None are an empty mapping."""
    found: Mapping[str, str] = obj["metadata"].get("labels") or {}
    return found


def of_query(query: Mapping[str, str], info: KindInfo) -> Selector:
    """The selectors of a list, watch or deletecollection."""
    return Selector(
        parse_labels(query.get("labelSelector")), parse_fields(query.get("fieldSelector"), info)
    )
