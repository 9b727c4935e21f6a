"""Joins drivers to the engine: what wakes a record, and what the sweep may find and remove.

Adapters only: the engine knows no driver, and drivers know no record.
"""

import contextlib
import re
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from controlplane.engine.port import Outside, Wake, WakeSource
from controlplane.errors import ControlPlaneError
from controlplane.plan import SecretReader
from controlplane.records import View
from drivers.containers import Containers, Owner, OwnerChanged
from drivers.powerdns import DnsServer, PowerDns
from drivers.secretfiles import SecretFiles
from resources.meta import PLATFORM_NAMESPACE

CONTAINER: Final = "container"
NETWORK: Final = "network"
FOLDER: Final = "folder"
ZONE: Final = "zone"
ZONES: Final = "Zone"
PLATFORM: Final = "Platform"
UID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""What the uid of a record looks like."""


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


@dataclass(frozen=True, slots=True)
class ZoneSweeper:
    """Zones on DNS servers of our own whose record is gone. What is kept for a namespace has
    another account, and what was made by hand none."""

    dns: PowerDns
    values: SecretReader
    view: View

    async def list_owned(self) -> Sequence[Outside]:
        found: list[Outside] = []
        for name, server in await self._servers():
            # one that doesn't answer keeps no other sweep from being made
            with contextlib.suppress(ControlPlaneError):
                heads = await self.dns.list_zones(server)
                found += [
                    Outside(head.account, "", "", head.name, ZONE, f"{name}/{head.name}")
                    for head in heads
                    if UID.fullmatch(head.account) and head.account not in self._live()
                ]
        return found

    async def remove(self, item: Outside, /) -> None:
        name, _, domain = item.id.partition("/")
        for each, server in await self._servers():
            if each == name and item.uid not in self._live():
                await self.dns.delete_zone(server, domain, item.uid)

    def _live(self) -> frozenset[str]:
        return frozenset(stored.uid for stored in self.view.list(ZONES))

    async def _servers(self) -> list[tuple[str, DnsServer]]:
        found = []
        for stored in self.view.list(PLATFORM, PLATFORM_NAMESPACE):
            status = stored.obj.get("status") or {}
            address = (status.get("endpoints") or {}).get("api")
            secret = (status.get("secretRef") or {}).get("name")
            spec = stored.obj["spec"]
            # a server that somebody else runs may have zones of another installation
            if spec.get("service") != "dns" or spec.get("external") or not (address and secret):
                continue
            values = await self.values.read("Secret", PLATFORM_NAMESPACE, secret)
            if key := (values or {}).get("api-key"):
                url = address if "://" in address else f"http://{address}"
                found.append((stored.key.name, DnsServer(url, key.decode())))
        return found


def _outside(owner: Owner, what: str, identity: str) -> Outside:
    return Outside(owner.uid, owner.kind, owner.namespace, owner.name, what, identity)
