"""VpnNetwork: one WireGuard gateway in one container of the namespace's own network.

It alone decides who has which address (_vpnleases.py), and it alone writes the gateway's files, so
that its peers' records never race for either. What a peer's record needs of it stands in
status.peers. Not here: clients' configurations, which are vpnpeer.py's.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from controlplane.clock import Clock
from controlplane.plan import (
    ChildRef,
    Derived,
    EnsureSecret,
    Generated,
    Plan,
    Reconciler,
    RecordStep,
    RemoveChild,
    Report,
    SecretReader,
    SecretValue,
    Wait,
    Want,
)
from drivers.containers import (
    Containers,
    ContainerSpec,
    Limits,
    NetworkAttachment,
    PublishedPort,
)
from drivers.secretfiles import SecretFiles
from drivers.wireguard import (
    GATEWAY_FILE,
    INTERFACE_FILE,
    PORT,
    GatewayConfig,
    WireGuard,
    gateway_conf,
    interface_conf,
)
from drivers.wireguard_keys import public_key_of
from reconcilers import _container as box
from reconcilers._images import WIREGUARD
from reconcilers._lifecycle import file_steps, has_image, not_running, read_own, removal, served
from reconcilers._secrets import secret_ref, tells_truth
from reconcilers._volumes import release
from reconcilers._vpngateway import (
    VpnNetworkSeen,
    as_seen,
    as_wanted,
    config_of,
    endpoint_of,
    leases_of,
    routes_of,
)
from reconcilers._vpntraffic import due, minute, with_traffic
from resources.network import overlaps
from resources.vpnnetwork import VpnNetwork, VpnNetworkStatus

STOP_TIMEOUT_S: Final = 5
"""There is nothing to save."""
RECHECK_S: Final = 30.0
"""No event tells what somebody does to the interface, or that a client connected."""
ROOT: Final = (0, 0)
"""Who reads the files in the container."""


@dataclass(frozen=True, slots=True)
class SyncInterface:
    """Make the live interface as its files say."""

    container_id: str


VpnNetworkStep = box.ContainerStep | SyncInterface


@dataclass(frozen=True, slots=True)
class VpnNetworkReconciler(Reconciler[VpnNetwork, VpnNetworkSeen, VpnNetworkStep]):
    containers: Containers
    files: SecretFiles
    values: SecretReader
    wireguard: WireGuard
    clock: Clock
    steps: box.ContainerSteps

    def children(self, want: VpnNetwork, namespace_uid: str, /) -> tuple[ChildRef, ...]:
        return (ChildRef("Secret", want.secret_name),)

    async def observe(self, want: Want[VpnNetwork], /) -> VpnNetworkSeen:
        record = want.record
        uid = record.metadata.uid
        container, network, files, values, image_here = await asyncio.gather(
            self.containers.observe_container(record.owned_name, uid),
            self.containers.observe_network(want.network),
            self.files.observe_files(uid),
            read_own(self.values, want, record.secret_name),
            has_image(self.containers, want, WIREGUARD),
        )
        interface = None
        if container is not None and container.running and not container.paused:
            interface = await self.wireguard.observe_interface(container.id)
        now = self.clock.now()
        public_key = _public_key(values or {})
        return VpnNetworkSeen(
            now=now,
            container=container,
            image_here=image_here,
            network_id=network.id if network else None,
            network_subnet=network.subnet if network else "",
            files_here=files is not None,
            files_version=files.version if files and files.intact else None,
            public_key=public_key,
            secret_true=public_key is not None and tells_truth(values or {}, secret_keys(record)),
            interface=interface,
            age_s=box.age_s(container, now) if container else 0.0,
        )

    def plan(self, want: Want[VpnNetwork], seen: VpnNetworkSeen, /) -> Plan[VpnNetworkStep]:
        record = want.record
        if want.deleting:
            return Plan(_removal(want, seen))
        if wait := _not_yet(want, seen):
            return Plan(wait=wait)
        secret = want.children.get(("Secret", record.secret_name))
        if secret is not None and secret.owned and _unsound(seen, secret.secret_keys):
            return Plan((RemoveChild("Secret", record.secret_name),))
        if secret is None or not secret.owned or not seen.secret_true:
            return Plan((_ensure_secret(record),))
        return self._plan_gateway(want, seen, secret.content_hmac)

    def _plan_gateway(
        self, want: Want[VpnNetwork], seen: VpnNetworkSeen, content: str
    ) -> Plan[VpnNetworkStep]:
        spec = self._spec(want)
        config = config_of(want, seen)
        files = _files(want.record, config, content)
        steps = box.plan_container(spec, seen.container, seen.network_id)
        sync: tuple[SyncInterface, ...] = ()
        if not steps and seen.container is not None and seen.interface is not None:
            sync = (SyncInterface(seen.container.id),)
        if writes := file_steps(want.record, files, seen.files_version, ROOT):
            return Plan((*self._pull(seen, steps), *writes, *steps, *sync))
        if steps or seen.container is None:
            return Plan((*self._pull(seen, steps), *steps))
        if seen.interface is None:
            starting = Wait("Starting", _starting(want.record), box.recheck_s(seen.age_s))
            return Plan(wait=box.trouble(seen.container) or starting)
        return Plan() if as_wanted(seen, config) else Plan(sync)

    def _pull(
        self, seen: VpnNetworkSeen, steps: tuple[box.ContainerStep, ...]
    ) -> tuple[box.ContainerStep, ...]:
        states = (seen.container,) if seen.container else ()
        return box.pull(WIREGUARD, steps, states, here=seen.image_here)

    def _spec(self, want: Want[VpnNetwork]) -> ContainerSpec:
        record = want.record
        limits = record.spec.resources
        return box.sealed(
            ContainerSpec(
                name=record.owned_name,
                owner=box.owner_of(record),
                image=WIREGUARD,
                digest="",
                limits=Limits(limits.cpu, limits.memory),
                networks=(NetworkAttachment(want.network),),
                secrets_dir=self.files.path_of(record.metadata.uid),
                ports=(PublishedPort(PORT, want.ports[0], record.spec.listen_address, "udp"),),
                read_only_root=True,
                tmpfs=("/run/gateway:size=1m", "/run/wireguard:size=1m"),
                stop_timeout_s=STOP_TIMEOUT_S,
                # the name server takes port 53, and then another user
                keep_caps=("NET_BIND_SERVICE", "SETGID", "SETUID"),
                capabilities=("NET_ADMIN",),
                devices=("/dev/net/tun",),
                sysctls={"net.ipv4.ip_forward": "1"},
            )
        )

    def status(self, want: Want[VpnNetwork], seen: VpnNetworkSeen, /) -> Report:
        record = want.record
        spec, before = record.spec, record.status
        state = seen.container
        peers = as_seen(leases_of(want, seen), before.peers, seen)
        told = before.seen_time
        if due(told, seen.now):
            fresh = with_traffic(peers, seen.interface, seen.now)
            peers, told = fresh, told if fresh == peers else minute(seen.now)
        status = VpnNetworkStatus(
            endpoint=endpoint_of(want),
            gateway=record.gateway,
            public_key=seen.public_key,
            routes=routes_of(record, seen),
            dns=(record.gateway,) if spec.dns is None else spec.dns,
            mode=seen.interface.mode if seen.interface else None,
            image=state.image if state else None,
            container=state.name if state else None,
            secret_ref=secret_ref(want),
            peers=peers,
            connected=sum(lease.connected for lease in peers),
            seen_time=told,
        )
        return served(status, state, _readiness(want, seen), RECHECK_S)

    async def apply(self, step: VpnNetworkStep, /) -> None:
        match step:
            case SyncInterface(container_id=container_id):
                await self.wireguard.ensure_interface(container_id)
            case _:
                await self.steps.apply(step)


SECRET_TYPE: Final = "bunker.cloud/wireguard"  # noqa: S105  # a type, and no password


def derive_public_key(values: Mapping[str, str]) -> str:
    """The Secret's public half."""
    return public_key_of(values.get("privatekey", ""))


def secret_keys(record: VpnNetwork) -> dict[str, SecretValue]:
    """Keys of the gateway's Secret."""
    return {
        "privatekey": Generated(form="x25519"),
        "publickey": Derived(derive_public_key),
        "revision": str(record.spec.key_revision),
    }


def _public_key(values: Mapping[str, bytes]) -> str | None:
    try:
        return public_key_of(values.get("privatekey", b"").decode(errors="replace"))
    except ValueError:
        return None


def _unsound(seen: VpnNetworkSeen, keys: tuple[str, ...]) -> bool:
    """A Secret with something for a private key that is none: a new one is made."""
    return "privatekey" in keys and seen.public_key is None


def _ensure_secret(record: VpnNetwork) -> EnsureSecret:
    return EnsureSecret(
        record.secret_name, secret_keys(record), type=SECRET_TYPE, renew_on="revision"
    )


def _not_yet(want: Want[VpnNetwork], seen: VpnNetworkSeen) -> Wait | None:
    """Why nothing can be done yet."""
    # what runs goes on while its namespace goes: its peers, who go first, wait to be let out
    if seen.network_id is None or not (want.network_ready or seen.container):
        return Wait("NamespaceNotReady", "waiting for the namespace's network")
    if not want.ports:
        return Wait("PortPending", "waiting for a port of the host")
    subnet = want.record.spec.subnet
    if overlaps(subnet, seen.network_subnet):
        message = (
            f"spec.subnet '{subnet}' overlaps the namespace's own network {seen.network_subnet}; "
            "make this VpnNetwork anew with another subnet"
        )
        return Wait("SubnetOverlaps", message)
    return None


def _removal(
    want: Want[VpnNetwork], seen: VpnNetworkSeen
) -> tuple[VpnNetworkStep | RecordStep, ...]:
    here = (seen.container,) if seen.container else ()
    steps = removal(want.record, here, files_here=seen.files_here, stop_timeout_s=STOP_TIMEOUT_S)
    return (*steps, *release(want, (("Secret", want.record.secret_name),), retain=False))


def _files(record: VpnNetwork, config: GatewayConfig, content: str) -> tuple[box.SecretFile, ...]:
    source = box.SecretSource("Secret", record.secret_name, content)
    return (
        box.SecretFile(INTERFACE_FILE, source, interface_conf(config), plain=True),
        box.SecretFile(GATEWAY_FILE, None, gateway_conf(config)),
    )


def _starting(record: VpnNetwork) -> str:
    name = record.owned_name
    return f"container '{name}' runs and has no interface yet; if it lasts, read its logs"


def _readiness(want: Want[VpnNetwork], seen: VpnNetworkSeen) -> tuple[str, str]:
    if told := not_running(seen.container, deleting=want.deleting):
        return told
    if seen.interface is None:
        return "Starting", _starting(want.record)
    return "Serving", "the gateway serves"
