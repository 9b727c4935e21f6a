"""Builds the JSON bodies the Docker engine gets. Pure, and the only place that builds them.

An allow-list: what is not set here cannot be asked for. Never privileged, no host namespace,
security option, or host path but the container's own secrets folder. What only the platform's own
services and tunnel gateways may have (a few capabilities, the tunnel device, network sysctls) is
refused from any other owner, whatever a reconciler asks for.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

from controlplane.errors import TerminalError
from drivers.containers import (
    LABEL_CONTAINER,
    LABEL_DIGEST,
    LABEL_EPOCH,
    LABEL_INSTANCE,
    LABEL_KIND,
    LABEL_NAME,
    LABEL_NAMESPACE,
    LABEL_PREFIX,
    LABEL_UID,
    SECRETS_PATH,
    ContainerSpec,
    Limits,
    NetworkAttachment,
    NetworkSpec,
    Owner,
    VolumeSpec,
)

Json = dict[str, Any]

KEEPABLE_CAPS: Final = frozenset(
    {
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "NET_BIND_SERVICE",
        "SETGID",
        "SETUID",
        "SYS_CHROOT",
    }
)
"""Of Docker's default capabilities, those that act inside the container alone. NET_RAW (spoofing
on the tenant's network), MKNOD, SETPCAP, SETFCAP and AUDIT_WRITE are left out."""

ADDABLE_CAPS: Final = KEEPABLE_CAPS | {"NET_ADMIN", "NET_RAW"}
"""What services of the platform may have: all of the above, and what makes tunnels and routes."""
DEVICES: Final = frozenset({"/dev/net/tun"})
"""The only host device there is: it makes tunnels in the container's own network namespace."""
TRUSTED_NAMESPACE: Final = "platform"
"""Where the platform's own services live; no tenant's."""

_BASE_LABELS: Final = frozenset(
    {
        LABEL_CONTAINER,
        LABEL_DIGEST,
        LABEL_EPOCH,
        LABEL_INSTANCE,
        LABEL_KIND,
        LABEL_NAME,
        LABEL_NAMESPACE,
        LABEL_UID,
    }
)
_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,252}")
_ENV_NAME: Final = re.compile(r"[^=\0\s]+")
_TMPFS_OPTION: Final = re.compile(r"size=\d+[kmg]?|mode=[0-7]{3,4}|uid=\d+|gid=\d+|exec")
_SYSCTL: Final = re.compile(r"net\.ipv4\.[a-z0-9_]+(\.[a-z0-9_]+)*")


@dataclass(frozen=True, slots=True)
class Trust:
    """What containers of one kind may have beyond all others'."""

    namespace: str | None
    """Only there; None: everywhere."""
    capabilities: frozenset[str]
    sysctls: re.Pattern[str]
    devices: frozenset[str] = DEVICES


TRUST: Final[Mapping[str, Trust]] = {
    "Platform": Trust(TRUSTED_NAMESPACE, ADDABLE_CAPS, _SYSCTL),
    # a tenant's tunnel: one image and command of our own, in a network namespace of its own
    "VpnNetwork": Trust(None, frozenset({"NET_ADMIN"}), re.compile(r"net\.ipv4\.ip_forward")),
    # a gateway of our own in a tenant's network and the platform's: no way from one to the other
    "Model": Trust(None, frozenset(), re.compile(r"net\.ipv4\.ip_forward"), frozenset()),
}
"""Kinds whose containers may have `capabilities`, `devices` and `sysctls` at all."""
_NOTHING: Final = Trust(None, frozenset(), re.compile(r"(?!)"), frozenset())
SHM_BYTES: Final = 2**36
"""No bound of its own for /dev/shm: what is in it counts as the container's memory, which has one.
The engine's 64 MiB are too few for what PostgreSQL's parallel workers share."""
RESTART_POLICY: Final = "unless-stopped"
_FORBIDDEN_MOUNTS: Final = ("/proc", "/sys", "/dev", SECRETS_PATH)


def container_body(
    spec: ContainerSpec,
    secret_env: Mapping[str, str],
    *,
    instance: str,
    epoch: int,
    secrets_root: str,
    address: str | None = None,
) -> Json:
    """The body of POST /containers/create, with the first network only (the engine takes one).
    `address`: the one there that it keeps; None: another one at each start. Raises TerminalError
    for anything that no container may have."""
    _check_name(spec.name)
    trust = _trust(spec)
    first = spec.networks[0] if spec.networks else None
    body: Json = {
        "Image": spec.image,
        # what a record says itself wins over what it takes from elsewhere
        "Env": _env({**secret_env, **spec.env}),
        "Labels": container_labels(spec, instance=instance, epoch=epoch),
        "User": spec.user,
        "Hostname": spec.hostname,
        "StopTimeout": spec.stop_timeout_s,
        # Health is probed from outside; Docker's own probes at 1 s saturated two cores.
        "Healthcheck": {"Test": ["NONE"]},
        "ExposedPorts": {f"{port.container_port}/{port.protocol}": {} for port in spec.ports},
        "HostConfig": _host_config(spec, first, secrets_root, trust),
        "NetworkingConfig": {
            "EndpointsConfig": {first.network: endpoint_body(first.aliases, address)}
            if first
            else {}
        },
    }
    if spec.command:
        body["Cmd"] = list(spec.command)
    return body


def _host_config(
    spec: ContainerSpec, first: NetworkAttachment | None, secrets_root: str, trust: Trust
) -> Json:
    body: Json = {
        **limits_body(spec.limits),
        "Privileged": False,
        "NetworkMode": _network_mode(first),
        "CapDrop": ["ALL"],
        "CapAdd": sorted(
            {*_caps(spec.keep_caps, KEEPABLE_CAPS), *_caps(spec.capabilities, trust.capabilities)}
        ),
        "SecurityOpt": ["no-new-privileges"],
        "ReadonlyRootfs": spec.read_only_root,
        "Mounts": _mounts(spec, secrets_root),
        "Tmpfs": dict(_tmpfs(entry) for entry in spec.tmpfs),
        "ShmSize": SHM_BYTES,
        "PortBindings": _port_bindings(spec),
        **restart_body(),
        "LogConfig": {"Type": "local", "Config": {"max-size": "10m", "max-file": "3"}},
        "Init": True,
    }
    if spec.devices:
        body["Devices"] = [_device(spec.name, path, trust) for path in spec.devices]
    if spec.sysctls:
        body["Sysctls"] = _sysctls(spec, trust)
    return body


def endpoint_body(aliases: tuple[str, ...], address: str | None) -> Json:
    """How a container is in a network; `address`: the one it keeps over restarts."""
    kept: Json = {"IPAMConfig": {"IPv4Address": address}} if address else {}
    return {"Aliases": list(aliases), **kept}


def limits_body(limits: Limits) -> Json:
    """Memory and swap together: of the two alone, one order is refused on growing and the other
    on shrinking. Also the body of POST /containers/{id}/update."""
    if limits.cpu_millicores <= 0 or limits.memory_bytes <= 0 or limits.pids <= 0:
        # 0 is the engine's word for "no limit".
        raise TerminalError(f"cannot limit a container: {limits} must all be positive")
    return {
        "NanoCpus": limits.cpu_millicores * 1_000_000,
        "Memory": limits.memory_bytes,
        "MemorySwap": limits.memory_bytes,
        "PidsLimit": limits.pids,
    }


def restart_body() -> Json:
    """Also a body of POST /containers/{id}/update, running or not; it leaves the limits alone."""
    return {"RestartPolicy": {"Name": RESTART_POLICY}}


def owner_labels(owner: Owner, *, instance: str, epoch: int) -> dict[str, str]:
    return {
        LABEL_INSTANCE: instance,
        LABEL_UID: owner.uid,
        LABEL_KIND: owner.kind,
        LABEL_NAMESPACE: owner.namespace,
        LABEL_NAME: owner.name,
        LABEL_EPOCH: str(epoch),
    }


def container_labels(spec: ContainerSpec, *, instance: str, epoch: int) -> dict[str, str]:
    for label in (*spec.labels, *spec.notes):
        # Other programs (a proxy, say) act on labels; none of theirs may come from a record.
        if not label.startswith(LABEL_PREFIX) or label in _BASE_LABELS:
            raise _refused(spec.name, f"label {label!r} is not one a container may have")
    return {
        **spec.notes,
        **spec.labels,
        **owner_labels(spec.owner, instance=instance, epoch=epoch),
        LABEL_DIGEST: spec.digest,
        LABEL_CONTAINER: spec.name,
    }


def network_body(spec: NetworkSpec, *, instance: str, epoch: int) -> Json:
    """The body of POST /networks/create."""
    _check_name(spec.name)
    return {
        "Name": spec.name,
        "Driver": "bridge",
        "CheckDuplicate": True,
        "IPAM": {"Driver": "default", "Config": [{"Subnet": spec.subnet}]},
        "Labels": owner_labels(spec.owner, instance=instance, epoch=epoch),
    }


def volume_body(spec: VolumeSpec, *, instance: str, epoch: int) -> Json:
    """The body of POST /volumes/create: the local driver without options, as options could
    mount any host path."""
    _check_name(spec.name)
    return {
        "Name": spec.name,
        "Driver": "local",
        "Labels": owner_labels(spec.owner, instance=instance, epoch=epoch),
    }


def _refused(name: str, cause: str) -> TerminalError:
    return TerminalError(f"cannot build container '{name}': {cause}", reason="SpecRefused")


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise _refused(name, "the name is not one the engine takes")


def _network_mode(first: NetworkAttachment | None) -> str:
    if first is None:
        return "none"
    # `host`, `bridge` and `container:x` are modes, not networks.
    if first.network in {"host", "bridge", "default", "none"} or not _NAME.fullmatch(first.network):
        raise _refused(first.network, "that is not a network of ours")
    return first.network


def _env(values: Mapping[str, str]) -> list[str]:
    for name, value in values.items():
        if not _ENV_NAME.fullmatch(name) or "\0" in value:
            raise TerminalError(
                f"cannot build container: variable {name!r} is malformed", reason="SpecRefused"
            )
    return [f"{name}={value}" for name, value in sorted(values.items())]


def _trust(spec: ContainerSpec) -> Trust:
    """What its owner's kind may have; raises TerminalError if it asks without being trusted."""
    if not (spec.capabilities or spec.devices or spec.sysctls):
        return _NOTHING
    found = TRUST.get(spec.owner.kind)
    if found is None or found.namespace not in (None, spec.owner.namespace):
        raise _refused(
            spec.name,
            "capabilities, devices and sysctls are for services of the platform and tunnels alone",
        )
    return found


def _device(name: str, path: str, trust: Trust) -> Json:
    if path not in trust.devices:
        raise _refused(name, f"device {path!r} may not be used")
    return {"PathOnHost": path, "PathInContainer": path, "CgroupPermissions": "rwm"}


def _sysctls(spec: ContainerSpec, trust: Trust) -> dict[str, str]:
    for name, value in spec.sysctls.items():
        # Of its own network namespace: the engine refuses those of the host's only by name.
        if not trust.sysctls.fullmatch(name) or not re.fullmatch(r"[0-9]{1,10}", value):
            raise _refused(spec.name, f"sysctl {name}={value!r} may not be set")
    return dict(sorted(spec.sysctls.items()))


def _caps(wanted: tuple[str, ...], allowed: frozenset[str]) -> list[str]:
    for cap in wanted:
        if cap not in allowed:
            raise TerminalError(
                f"cannot build container: capability {cap!r} may not be kept", reason="SpecRefused"
            )
    return list(wanted)


def _mounts(spec: ContainerSpec, secrets_root: str) -> list[Json]:
    mounts: list[Json] = []
    for volume in spec.volumes:
        # A source with a slash is a host path to the engine.
        _check_name(volume.volume)
        mounts.append(
            {
                "Type": "volume",
                "Source": volume.volume,
                "Target": _target(spec.name, volume.path),
                "ReadOnly": volume.read_only,
            }
        )
    if spec.secrets_dir is not None:
        # The Mounts API, unlike Binds, refuses a missing folder instead of making one.
        mounts.append(
            {
                "Type": "bind",
                "Source": _secrets_source(spec.name, spec.secrets_dir, secrets_root),
                "Target": SECRETS_PATH,
                "ReadOnly": True,
                "BindOptions": {"Propagation": "rprivate"},
            }
        )
    return mounts


def _secrets_source(name: str, folder: str, root: str) -> str:
    path = PurePosixPath(folder)
    inside = path.is_relative_to(root) and path != PurePosixPath(root)
    if not inside or ".." in path.parts or "\0" in folder:
        raise _refused(name, "its secrets folder is not under the secrets root")
    return str(path)


def _target(name: str, path: str) -> str:
    where = PurePosixPath(path)
    clean = where.is_absolute() and ".." not in where.parts and not set(path) & set("\0:,")
    if not clean or str(where) == "/" or any(where.is_relative_to(p) for p in _FORBIDDEN_MOUNTS):
        raise _refused(name, f"nothing may be mounted at {path!r}")
    return str(where)


def _tmpfs(entry: str) -> tuple[str, str]:
    path, _, options = entry.partition(":")
    chosen = options.split(",") if options else []
    for option in chosen:
        if not _TMPFS_OPTION.fullmatch(option):
            raise _refused(path, f"tmpfs option {option!r} is not allowed")
    return _target(path, path), ",".join(["rw", "nosuid", "nodev", *chosen])


def _port_bindings(spec: ContainerSpec) -> Json:
    bindings: dict[str, list[Json]] = {}
    for port in spec.ports:
        if not (0 < port.container_port < 65536 and 0 < port.host_port < 65536):
            raise _refused(spec.name, f"{port} is not a port")
        if not re.fullmatch(r"[0-9a-fA-F.:]+", port.address):
            # "" would be every address of the host.
            raise _refused(spec.name, f"{port.address!r} is not an address to publish on")
        if port.protocol not in {"tcp", "udp"}:
            raise _refused(spec.name, f"{port.protocol!r} is not a protocol to publish")
        bindings.setdefault(f"{port.container_port}/{port.protocol}", []).append(
            {"HostIp": port.address, "HostPort": str(port.host_port)}
        )
    return bindings
