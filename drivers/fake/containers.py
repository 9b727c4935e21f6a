"""A container runtime in memory, held to the same contract suite as the Docker driver.

Bodies are built by the real builder, so a spec the real one refuses is refused here. `engine` is
the world: tests inspect it, break it and count its writes there.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from ipaddress import IPv4Network
from typing import Literal

from controlplane.errors import ConflictError, ControlPlaneError, RetryableError
from drivers.containers import (
    LABEL_CONTAINER,
    ContainerSpec,
    ContainerState,
    EngineInfo,
    ImageState,
    NetworkAttachment,
    NetworkSpec,
    NetworkState,
    OwnerChanged,
    VolumeSpec,
    VolumeState,
)
from drivers.digest import same_digest
from drivers.docker_body import container_body, container_labels
from drivers.fake.engine import MOMENT, Container, FakeEngine, with_network
from drivers.fake.refusals import half_removed, name_taken, not_ours, not_running, raise_lost
from drivers.fake.volumes import check_free, users


class FakeContainers:
    """`images` "any": every image is there already; else as CP_IMAGES means it."""

    def __init__(
        self,
        engine: FakeEngine | None = None,
        *,
        images: Literal["any", "upstream", "local"] = "any",
        info: EngineInfo | None = None,
        secrets_root: str = "/run/bunker/secrets",
        guard: Callable[[], int] = lambda: 0,
    ) -> None:
        self.engine = engine or FakeEngine()
        self._images = images
        self._info = info or EngineInfo("fake", 16, 30 << 30, "/var/lib/docker")
        self._secrets_root = secrets_root
        self._guard = guard

    async def observe_engine(self) -> EngineInfo:
        self._enter("observe_engine")
        return self._info

    # -- containers

    async def observe_container(self, name: str, owner_uid: str, /) -> ContainerState | None:
        self._enter("observe_container")
        found = self._find(name, owner_uid)
        return None if found is None else found.state

    async def list_containers(self, owner_uid: str | None = None, /) -> tuple[ContainerState, ...]:
        self._enter("list_containers")
        ours = [c.state for c in self.engine.containers.values() if self.engine.is_ours(c.state)]
        if owner_uid is not None:
            ours = [s for s in ours if s.owner is not None and s.owner.uid == owner_uid]
        return tuple(sorted(ours, key=lambda state: state.name))

    async def ensure_container(
        self, spec: ContainerSpec, /, *, secret_env: Mapping[str, str] | None = None
    ) -> ContainerState:
        lost = self._change("ensure_container")
        self._check(spec, secret_env or {})
        found = self._find(spec.name, spec.owner.uid)
        made = found is None
        if found is None:
            found = self._create(spec, secret_env or {})
        if found.state.digest != spec.digest and not same_digest(found.state.digest, spec):
            raise RetryableError(
                f"cannot ensure container '{spec.name}': another digest", reason="DigestDiffers"
            )
        self._correct(found, spec)
        raise_lost(lost)
        return replace(found.state, image_id="", created_at="") if made else found.state

    async def start_container(self, container_id: str, /) -> None:
        lost = self._change("start_container")
        found = self._existing(container_id, "start")
        if found.state.dead:
            raise half_removed("start")
        if found.state.paused:
            self._set(found, "unpause", paused=False)
        elif not found.state.running:
            self._start(found)
        raise_lost(lost)

    async def stop_container(self, container_id: str, /, *, timeout_s: int) -> None:
        lost = self._change("stop_container")
        found = self._existing(container_id, "stop")
        if found.state.running or found.state.restarting:
            self._set(
                found, "stop", running=False, paused=False, restarting=False, finished_at=MOMENT
            )
        raise_lost(lost)

    async def pause_container(self, container_id: str, /) -> None:
        lost = self._change("pause_container")
        found = self._existing(container_id, "pause")
        if not found.state.running:
            raise not_running("pause")
        if not found.state.paused:
            self._set(found, "pause", paused=True)
        raise_lost(lost)

    async def delete_container(self, container_id: str, /, *, stop_timeout_s: int = 10) -> None:
        lost = self._change("delete_container")
        found = self.engine.containers.get(container_id)
        if found is not None:
            if not self.engine.is_ours(found.state):
                raise not_ours(f"remove container '{found.state.name}'")
            self.engine.count("remove_container")
            self.engine.remove(found.state.name)
        raise_lost(lost)

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
        """As if argv were `cat`."""
        self._change("exec_container")
        if not self._existing(container_id, "run a command in").state.running:
            raise not_running("run a command in")
        return 0, stdin.decode()

    # -- networks

    async def observe_network(self, name: str, /) -> NetworkState | None:
        self._enter("observe_network")
        found = self.engine.network_named(name)
        return None if found is None or found.owner is None else self._populated(found)

    async def list_networks(self) -> tuple[NetworkState, ...]:
        self._enter("list_networks")
        ours = (n for n in self.engine.networks.values() if n.owner is not None)
        return tuple(sorted(ours, key=lambda network: network.name))

    async def ensure_network(self, spec: NetworkSpec, /) -> NetworkState:
        lost = self._change("ensure_network")
        found = self.engine.network_named(spec.name)
        if found is None:
            taken = (IPv4Network(each.subnet) for each in self.engine.networks.values())
            if any(IPv4Network(spec.subnet).overlaps(each) for each in taken):
                message = f"cannot create network '{spec.name}': its subnet overlaps another's"
                raise RetryableError(message, retry_after_s=5.0, reason="SubnetInUse")
            self.engine.count("create_network")
            found = NetworkState(self.engine.new_id(), spec.name, spec.owner, spec.subnet)
            self.engine.networks[found.id] = found
        if found.owner is None or found.owner.uid != spec.owner.uid or found.subnet != spec.subnet:
            raise name_taken(f"create network '{spec.name}'")
        raise_lost(lost)
        return found

    async def delete_network(self, name: str, /) -> None:
        lost = self._change("delete_network")
        found = self.engine.network_named(name)
        if found is not None and found.owner is not None:
            if self._populated(found).container_ids:
                raise RetryableError(
                    f"cannot remove network '{name}': containers are in it", reason="NetworkInUse"
                )
            self.engine.count("remove_network")
            self.engine.remove_network(name)
        raise_lost(lost)

    async def observe_routes(self) -> tuple[str, ...]:
        self._enter("observe_routes")
        used = {network.subnet for network in self.engine.networks.values()}
        return tuple(sorted(self.engine.routes | used))

    # -- volumes

    async def observe_volume(self, name: str, /) -> VolumeState | None:
        self._enter("observe_volume")
        return self.engine.volumes.get(name)

    async def list_volumes(self) -> tuple[VolumeState, ...]:
        self._enter("list_volumes")
        ours = (v for v in self.engine.volumes.values() if v.owner is not None)
        return tuple(sorted(ours, key=lambda volume: volume.name))

    async def ensure_volume(self, spec: VolumeSpec, /) -> VolumeState:
        lost = self._change("ensure_volume")
        found = self.engine.volumes.get(spec.name)
        if found is None:
            self.engine.count("create_volume")
            found = self.engine.volumes[spec.name] = VolumeState(spec.name, spec.owner)
        if found.owner is None or found.owner.uid != spec.owner.uid:
            raise name_taken(f"create volume '{spec.name}'")
        raise_lost(lost)
        return found

    async def delete_volume(self, name: str, /) -> None:
        lost = self._change("delete_volume")
        found = self.engine.volumes.get(name)
        if found is not None:
            if found.owner is None:
                raise not_ours(f"remove volume '{name}'")
            if users(self.engine, name):
                raise RetryableError(f"cannot remove volume '{name}'", reason="VolumeInUse")
            self.engine.count("remove_volume")
            self.engine.remove_volume(name)
        raise_lost(lost)

    # -- images

    async def observe_image(self, reference: str, /) -> ImageState | None:
        self._enter("observe_image")
        if reference in self.engine.pulling:
            return None
        if self._images == "any" and reference not in self.engine.images:
            self.engine.add_image(reference)
        found = self.engine.images.get(reference)
        return None if found is None else ImageState(reference, found, "")

    async def ensure_image(self, reference: str, /) -> ImageState:
        lost = self._change("ensure_image")
        if await self.observe_image(reference) is None:
            if self._images == "local":
                raise RetryableError(
                    f"cannot find image '{reference}': build it with scripts/images",
                    retry_after_s=5.0,
                    reason="ImageNotFound",
                )
            self.engine.pull_image(reference)
        raise_lost(lost)
        return ImageState(reference, self.engine.images[reference], "")

    # -- events

    async def events(self) -> AsyncIterator[OwnerChanged]:
        listener = self.engine.listen()
        try:
            while True:
                yield await listener.get()
        finally:
            self.engine.unlisten(listener)

    async def aclose(self) -> None:
        """Nothing to close."""

    # -- inside

    def _enter(self, verb: str) -> ControlPlaneError | None:
        return self.engine.enter(verb)

    def _change(self, verb: str) -> ControlPlaneError | None:
        self._guard()
        return self.engine.enter(verb)

    def _find(self, name: str, owner_uid: str) -> Container | None:
        ours = [
            c
            for c in self.engine.containers.values()
            if self.engine.is_ours(c.state)
            and c.state.owner is not None
            and c.state.owner.uid == owner_uid
        ]
        by_name = [c for c in ours if c.state.name == name]
        made_as = [c for c in ours if c.state.labels[LABEL_CONTAINER] == name]
        return next(iter(by_name + made_as), None)

    def _existing(self, container_id: str, verb: str) -> Container:
        found = self.engine.containers.get(container_id)
        if found is None:
            raise ConflictError(f"cannot {verb} container: it is gone", reason="Gone")
        return found

    def _check(self, spec: ContainerSpec, secret_env: Mapping[str, str]) -> None:
        """What refuses a spec before anything is made."""
        container_body(
            spec,
            secret_env,
            instance=self.engine.instance,
            epoch=self._guard(),
            secrets_root=self._secrets_root,
        )
        for wanted in spec.networks:
            self._network(spec, wanted)

    def _network(self, spec: ContainerSpec, wanted: NetworkAttachment) -> NetworkState:
        network = self.engine.network_named(wanted.network)
        if network is None:
            raise RetryableError(
                f"cannot connect container '{spec.name}': there is no network '{wanted.network}'",
                retry_after_s=0.5,
                reason="NetworkMissing",
            )
        return network

    def _create(self, spec: ContainerSpec, secret_env: Mapping[str, str]) -> Container:
        if self._images != "any" and spec.image not in self.engine.images:
            raise RetryableError(
                f"cannot create container '{spec.name}': no image", reason="Missing"
            )
        if self.engine.has_name(spec.name):
            raise name_taken(f"create container '{spec.name}'")
        for mount in spec.volumes:
            check_free(self.engine, mount.volume, spec)
        self.engine.count("create_container")
        blank = self.engine.add_foreign(spec.name)
        made = Container(
            replace(
                blank,
                owner=spec.owner,
                digest=spec.digest,
                image=spec.image,
                image_id=self.engine.images.get(spec.image, ""),
                running=False,
                started_at="",
                created_at=MOMENT,
                limits=spec.limits,
                labels=container_labels(spec, instance=self.engine.instance, epoch=self._guard()),
            ),
            spec,
            dict(secret_env),
        )
        self.engine.containers[blank.id] = made
        return made

    def _correct(self, found: Container, spec: ContainerSpec) -> None:
        if found.state.name != spec.name:
            if self.engine.has_name(spec.name):
                raise name_taken(f"rename container '{spec.name}'")
            self._set(found, "rename", name=spec.name)
        if found.state.limits != spec.limits:
            self._set(found, "update", limits=spec.limits)
        if not found.state.restarts:
            self._set(found, "update", restarts=True)
        wanted = {attachment.network for attachment in spec.networks}
        for name in found.state.networks.keys() - wanted:
            self.engine.count("disconnect")
            self.engine.leave(found, name)
        for attachment in spec.networks:
            self._attach(found, self._network(spec, attachment), attachment.aliases)

    def _attach(self, found: Container, network: NetworkState, aliases: tuple[str, ...]) -> None:
        same_network = found.state.network_ids.get(network.name) == network.id
        if same_network and set(found.state.aliases[network.name]) == set(aliases):
            return
        self.engine.count("connect")
        self.engine.leave(found, network.name)
        kept = found.addresses[network.id] = self.engine.address_in(network)
        address = kept if found.state.running else ""
        found.state = with_network(found.state, network, address, aliases)

    def _start(self, found: Container) -> None:
        for name, network_id in found.state.network_ids.items():
            if network_id not in self.engine.networks:
                raise RetryableError(
                    f"cannot start container '{found.state.name}': network gone", reason="Missing"
                )
            address = found.addresses[network_id]
            found.state = replace(found.state, networks={**found.state.networks, name: address})
        code = self.engine.crashing.get(found.state.image)
        self.engine.begin(found)
        self._set(found, "start", running=True, restarting=False, started_at=MOMENT)
        if code is not None:
            self.engine.restart_loop(found.state.name, code)

    def _set(self, found: Container, verb: str, **changes: object) -> None:
        self.engine.count(f"{verb}_container")
        self.engine.set_state(found.state.name, f"container {verb}", **changes)

    def _populated(self, network: NetworkState) -> NetworkState:
        inside = (
            c.state.id
            for c in self.engine.containers.values()
            if c.state.running and c.state.network_ids.get(network.name) == network.id
        )
        return replace(network, container_ids=tuple(sorted(inside)))
