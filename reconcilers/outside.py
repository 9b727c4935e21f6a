"""Joins drivers to the engine: what wakes a record, and what the sweep may find and remove.

Adapters only: the engine knows no driver, and drivers know no record.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from controlplane.engine.port import Outside, Wake, WakeSource
from controlplane.records import View
from drivers.containers import Containers, Owner, OwnerChanged
from drivers.secretfiles import SecretFiles

CONTAINER: Final = "container"
NETWORK: Final = "network"
FOLDER: Final = "folder"


def wakes(events: Callable[[], AsyncIterator[OwnerChanged]]) -> WakeSource:
    """A driver's stream of changed owners as the engine's stream of wakes."""

    async def stream() -> AsyncIterator[Wake]:
        async for changed in events():
            owner = changed.owner
            yield Wake() if owner is None else Wake(owner.kind, owner.namespace, owner.name)

    return stream


@dataclass(frozen=True, slots=True)
class ContainerSweeper:
    """Containers, then the networks they were in. Volumes are never even listed."""

    containers: Containers

    async def list_owned(self) -> Sequence[Outside]:
        containers = [
            _outside(each.owner, CONTAINER, each.id)
            for each in await self.containers.list_containers()
            if each.owner is not None
        ]
        networks = [
            _outside(each.owner, NETWORK, each.name)
            for each in await self.containers.list_networks()
            if each.owner is not None
        ]
        return [*containers, *networks]

    async def remove(self, item: Outside, /) -> None:
        if item.what == CONTAINER:
            await self.containers.delete_container(item.id)
        else:
            await self.containers.delete_network(item.id)


@dataclass(frozen=True, slots=True)
class FolderSweeper:
    """Secret files of records that are gone. A folder has no labels: its name begins with the
    uid of its record."""

    files: SecretFiles
    view: View
    kinds: tuple[str, ...]
    """Kinds that have such folders."""

    async def list_owned(self) -> Sequence[Outside]:
        folders = await self.files.list_files()
        live = {stored.uid for kind in self.kinds for stored in self.view.list(kind)}
        found = [(key.partition("/")[0], key) for key in folders]
        return [
            Outside(uid, kind="", namespace="", name=key, what=FOLDER, id=key)
            for uid, key in found
            if uid not in live
        ]

    async def remove(self, item: Outside, /) -> None:
        live = {stored.uid for kind in self.kinds for stored in self.view.list(kind)}
        if item.uid not in live:
            await self.files.delete_files(item.id)


def _outside(owner: Owner, what: str, identity: str) -> Outside:
    return Outside(owner.uid, owner.kind, owner.namespace, owner.name, what, identity)
