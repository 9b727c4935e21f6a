"""The kinds this API serves, with all that is worked out once per kind, when it is first needed.

The structural schema is what prunes, defaults and publishes (OpenAPI); the topology is what
server-side apply merges by. Models make the routes: nothing in api/ knows a kind by name.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from api.pruning import Node, walked
from api.schema import structural_schema
from controlplane.clock import Clock
from controlplane.topology import DEFAULT, Topology, of_schema
from resources.meta import KindInfo, Record

_PAUSE_S: Final = 0.1
"""Thirty kinds are done within 3 s of a start, and take 4 % of a core meanwhile."""


@dataclass(frozen=True)  # no slots: what is worked out is kept beside the fields
class Served:
    """One kind as the API serves it."""

    model: type[Record]
    info: KindInfo
    subresources: tuple[str, ...]

    @cached_property
    def schema(self) -> dict[str, Any]:
        """Costs 4 ms of CPU the first time, which a start doesn't wait for."""
        return structural_schema(self.model)

    @cached_property
    def agents_own(self) -> frozenset[str]:
        """Fields of its status that nobody writes over the API."""
        status = self.model.model_fields.get("status")
        return getattr(status.annotation, "agents_own", frozenset()) if status else frozenset()

    @cached_property
    def walked(self) -> Node:
        """The schema as pruning walks it."""
        return walked(self.schema)

    @cached_property
    def topology(self) -> Topology:
        return of_schema(self.schema)

    @cached_property
    def prepared(self) -> bool:
        """True, once all is there that judging a record takes: 8 to 100 ms."""
        _ = self.topology, self.walked
        self.model.prepare()
        return True

    @property
    def cold(self) -> bool:
        """No record of this kind was judged yet."""
        return "prepared" not in vars(self)


def serve(model: type[Record]) -> Served:
    """One kind, from its model."""
    return Served(model, model.info, _subresources(model.info))


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

    def topology(self, kind: str) -> Topology:
        """How fields of the kind merge."""
        served = self._by_kind.get(kind)
        return DEFAULT if served is None else served.topology

    async def prepare(self, clock: Clock) -> None:
        """Work out what nobody has needed yet: else the first `kubectl explain` would wait for all
        of it, 0.12 s. A kind at a time and with pauses, so that nothing else waits meanwhile."""
        for served in self:
            await clock.sleep(_PAUSE_S)
            _ = served.topology
