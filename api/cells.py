"""Columns of `kubectl get`: how each cell is worked out from an object.

Cells are printed verbatim, so ages are worked out here. A kind's columns come from its
KindInfo; the few core kinds whose cells are more than a path are in _SPECIAL, with kubectl's
own columns. Tables around the cells are tables.py.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from api import jsonpath, podcells
from api.ages import age
from resources.columns import Column
from resources.meta import (
    KindInfo,
)

Obj = Mapping[str, Any]

_NAME: Final = {
    "name": "Name",
    "type": "string",
    "format": "name",
    "description": "Name of the record, unique in its namespace",
    "priority": 0,
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One column: its definition, and how an object's cell is worked out."""

    definition: Mapping[str, Any]
    value: Callable[[Obj, datetime], Any]


@lru_cache(maxsize=256)
def cells(info: KindInfo) -> tuple[Cell, ...]:
    """The cells of a kind, in order.

    Raises ValueError for a column whose path cannot be read (when it first meets an object).
    """
    special = _SPECIAL.get((info.group, info.kind))
    if special is not None:
        return special
    return (Cell(_NAME, _object_name), *(_from_path(column) for column in info.columns))


def _object_name(obj: Obj, _now: datetime) -> Any:
    return obj["metadata"].get("name", "")


def _definition(
    name: str, type_: str = "string", priority: int = 0, description: str = ""
) -> Mapping[str, Any]:
    return {
        "name": name,
        "type": type_,
        "format": "",
        "description": description,
        "priority": priority,
    }


def _from_path(column: Column) -> Cell:
    type_ = "string" if column.type == "quantity" else column.type
    definition = _definition(column.name, type_, column.priority, column.description)

    def value(obj: Obj, now: datetime) -> Any:
        return _cell(column.type, jsonpath.first(column.path, obj), now)

    return Cell(definition, value)


def _cell(type_: str, value: Any, now: datetime) -> Any:
    if type_ == "date":
        return age(value, now)
    if type_ == "integer" and isinstance(value, Mapping | list):
        return len(value)
    if value is None or (isinstance(value, int | float | str) and not isinstance(value, bool)):
        return value
    return _printed(value)


def _printed(value: Any) -> str:
    """Booleans as JSON spells them, lists with commas."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(str(part) for part in value)
    return str(value)


def _plain(value: Callable[[Obj], Any]) -> Callable[[Obj, datetime], Any]:
    return lambda obj, _now: value(obj)


def _event_seen(obj: Obj, now: datetime) -> str:
    """When it last happened: series, then lastTimestamp, then eventTime, as kubectl does."""
    series = obj.get("series") or {}
    return age(
        series.get("lastObservedTime") or obj.get("lastTimestamp") or obj.get("eventTime"), now
    )


def _event_first(obj: Obj, now: datetime) -> str:
    return age(obj.get("firstTimestamp") or obj.get("eventTime"), now)


def _event_object(obj: Obj) -> str:
    about = obj.get("involvedObject") or {}
    return f"{about.get('kind', '').lower()}/{about.get('name', '')}"


def _event_source(obj: Obj) -> str:
    source = obj.get("source") or {}
    component = source.get("component") or obj.get("reportingComponent") or ""
    return ", ".join(part for part in (component, source.get("host")) if part)


def _event_count(obj: Obj) -> int:
    series = obj.get("series") or {}
    return int(series.get("count") or obj.get("count") or 1)


def _secret_keys(obj: Obj) -> int:
    """Also of a sealed Secret, whose key names stay readable."""
    return len(obj.get("data") or obj.get("secretKeys") or ())


def _container_names(obj: Obj) -> str:
    return podcells.containers(obj, "name")


def _container_images(obj: Obj) -> str:
    return podcells.containers(obj, "image")


_SPECIAL: Final[Mapping[tuple[str, str], tuple[Cell, ...]]] = {
    ("", "Event"): (
        Cell(_definition("Last Seen", description="When it last happened"), _event_seen),
        Cell(_definition("Type", description="Normal or Warning"), _plain(lambda o: o.get("type"))),
        Cell(
            _definition("Reason", description="What, in a word"), _plain(lambda o: o.get("reason"))
        ),
        Cell(_definition("Object", description="What it is about"), _plain(_event_object)),
        Cell(_definition("Source", priority=1), _plain(_event_source)),
        Cell(
            _definition("Message", description="What happened"), _plain(lambda o: o.get("message"))
        ),
        Cell(_definition("First Seen", priority=1), _event_first),
        Cell(_definition("Count", "integer", 1), _plain(_event_count)),
        Cell({**_NAME, "priority": 1}, _object_name),
    ),
    ("", "Secret"): (
        Cell(_NAME, _object_name),
        Cell(
            _definition("Type", description="What it is for"),
            _plain(lambda o: o.get("type", "Opaque")),
        ),
        Cell(_definition("Data", "integer", description="How many keys"), _plain(_secret_keys)),
        _from_path(Column("Age", ".metadata.creationTimestamp", "date")),
    ),
    ("", "ConfigMap"): (
        Cell(_NAME, _object_name),
        Cell(
            _definition("Data", "integer", description="How many keys"),
            _plain(lambda o: len(o.get("data") or ()) + len(o.get("binaryData") or ())),
        ),
        _from_path(Column("Age", ".metadata.creationTimestamp", "date")),
    ),
    ("", "Pod"): (
        Cell(_NAME, _object_name),
        Cell(_definition("Ready", description="Containers that serve"), _plain(podcells.ready)),
        Cell(_definition("Status", description="Whether it runs"), _plain(podcells.status)),
        Cell(_definition("Restarts", description="By the engine"), podcells.restarts),
        _from_path(Column("Age", ".metadata.creationTimestamp", "date")),
        Cell(_definition("IP", priority=1), _plain(podcells.address)),
        Cell(_definition("Node", priority=1), _plain(podcells.node)),
        Cell(_definition("Nominated Node", priority=1), _plain(lambda _: podcells.NONE)),
        Cell(_definition("Readiness Gates", priority=1), _plain(lambda _: podcells.NONE)),
    ),
    ("", "Service"): (
        Cell(_NAME, _object_name),
        _from_path(Column("Type", ".spec.type")),
        _from_path(Column("Cluster-IP", ".spec.clusterIP")),
        Cell(_definition("External-IP"), _plain(lambda _: podcells.NONE)),
        Cell(_definition("Port(s)"), _plain(podcells.ports)),
        _from_path(Column("Age", ".metadata.creationTimestamp", "date")),
        Cell(_definition("Selector", priority=1), _plain(podcells.selector)),
    ),
    ("apps", "Deployment"): (
        Cell(_NAME, _object_name),
        Cell(_definition("Ready"), _plain(podcells.replicas_ready)),
        _from_path(Column("Up-to-date", ".status.updatedReplicas", "integer")),
        _from_path(Column("Available", ".status.availableReplicas", "integer")),
        _from_path(Column("Age", ".metadata.creationTimestamp", "date")),
        Cell(_definition("Containers", priority=1), _plain(_container_names)),
        Cell(_definition("Images", priority=1), _plain(_container_images)),
        Cell(_definition("Selector", priority=1), _plain(podcells.match_labels)),
    ),
}
