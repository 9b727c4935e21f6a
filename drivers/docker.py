"""The real container runtime: one Docker engine on this host.

Acts on ids, corrects in place what can be, and never touches what doesn't carry this
installation's label. It decides nothing: what should be is the reconcilers' to say. Here the
parts (docker_*.py) are put together; docker_sdk.py alone imports the SDK.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from controlplane.clock import Clock, SystemClock
from controlplane.errors import RetryableError
from drivers.containers import (
    LABEL_CONTAINER,
    ContainerSpec,
    ContainerState,
    EngineInfo,
    ImageState,
    NetworkSpec,
    NetworkState,
    Owner,
    OwnerChanged,
    VolumeSpec,
    VolumeState,
)
from drivers.docker_cache import InspectCache
from drivers.docker_calls import DockerCalls, DockerConfig
from drivers.docker_containers import DockerRunning
from drivers.docker_ensure import DockerEnsure
from drivers.docker_events import Reader, Snapshot, Watch
from drivers.docker_images import DockerImages
from drivers.docker_inspect import listed_container, owner_of
from drivers.docker_networks import DockerNetworks, DockerVolumes

if TYPE_CHECKING:
    from drivers.docker_sdk import Engine


class DockerContainers:
    """Containers on a Docker engine. `guard` gives the epoch to label with, and raises
    StaleEpochError once this process may no longer act; it is asked before every change.
    `engine` is for tests that make the connection fail."""

    def __init__(
        self,
        config: DockerConfig,
        *,
        clock: Clock | None = None,
        guard: Callable[[], int] = lambda: 0,
        route_file: Path = Path("/proc/net/route"),
        engine: "Engine | None" = None,
    ) -> None:
        self._config = config
        self._clock = clock or SystemClock()
        self._route_file = route_file
        self.cache = InspectCache()
        self._calls = DockerCalls(config, guard, engine)
        self._networks = DockerNetworks(self._calls, self.cache)
        self._volumes = DockerVolumes(self._calls, self.cache)
        self._images = DockerImages(self._calls, self.cache)
        self._running = DockerRunning(self._calls, self.cache)
        self._ensure = DockerEnsure(
            self._calls, self.cache, self._running, self._networks, self._volumes
        )

    @property
    def url(self) -> str:
        """Of the engine."""
        return self._config.url

    async def observe_engine(self) -> EngineInfo:
        if (known := self.cache.engine.get("")) is not None:
            return known
        stamp = self.cache.engine.stamp()
        raw = await self._calls.read("inspect the engine", "/info")
        info = EngineInfo(
            version=raw["ServerVersion"],
            cpus=int(raw["NCPU"]),
            memory_bytes=int(raw["MemTotal"]),
            root_dir=raw["DockerRootDir"],
        )
        self.cache.engine.put("", info, stamp)
        return info

    async def observe_container(self, name: str, owner_uid: str, /) -> ContainerState | None:
        return await self._running.observe(name, owner_uid)

    async def list_containers(self, owner_uid: str | None = None, /) -> tuple[ContainerState, ...]:
        return await self._running.list(owner_uid)

    async def ensure_container(
        self, spec: ContainerSpec, /, *, secret_env: Mapping[str, str] | None = None
    ) -> ContainerState:
        return await self._ensure.ensure(spec, secret_env or {})

    async def start_container(self, container_id: str, /) -> None:
        try:
            await self._running.start(container_id)
        except RetryableError as exc:
            if exc.reason != "AddressInUse":
                raise
            await self._ensure.move(container_id)
            await self._running.start(container_id)

    async def stop_container(self, container_id: str, /, *, timeout_s: int) -> None:
        await self._running.stop(container_id, timeout_s)

    async def pause_container(self, container_id: str, /) -> None:
        await self._running.pause(container_id)

    async def delete_container(self, container_id: str, /, *, stop_timeout_s: int = 10) -> None:
        await self._running.delete(container_id, stop_timeout_s)

    async def exec_container(
        self,
        container_id: str,
        argv: tuple[str, ...],
        /,
        *,
        stdin: bytes = b"",
        timeout_s: float,
        apart: bool = False,
    ) -> tuple[int, str]:
        return await self._running.exec(container_id, argv, stdin, timeout_s, apart=apart)

    async def observe_network(self, name: str, /) -> NetworkState | None:
        return await self._networks.observe(name)

    async def list_networks(self) -> tuple[NetworkState, ...]:
        return await self._networks.list()

    async def ensure_network(self, spec: NetworkSpec, /) -> NetworkState:
        return await self._networks.ensure(spec)

    async def delete_network(self, name: str, /) -> None:
        await self._networks.delete(name)

    async def observe_volume(self, name: str, /) -> VolumeState | None:
        return await self._volumes.observe(name)

    async def list_volumes(self) -> tuple[VolumeState, ...]:
        return await self._volumes.list()

    async def ensure_volume(self, spec: VolumeSpec, /) -> VolumeState:
        return await self._volumes.ensure(spec)

    async def delete_volume(self, name: str, /) -> None:
        await self._volumes.delete(name)

    async def observe_image(self, reference: str, /) -> ImageState | None:
        return await self._images.observe(reference)

    async def ensure_image(self, reference: str, /) -> ImageState:
        return await self._images.ensure(reference)

    async def observe_routes(self) -> tuple[str, ...]:
        return await self._networks.routes(self._route_file)

    async def events(self) -> AsyncIterator[OwnerChanged]:
        watch = Watch(
            partial(Reader, lambda: self._calls.engine, self._clock),
            self._clock,
            self.cache,
            self._snapshot,
            instance=self._config.instance,
            verify_s=self._config.verify_s,
        )
        watch.start()
        try:
            while True:
                yield await watch.next()
        finally:
            watch.stop()

    async def aclose(self) -> None:
        self._images.close()
        self._calls.close()

    async def _snapshot(self) -> Snapshot:
        """What lists tell of all that is ours; also learns who owns what."""
        seen: dict[str, tuple[Owner | None, object]] = {}
        resets = self.cache.resets
        for raw in await self._running.raw_list("list containers"):
            labels = raw.get("Labels") or {}
            owner = owner_of(labels)
            if owner is not None:
                self.cache.known.add(raw["Id"], owner, labels.get(LABEL_CONTAINER, ""))
            seen[f"container:{raw['Id']}"] = (owner, listed_container(raw))
        self.cache.known.complete = resets == self.cache.resets
        for network in await self._networks.list():
            seen[f"network:{network.name}"] = (network.owner, network.id)
        for volume in await self._volumes.list():
            seen[f"volume:{volume.name}"] = (volume.owner, None)
        return seen
