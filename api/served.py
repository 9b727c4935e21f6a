"""The kinds this API serves, with all that is worked out once per kind.

The structural schema is what prunes, defaults and publishes (OpenAPI); the topology is what
server-side apply merges by. Models make the routes: nothing in api/ knows a kind by name.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from api.schema import structural_schema
from controlplane.topology import Topology, of_schema
from resources.meta import KindInfo, Record


@dataclass(frozen=True, slots=True)
class Served:
    """One kind as the API serves it."""

    model: type[Record]
    schema: dict[str, Any] = field(repr=False)
    topology: Topology = field(repr=False)
    info: KindInfo
    subresources: tuple[str, ...]


def serve(model: type[Record]) -> Served:
    """Work out one kind."""
    schema, info = structural_schema(model), model.info
    return Served(model, schema, of_schema(schema), info, _subresources(info))


def _subresources(info: KindInfo) -> tuple[str, ...]:
    found = ["status"] if info.has_status else []
    if info.scalable:
        found.append("scale")
    if info.kind == "Namespace":
        found.append("finalize")
    return tuple(found)


class Catalogue:
    """All served kinds, by kind name and by path."""

    def __init__(self, models: Iterable[type[Record]]) -> None:
        self._served = tuple(serve(model) for model in models)
        self._by_kind = {served.info.kind: served for served in self._served}
        self._by_path = {(s.info.api_version, s.info.plural): s for s in self._served}

    def __iter__(self) -> Iterator[Served]:
        return iter(self._served)

    def find(self, api_version: str, plural: str) -> Served | None:
        return self._by_path.get((api_version, plural))

    def kind(self, kind: str) -> Served | None:
        return self._by_kind.get(kind)
