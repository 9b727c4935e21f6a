"""The digest label: what of a container spec needs a new container, hashed. Pure.

Limits, networks, name and run state are compared live instead, as they are corrected in place;
notes are compared by nobody.
A digest is compared by the version that made it, so that an upgrade of the control plane which
hashes something more recreates nothing by itself; nor does one that gives another command, where it
names the former one.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from drivers.containers import ContainerSpec, PublishedPort

CURRENT: Final = "v1"


def container_digest(spec: ContainerSpec) -> str:
    """`v1:<16 hex digits>`; the spec's own digest field is left out."""
    return f"{CURRENT}:{_hashed(_VERSIONS[CURRENT](spec))}"


def same_digest(label: str, spec: ContainerSpec) -> bool:
    """Whether a container labelled `label` may stand for `spec`. A label of a version that is
    not known here (made by a newer release) is another digest."""
    version, _, made = label.partition(":")
    parts = _VERSIONS.get(version)
    if parts is None:
        return False
    former = (replace(spec, command=each) for each in spec.former_commands)
    return any(made == _hashed(parts(each)) for each in (spec, *former))


def _hashed(parts: Mapping[str, Any]) -> str:
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _v1(spec: ContainerSpec) -> Mapping[str, Any]:
    # Never edit a released version: add the next one. What came later is hashed only where it is
    # used, so that a spec without it has the digest it always had.
    return {
        "image": spec.image,
        "command": list(spec.command),
        "env": dict(spec.env),
        "volumes": sorted([v.volume, v.path, v.read_only] for v in spec.volumes),
        "secrets_dir": spec.secrets_dir,
        "ports": sorted(_port(port) for port in spec.ports),
        "user": spec.user,
        "read_only_root": spec.read_only_root,
        "tmpfs": sorted(spec.tmpfs),
        "hostname": spec.hostname,
        "caps": sorted(spec.keep_caps),
        "labels": dict(spec.labels),
        # A container made without a network cannot be given one.
        "networked": bool(spec.networks),
        **({"capabilities": sorted(spec.capabilities)} if spec.capabilities else {}),
        **({"devices": sorted(spec.devices)} if spec.devices else {}),
        **({"sysctls": dict(spec.sysctls)} if spec.sysctls else {}),
    }


def _port(port: PublishedPort) -> list[Any]:
    protocol = [] if port.protocol == "tcp" else [port.protocol]
    return [port.container_port, port.host_port, port.address, *protocol]


_VERSIONS: Final[Mapping[str, Callable[[ContainerSpec], Mapping[str, Any]]]] = {"v1": _v1}
