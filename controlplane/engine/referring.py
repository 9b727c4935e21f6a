"""Which records name which others, read from stored bytes: for kinds that see their dependents.

Reads specs as they are stored and builds no models for references, so that a record that this
version cannot read is still seen, and what stands for it outside is not taken for an orphan.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final
from weakref import WeakKeyDictionary

from pydantic import ValidationError

from controlplane.records import Key, Stored, View
from resources.meta import PLATFORM_NAMESPACE, STORED, KindInfo, Record

PLATFORM: Final = "Platform"
"""The kind that Record.services names."""


class Referring:
    """Finds targets of a record, and the records that have a target."""

    def __init__(self, view: View, models: Mapping[str, type[Record]]) -> None:
        self._view = view
        self._models = models
        self._seeing = frozenset(
            kind for kind, model in models.items() if model.info.sees_dependents
        )
        self._sources = {kind: self._kinds_naming(kind) for kind in self._seeing}
        # each pass over a server asks it of every record that may name one
        self._known: WeakKeyDictionary[Stored, tuple[Key, ...]] = WeakKeyDictionary()

    def targets(self, stored: Stored) -> tuple[Key, ...]:
        """Records of kinds that see their dependents which `stored` names."""
        model = self._models.get(stored.key.kind)
        if model is None or not self._names_any(model):
            return ()
        found = self._known.get(stored)
        if found is None:
            found = tuple(dict.fromkeys(self._targets(model, stored)))
            self._known[stored] = found
        return found

    def sources(self, target: Key) -> tuple[Stored, ...]:
        """Every record that names `target`, sorted by kind, namespace and name."""
        within = None if target.kind == PLATFORM else target.namespace
        return tuple(
            stored
            for kind in self._sources[target.kind]
            for stored in self._view.list(kind, within)
            if target in self.targets(stored)
        )

    def _names_any(self, model: type[Record]) -> bool:
        return _has_services(model) or any(kind in self._seeing for _, kind in model.info.refs)

    def _kinds_naming(self, target: str) -> tuple[str, ...]:
        return tuple(
            sorted(
                kind
                for kind, model in self._models.items()
                if (target == PLATFORM and _has_services(model))
                or any(named == target for _, named in model.info.refs)
            )
        )

    def _targets(self, model: type[Record], stored: Stored) -> Iterator[Key]:
        for kind, name in _references(model.info, stored.obj):
            if kind in self._seeing:
                yield Key(kind, stored.key.namespace, name)
        if PLATFORM in self._seeing and _has_services(model):
            for name in _services(model, stored):
                yield Key(PLATFORM, PLATFORM_NAMESPACE, name)


def _has_services(model: type[Record]) -> bool:
    return model.services is not Record.services


def _services(model: type[Record], stored: Stored) -> tuple[str, ...]:
    spec = stored.obj.get("spec") or {}
    # a Zone may have thousands of record sets, and judging them takes 0.2 s
    slim = {key: value for key, value in spec.items() if key not in model.info.bulk}
    bare = {key: value for key, value in stored.obj.items() if key != "status"}
    try:
        return model.model_validate({**bare, "spec": slim}, context=STORED).services
    except ValidationError:
        return ()  # it says so itself, and is attached again once it is mended


def _references(info: KindInfo, obj: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(kind, name) of every Ref that is set."""
    for path, kind in info.refs:
        value: Any = obj
        for part in path.removesuffix("[]").split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        for ref in value if isinstance(value, list) else (value,):
            if isinstance(ref, Mapping) and isinstance(ref.get("name"), str):
                yield kind, ref["name"]
