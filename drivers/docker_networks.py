"""Networks and volumes of the Docker driver, and what the host routes already.

Network names are not unique on older engines, not even sequentially: every create is
single-flight here, checked before, and its duplicates are resolved after.
"""

import asyncio
import ipaddress
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from controlplane.errors import ConflictError, RetryableError
from drivers.containers import (
    LABEL_INSTANCE,
    LABEL_UID,
    NetworkSpec,
    NetworkState,
    VolumeSpec,
    VolumeState,
)
from drivers.docker_body import network_body, volume_body
from drivers.docker_cache import InspectCache
from drivers.docker_calls import DockerCalls
from drivers.docker_inspect import network_state, subnets, volume_state

Json = Mapping[str, Any]

_RUNS: Final = ("running", "paused", "restarting")
_NOT_OURS_S: Final = 5.0
"""Retry pause where only a person can help; short enough to notice that they did."""


def instance_filter(instance: str, **more: str) -> dict[str, str]:
    """The query of a list call for this installation's objects."""
    wanted: dict[str, list[str]] = {"label": [f"{LABEL_INSTANCE}={instance}"]}
    for name, value in more.items():
        wanted.setdefault(name, []).append(value)
    return {"filters": json.dumps(wanted)}


class DockerNetworks:
    """The network verbs of Containers."""

    def __init__(self, calls: DockerCalls, cache: InspectCache) -> None:
        self._calls = calls
        self._cache = cache.networks
        self._known = cache.known
        self._instance = calls.config.instance
        self._one_at_a_time: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def observe(self, name: str) -> NetworkState | None:
        """Ours of that name; of several the oldest."""
        return self._cache.get(name) or await self.find(name)

    async def find(self, name: str) -> NetworkState | None:
        """As observe, live."""
        stamp = self._cache.stamp()
        ours, _ = await self._named(name)
        if not ours:
            return None
        # Only the inspect tells which containers are in it.
        raw = await self._calls.read(f"inspect network '{name}'", "/networks/{}", ours[0]["Id"])
        if raw is None:
            return None
        state = self._remember(raw)
        self._cache.put(name, state, stamp)
        return state

    async def list(self) -> tuple[NetworkState, ...]:
        raws = await self._calls.read(
            "list networks", "/networks", query=instance_filter(self._instance)
        )
        return tuple(self._remember(raw) for raw in sorted(raws, key=lambda raw: str(raw["Name"])))

    async def ensure(self, spec: NetworkSpec) -> NetworkState:
        async with self._one_at_a_time[spec.name]:
            ours, foreign = await self._named(spec.name)
            if foreign:
                raise self._taken(spec.name, "is somebody else's")
            if not ours:
                await self._create(spec)
                ours, _ = await self._named(spec.name)
            for duplicate in ours[1:]:
                await self._remove(spec.name, duplicate["Id"])
                self._cache.invalidate(spec.name)
        if not ours:
            raise ConflictError(f"cannot create network '{spec.name}': it was removed meanwhile")
        state = self._remember(ours[0])
        if state.owner is None or state.owner.uid != spec.owner.uid:
            raise self._taken(spec.name, "belongs to another record")
        if state.subnet != spec.subnet:
            raise self._taken(spec.name, f"has the subnet {state.subnet}")
        return state

    async def delete(self, name: str) -> None:
        """All of ours of that name."""
        async with self._one_at_a_time[name]:
            ours, _ = await self._named(name)
            for raw in ours:
                await self._remove(name, raw["Id"])
        self._cache.invalidate(name)
        self._known.networks.pop(name, None)

    async def routes(self, route_file: Path) -> tuple[str, ...]:
        """What the host's routing table and all of the engine's networks use."""
        raws = await self._calls.read("list networks", "/networks")
        used = {subnet for raw in raws for subnet in subnets(raw)}
        text = await asyncio.to_thread(route_file.read_text)
        return tuple(sorted(used | set(host_routes(text))))

    async def _named(self, name: str) -> tuple[Sequence[Json], Sequence[Json]]:
        """(ours, oldest first; other people's) of exactly that name."""
        raws = await self._calls.read(
            f"list network '{name}'", "/networks", query={"filters": json.dumps({"name": [name]})}
        )
        # The engine's filter matches substrings.
        same = sorted(
            (raw for raw in raws if raw["Name"] == name), key=lambda r: (r["Created"], r["Id"])
        )
        ours = [raw for raw in same if self._is_ours(raw)]
        return ours, [raw for raw in same if not self._is_ours(raw)]

    def _is_ours(self, raw: Json) -> bool:
        return (raw.get("Labels") or {}).get(LABEL_INSTANCE) == self._instance

    async def _create(self, spec: NetworkSpec) -> None:
        body = network_body(spec, instance=self._instance, epoch=self._calls.guard())
        try:
            await self._calls.act(
                f"create network '{spec.name}'", "POST", "/networks/create", body=body
            )
        except RetryableError as exc:
            # 409: made by a call whose reply was lost; the list that follows finds it.
            if exc.reason not in {"WrongState", "NameTaken"}:
                raise

    async def _remove(self, name: str, network_id: str) -> None:
        await self._calls.act(
            f"remove network '{name}'", "DELETE", "/networks/{}", network_id, absent_is_done=True
        )

    def _remember(self, raw: Json) -> NetworkState:
        state = network_state(raw)
        if state.owner is not None:
            self._known.networks[state.name] = state.owner
        return state

    @staticmethod
    def _taken(name: str, why: str) -> RetryableError:
        return RetryableError(
            f"cannot create network '{name}': the one of that name {why}",
            retry_after_s=_NOT_OURS_S,
            reason="NameTaken",
        )


class DockerVolumes:
    """The volume verbs of Containers."""

    def __init__(self, calls: DockerCalls, cache: InspectCache) -> None:
        self._calls = calls
        self._known = cache.known
        self._instance = calls.config.instance

    async def observe(self, name: str) -> VolumeState | None:
        """Whoever's it is: one that isn't ours has no owner, whatever its labels say."""
        raw = await self._read(name)
        if raw is None:
            return None
        return self._remember(raw) if self._is_ours(raw) else replace(volume_state(raw), owner=None)

    async def list(self) -> tuple[VolumeState, ...]:
        answer = await self._calls.read(
            "list volumes", "/volumes", query=instance_filter(self._instance)
        )
        raws = sorted(answer.get("Volumes") or (), key=lambda raw: str(raw["Name"]))
        return tuple(self._remember(raw) for raw in raws)

    async def ensure(self, spec: VolumeSpec) -> VolumeState:
        raw = await self._read(spec.name)
        if raw is None:
            body = volume_body(spec, instance=self._instance, epoch=self._calls.guard())
            # For a name that exists the engine answers 201 with the old one: checked below too.
            raw = await self._calls.act(
                f"create volume '{spec.name}'", "POST", "/volumes/create", body=body
            )
        state = self._remember(raw)
        if not self._is_ours(raw) or state.owner is None or state.owner.uid != spec.owner.uid:
            raise RetryableError(
                f"cannot create volume '{spec.name}': the one of that name is somebody else's",
                retry_after_s=_NOT_OURS_S,
                reason="NameTaken",
            )
        return state

    async def delete(self, name: str) -> None:
        raw = await self._read(name)
        if raw is None:
            return
        if not self._is_ours(raw):
            raise RetryableError(
                f"cannot remove volume '{name}': it is somebody else's",
                retry_after_s=_NOT_OURS_S,
                reason="NotOurs",
            )
        try:
            await self._calls.act(
                f"remove volume '{name}'", "DELETE", "/volumes/{}", name, absent_is_done=True
            )
        except RetryableError as exc:
            if exc.reason != "WrongState":
                raise
            raise RetryableError(str(exc), retry_after_s=1.0, reason="VolumeInUse") from exc
        self._known.volumes.pop(name, None)

    async def check_free(self, name: str, container: str, owner_uid: str) -> None:
        """Raises RetryableError unless a container of this owner may be made on it.

        The engine would make a missing one, empty and nobody's; and it lets any number of
        containers write one, as when a record went by force and the next one of its name has its
        data. Locks of database servers don't reach from container to container.
        """
        what = f"cannot create container '{container}': volume '{name}'"
        volume = await self.observe(name)
        if volume is None:
            raise RetryableError(
                f"{what} is gone from the engine; see the conditions of its Volume",
                reason="VolumeMissing",
            )
        users = await self._calls.read(
            f"find who has volume '{name}'",
            "/containers/json",
            query={"all": "1", "filters": json.dumps({"volume": [name]})},
        )
        for raw in users:
            if self._in_the_way(raw, volume, owner_uid):
                # one that is half removed may have no name any more
                user = "".join(raw.get("Names") or ())[1:]
                raise RetryableError(
                    f"{what} is in use by container '{user}', which is not this record's",
                    retry_after_s=1.0,
                    reason="VolumeInUse",
                )

    def _in_the_way(self, raw: Json, volume: VolumeState, owner_uid: str) -> bool:
        """A stranger's container is one on a stranger's volume alone: on one of ours it is an
        administrator's, who knows."""
        if self._is_ours(raw):
            return bool(raw["Labels"].get(LABEL_UID) != owner_uid)
        return volume.owner is None and raw["State"] in _RUNS

    async def _read(self, name: str) -> Json | None:
        found: Json | None = await self._calls.read(f"inspect volume '{name}'", "/volumes/{}", name)
        return found

    def _is_ours(self, raw: Json) -> bool:
        return (raw.get("Labels") or {}).get(LABEL_INSTANCE) == self._instance

    def _remember(self, raw: Json) -> VolumeState:
        state = volume_state(raw)
        if state.owner is not None:
            self._known.volumes[state.name] = state.owner
        return state


def host_routes(text: str) -> tuple[str, ...]:
    """The destinations in /proc/net/route (little-endian hex, proc(5)), without the default."""
    routes = []
    for line in text.splitlines()[1:]:
        columns = line.split()
        if len(columns) < 8:
            continue
        destination, mask = (
            ipaddress.IPv4Address(bytes.fromhex(columns[at])[::-1]) for at in (1, 7)
        )
        if int(mask):
            routes.append(str(ipaddress.IPv4Network(f"{destination}/{mask}", strict=False)))
    return tuple(routes)
