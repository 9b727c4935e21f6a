"""Joins drivers to the engine: what wakes a record, and what the sweep may find and remove.

Adapters only: the engine knows no driver, and drivers know no record.
"""

import contextlib
import re
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from controlplane.engine.port import Outside, Wake, WakeSource
from controlplane.errors import ControlPlaneError
from controlplane.plan import SecretReader
from controlplane.records import View
from drivers.containers import Containers, Owner, OwnerChanged
from drivers.powerdns import DnsServer, PowerDns
from drivers.s3 import S3
from drivers.secretfiles import SecretFiles
from reconcilers import _zoneowners as owners
from reconcilers._ownservers import Own, login, own_servers, s3_server

CONTAINER: Final = "container"
NETWORK: Final = "network"
FOLDER: Final = "folder"
ZONE: Final = "zone"
KEPT_ZONE: Final = "kept zone"
ZONES: Final = "Zone"
BUCKETS: Final = "Bucket"
S3_USER: Final = "s3-user"
USER_PREFIX: Final = "bunker-"
UID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""What the uid of a record looks like."""
USER: Final = re.compile(rf"{USER_PREFIX}({UID.pattern})-[-a-z0-9]+")
"""Name of a user of a Bucket, as reconcilers/_access.py makes it: the uid is its first group."""


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
            _outside(each.owner, CONTAINER, each.id, each.created_at)
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
    """Secret files of records that are gone. A folder has no labels: its name is the uid of its
    record."""

    files: SecretFiles
    view: View
    kinds: tuple[str, ...]
    """Kinds that have such folders."""

    async def list_owned(self) -> Sequence[Outside]:
        folders = await self.files.list_files()
        live = {stored.uid for kind in self.kinds for stored in self.view.list(kind)}
        return [
            Outside(uid, kind="", namespace="", name=uid, what=FOLDER, id=uid)
            for uid in folders
            if UID.fullmatch(uid) and uid not in live
        ]

    async def remove(self, item: Outside, /) -> None:
        live = {stored.uid for kind in self.kinds for stored in self.view.list(kind)}
        if item.uid not in live:
            await self.files.delete_files(item.id)


@dataclass(frozen=True, slots=True)
class ZoneSweeper:
    """Zones on DNS servers of our own whose record is gone. What it was to keep is not removed, but
    set apart, so that nobody makes a zone above or below; what is kept for a namespace has another
    account, and what was made by hand none."""

    dns: PowerDns
    values: SecretReader
    view: View

    async def list_owned(self) -> Sequence[Outside]:
        found: list[Outside] = []
        for platform in own_servers(self.view, "dns", "api"):
            # one that doesn't answer, or whose key can't be read, keeps no other sweep from being
            # made
            with contextlib.suppress(ControlPlaneError):
                if (server := await self._server(platform)) is None:
                    continue
                heads = await self.dns.list_zones(server)
                live = self._live()
                for head in heads:
                    uid = head.account.removesuffix(owners.KEPT)
                    if UID.fullmatch(uid) and uid not in live:
                        what = ZONE if uid == head.account else KEPT_ZONE
                        place = f"{platform.name}/{head.name}"
                        found.append(Outside(uid, "", "", head.name, what, place))
        return found

    async def remove(self, item: Outside, /) -> None:
        name, _, domain = item.id.partition("/")
        for platform in own_servers(self.view, "dns", "api"):
            if platform.name != name:
                continue
            server = await self._server(platform)
            if server is None or item.uid in self._live():
                continue
            if item.what == ZONE:
                await self.dns.delete_zone(server, domain, item.uid)
            else:
                stays = f"{item.uid}{owners.KEPT}"
                await self.dns.ensure_account(server, domain, owners.orphan(item.uid), stays)

    def _live(self) -> frozenset[str]:
        return frozenset(stored.uid for stored in self.view.list(ZONES))

    async def _server(self, platform: Own) -> DnsServer | None:
        """None: its Secret has no key."""
        found = await login(self.values, platform, "api-key")
        return DnsServer(platform.url, *found) if found else None


@dataclass(frozen=True, slots=True)
class S3UserSweeper:
    """Users on S3 servers of our own whose Bucket is gone: their keys would open for ever.
    Buckets are never swept: they hold data (reconcilers/s3upkeep.py)."""

    s3: S3
    values: SecretReader
    view: View

    async def list_owned(self) -> Sequence[Outside]:
        found: list[Outside] = []
        for platform in own_servers(self.view, "s3", "s3"):
            # one that doesn't answer, or whose key can't be read, keeps no other sweep from being
            # made
            with contextlib.suppress(ControlPlaneError):
                if (server := await s3_server(self.values, platform)) is None:
                    continue
                for user in await self.s3.list_users(server, USER_PREFIX):
                    uid = USER.fullmatch(user)
                    if uid and uid[1] not in self._live():
                        place = f"{platform.name}/{user}"
                        found.append(Outside(uid[1], "", "", user, S3_USER, place))
        return found

    async def remove(self, item: Outside, /) -> None:
        name, _, user = item.id.partition("/")
        for platform in own_servers(self.view, "s3", "s3"):
            if platform.name != name:
                continue
            server = await s3_server(self.values, platform)
            if server is not None and item.uid not in self._live():
                await self.s3.delete_user(server, user)

    def _live(self) -> frozenset[str]:
        return frozenset(stored.uid for stored in self.view.list(BUCKETS))


def _outside(owner: Owner, what: str, identity: str, made_at: str = "") -> Outside:
    return Outside(
        owner.uid, owner.kind, owner.namespace, owner.name, what, identity, _moment(made_at)
    )


def _moment(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None
