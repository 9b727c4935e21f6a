"""What a request selects by labels and fields: parsed once, then matched against records. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from api.field_selectors import FieldTerm, parse_fields
from api.label_selectors import Requirement, parse_labels
from controlplane.records import Stored
from resources.meta import KindInfo


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
    """The selectors of a list, watch or deletecollection. Raises StatusError 400."""
    return Selector(
        parse_labels(query.get("labelSelector")), parse_fields(query.get("fieldSelector"), info)
    )
