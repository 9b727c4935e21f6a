"""Reads the Docker engine's JSON into our value types. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from drivers.containers import (
    LABEL_DIGEST,
    LABEL_KIND,
    LABEL_NAME,
    LABEL_NAMESPACE,
    LABEL_UID,
    ContainerState,
    ImageState,
    Limits,
    NetworkState,
    Owner,
    VolumeState,
)
from drivers.docker_body import RESTART_POLICY

Json = Mapping[str, Any]


def owner_of(labels: Mapping[str, str] | None) -> Owner | None:
    """The owner the labels name; None without a uid."""
    found = labels or {}
    uid = found.get(LABEL_UID)
    if not uid:
        return None
    return Owner(
        uid=uid,
        kind=found.get(LABEL_KIND, ""),
        namespace=found.get(LABEL_NAMESPACE, ""),
        name=found.get(LABEL_NAME, ""),
    )


def container_state(raw: Json, *, swap_limited: bool = True) -> ContainerState:
    """From GET /containers/{id}/json. `swap_limited`: the kernel accounts swap, see _limits."""
    state, config = raw["State"], raw["Config"]
    labels: dict[str, str] = config.get("Labels") or {}
    restarting = bool(state.get("Restarting"))
    # The engine calls a container that waits for its next restart "running".
    running = bool(state.get("Running")) and not restarting
    networks = {
        name: endpoint
        for name, endpoint in (raw["NetworkSettings"].get("Networks") or {}).items()
        # listed without its id for one that runs: it failed to join
        if name != "none" and (endpoint.get("NetworkID") or not running)
    }
    return ContainerState(
        id=raw["Id"],
        name=raw["Name"].removeprefix("/"),
        owner=owner_of(labels),
        digest=labels.get(LABEL_DIGEST, ""),
        image=config.get("Image", ""),
        image_id=raw.get("Image", ""),
        running=running,
        paused=bool(state.get("Paused")),
        restarting=restarting,
        exit_code=int(state.get("ExitCode", 0)),
        oom_killed=bool(state.get("OOMKilled")),
        restart_count=int(raw.get("RestartCount", 0)),
        started_at=_moment(state.get("StartedAt")),
        finished_at=_moment(state.get("FinishedAt")),
        limits=_limits(raw["HostConfig"], swap_limited=swap_limited),
        networks={name: endpoint.get("IPAddress", "") for name, endpoint in networks.items()},
        network_ids={name: endpoint.get("NetworkID", "") for name, endpoint in networks.items()},
        aliases={name: _aliases(raw["Id"], endpoint) for name, endpoint in networks.items()},
        labels=labels,
        error=str(state.get("Error", "")),
        dead=bool(state.get("Dead")),
        restarts=_restart_policy(raw["HostConfig"]) == RESTART_POLICY,
        created_at=_moment(raw.get("Created")),
    )


@dataclass(frozen=True, slots=True)
class Listed:
    """What a list tells of a container."""

    names: tuple[str, ...]
    state: str
    """In the engine's words: created, running, paused, restarting, removing, exited or dead."""
    networks: tuple[tuple[str, str], ...] = ()
    """Name and id of each."""

    def contradicts(self, known: ContainerState) -> bool:
        """Whether it has another name, or runs otherwise, than `known` says."""
        lives = self.state if self.state in {"running", "paused", "restarting"} else "ended"
        return lives != _life(known) or f"/{known.name}" not in self.names


def _life(state: ContainerState) -> str:
    if state.restarting:
        return "restarting"
    if state.paused:
        return "paused"
    return "running" if state.running else "ended"


def listed_container(raw: Json) -> Listed:
    """From an entry of GET /containers/json."""
    ends = (raw.get("NetworkSettings") or {}).get("Networks") or {}
    networks = sorted((name, end.get("NetworkID", "")) for name, end in ends.items())
    return Listed(tuple(raw["Names"] or ()), raw["State"], tuple(networks))


def _limits(host: Json, *, swap_limited: bool) -> Limits:
    memory, swap = int(host.get("Memory") or 0), int(host.get("MemorySwap") or 0)
    # We promise memory and swap to be one figure: where they differ (somebody gave it swap),
    # neither is what was asked for, and 0 = unlimited makes that seen. A kernel without swap
    # accounting reports -1 whatever was asked.
    as_promised = memory == swap or not swap_limited
    return Limits(
        cpu_millicores=int(host.get("NanoCpus") or 0) // 1_000_000,
        memory_bytes=memory if as_promised else 0,
        pids=int(host.get("PidsLimit") or 0),
    )


def _restart_policy(host: Json) -> str:
    return str((host.get("RestartPolicy") or {}).get("Name", ""))


def _aliases(container_id: str, endpoint: Json) -> tuple[str, ...]:
    # Engines before 25 add the short id to every container's aliases.
    return tuple(a for a in endpoint.get("Aliases") or () if a != container_id[:12])


def _moment(text: str | None) -> str:
    # Year 1 is the engine's "never".
    return "" if text is None or text.startswith("0001-") else text


def network_state(raw: Json) -> NetworkState:
    """From GET /networks/{id}, or /networks (then without containers)."""
    configs = (raw.get("IPAM") or {}).get("Config") or []
    return NetworkState(
        id=raw["Id"],
        name=raw["Name"],
        owner=owner_of(raw.get("Labels")),
        subnet=configs[0].get("Subnet", "") if configs else "",
        container_ids=tuple(sorted(raw.get("Containers") or ())),
    )


def subnets(raw: Json) -> tuple[str, ...]:
    """All subnets of a network."""
    configs = (raw.get("IPAM") or {}).get("Config") or []
    return tuple(config["Subnet"] for config in configs if config.get("Subnet"))


def volume_state(raw: Json) -> VolumeState:
    """From GET /volumes/{name}. Not CreatedAt, which is when its folder was last changed."""
    return VolumeState(name=raw["Name"], owner=owner_of(raw.get("Labels")))


def image_state(reference: str, raw: Json) -> ImageState:
    """From GET /images/{name}/json."""
    digests = raw.get("RepoDigests") or []
    return ImageState(
        reference=reference,
        id=raw["Id"],
        digest=digests[0].partition("@")[2] if digests else "",
        size_bytes=int(raw.get("Size", 0)),
    )
