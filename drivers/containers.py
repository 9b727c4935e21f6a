"""Value types and the Protocol of a container runtime; drivers/docker.py is the real one.

Deliberately narrow: there is no way here to say privileged, host namespaces or an arbitrary host
path, so no record can ask for them. A few capabilities, one device and network sysctls exist for
the platform's own services and for tunnels alone: the driver refuses them from any other owner.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

LABEL_PREFIX: Final = "bunker.cloud/"
LABEL_UID: Final = LABEL_PREFIX + "uid"
LABEL_KIND: Final = LABEL_PREFIX + "kind"
LABEL_NAMESPACE: Final = LABEL_PREFIX + "namespace"
LABEL_NAME: Final = LABEL_PREFIX + "name"
LABEL_DIGEST: Final = LABEL_PREFIX + "digest"
LABEL_EPOCH: Final = LABEL_PREFIX + "epoch"
LABEL_INSTANCE: Final = LABEL_PREFIX + "instance"
"""Which installation made it: several may share an engine (tests do)."""
LABEL_SLOT: Final = LABEL_PREFIX + "slot"
"""Which replica it is; set by kinds that run several."""
LABEL_RESTARTED: Final = LABEL_PREFIX + "restarted-at"
"""Which restart it was made for: the time as its record has it."""
LABEL_CONTAINER: Final = LABEL_PREFIX + "container"
"""The name a container was made under: a renamed one is found again by it and its uid."""
SECRETS_PATH: Final = "/run/secrets"
"""Where a container finds its secret files."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Which record an outside object belongs to."""

    uid: str
    kind: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Limits:
    """Docker's --cpus, --memory (and equal --memory-swap) and --pids-limit; updatable in place."""

    cpu_millicores: int
    memory_bytes: int
    pids: int = 512


@dataclass(frozen=True, slots=True)
class NetworkAttachment:
    network: str
    """Docker name of the network."""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VolumeMount:
    volume: str
    """Docker name of a named volume."""
    path: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class PublishedPort:
    container_port: int
    host_port: int
    address: str = "127.0.0.1"
    protocol: Literal["tcp", "udp"] = "tcp"
    """UDP for name servers and tunnels."""


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """What a container shall be. Everything but limits, networks, name, notes and run state is
    covered by `digest`: another digest needs a new container."""

    name: str
    owner: Owner
    image: str
    digest: str
    """Schema version and hash of what needs a new container, e.g. `v1:3f2a...`."""
    limits: Limits
    command: tuple[str, ...] = ()
    """Replaces the image's CMD; empty keeps it."""
    former_commands: tuple[tuple[str, ...], ...] = ()
    """What earlier releases gave as `command` to the same end: who was made with one stays."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Plain values only; secret ones are files, or the `secret_env` of ensure_container, over
    which these win."""
    networks: tuple[NetworkAttachment, ...] = ()
    """Only these, and never the engine's default bridge. None at all: no network; going from
    none to some needs a new container."""
    volumes: tuple[VolumeMount, ...] = ()
    secrets_dir: str | None = None
    """Host folder (under the secrets root) mounted read-only at /run/secrets."""
    ports: tuple[PublishedPort, ...] = ()
    user: str = ""
    read_only_root: bool = False
    tmpfs: tuple[str, ...] = ()
    """Paths, each with optional `:size=64m,mode=1777,uid=..,gid=..,exec`."""
    stop_timeout_s: int = 10
    hostname: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Extra labels under bunker.cloud/ (e.g. replica)."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Labels as well, of what it was made for: they stay as they are when that changes, and need
    no new container then."""
    keep_caps: tuple[str, ...] = ()
    """Of Docker's default capabilities, those an entrypoint needs to drop privileges
    (CHOWN, SETUID, ...); everything else is dropped. Set by our own kinds, never by a user."""
    capabilities: tuple[str, ...] = ()
    """Beyond `keep_caps`, what a tunnel or a mail server needs (NET_ADMIN, NET_RAW). As `devices`
    and `sysctls`: for services of the platform and tunnels alone; refused from other owners."""
    devices: tuple[str, ...] = ()
    """Host devices it may open: `/dev/net/tun`."""
    sysctls: Mapping[str, str] = field(default_factory=dict)
    """Kernel settings of its own network namespace, all under `net.ipv4.`."""


@dataclass(frozen=True, slots=True)
class ContainerState:
    """What a container is, as inspected: only what we compare or tell.

    `running` is true for a paused one, and false for one that waits to be restarted.
    """

    id: str
    name: str
    owner: Owner | None
    digest: str
    image: str
    image_id: str
    running: bool
    paused: bool
    restarting: bool
    exit_code: int
    oom_killed: bool
    restart_count: int
    started_at: str
    finished_at: str
    limits: Limits
    networks: Mapping[str, str]
    """Docker name of each network it is in -> its IPv4 address there ("" while stopped)."""
    network_ids: Mapping[str, str] = field(default_factory=dict)
    """Docker name of each network it is in -> that network's id as the container knows it."""
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    error: str = ""
    """The engine's own start error, if any."""
    dead: bool = False
    """Its removal was broken off (a power loss, files in use): it never starts again."""
    restarts: bool = True
    """The engine starts it again when it ends, or with the host."""
    created_at: str = ""


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    name: str
    owner: Owner
    subnet: str
    """CIDR, from our own pool."""


@dataclass(frozen=True, slots=True)
class NetworkState:
    id: str
    name: str
    owner: Owner | None
    subnet: str
    container_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VolumeSpec:
    name: str
    owner: Owner


@dataclass(frozen=True, slots=True)
class VolumeState:
    name: str
    owner: Owner | None


@dataclass(frozen=True, slots=True)
class ImageState:
    reference: str
    id: str
    digest: str
    """Registry digest once pulled; "" for images built here."""
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class EngineInfo:
    version: str
    cpus: int
    memory_bytes: int
    root_dir: str


@dataclass(frozen=True, slots=True)
class OwnerChanged:
    """Something of this owner changed outside; `owner` None: unknown, everything may have
    (reconnect or the 60 s relist)."""

    owner: Owner | None
    what: str = ""
    """e.g. `container die`; for logs and metrics."""


class Containers(Protocol):
    """A container runtime. Every call has a timeout; vendor errors arrive as errors.py types:
    DriverUnavailableError (engine away), RetryableError (its reason says what; a person may have
    to help), ConflictError (what was observed is gone: observe again), TerminalError."""

    async def observe_engine(self) -> EngineInfo: ...

    async def observe_container(self, name: str, owner_uid: str, /) -> ContainerState | None:
        """By name and owner uid, else by the name it was made under (a renamed one is still
        ours: its state then has another name). None if there is none of this owner."""
        ...

    async def list_containers(self, owner_uid: str | None = None, /) -> tuple[ContainerState, ...]:
        """All of this installation's containers, or one owner's, running or not."""
        ...

    async def ensure_container(
        self, spec: ContainerSpec, /, *, secret_env: Mapping[str, str] | None = None
    ) -> ContainerState:
        """Create it (not started) if absent; correct name, limits, networks and that it is started
        again in place.
        One just made is told as asked for, not looked at: `image_id` and `created_at` may be empty.
        Raises RetryableError with reason NameTaken (one of that name is somebody else's),
        DigestDiffers (replacing is a step of its own: delete, then ensure), NetworkMissing,
        VolumeMissing or VolumeInUse (by another record's container, running or not; of a volume
        that isn't ours, by anybody's that runs);
        TerminalError if the spec asks for what no container may have."""
        ...

    async def start_container(self, container_id: str, /) -> None:
        """Start, or unpause. A running one: no effect."""
        ...

    async def stop_container(self, container_id: str, /, *, timeout_s: int) -> None:
        """Stop, also a paused one. A stopped one: no effect."""
        ...

    async def pause_container(self, container_id: str, /) -> None:
        """Freeze it (start_container thaws it). A paused one: no effect."""
        ...

    async def delete_container(self, container_id: str, /, *, stop_timeout_s: int = 10) -> None:
        """Stop gracefully, remove with its anonymous volumes. Absent: success. Raises
        RetryableError (reason NotOurs) for a container of somebody else."""
        ...

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
        """Run argv in it; (exit code, output, stdout and stderr as they came). Raises
        RetryableError after timeout_s (CommandTimedOut; the process may then live on), or for
        more than 4 MiB of output (OutputTooLong).

        `apart`: it may take minutes and holds up nothing else; whoever is cancelled is let go at
        once, and it goes on."""
        ...

    async def observe_network(self, name: str, /) -> NetworkState | None: ...

    async def list_networks(self) -> tuple[NetworkState, ...]: ...

    async def ensure_network(self, spec: NetworkSpec, /) -> NetworkState:
        """Single-flight: names are not unique on every engine. Duplicates are resolved by
        keeping the oldest with our label."""
        ...

    async def delete_network(self, name: str, /) -> None: ...

    async def observe_volume(self, name: str, /) -> VolumeState | None:
        """Also one that isn't ours: it has no owner then."""
        ...

    async def list_volumes(self) -> tuple[VolumeState, ...]: ...

    async def ensure_volume(self, spec: VolumeSpec, /) -> VolumeState: ...

    async def delete_volume(self, name: str, /) -> None: ...

    async def observe_image(self, reference: str, /) -> ImageState | None: ...

    async def ensure_image(self, reference: str, /) -> ImageState:
        """Present already: that. Else it is pulled: UnderWayError (Pulling) if that takes longer
        than a moment, and RetryableError (ImageNotFound, PullFailed) if it can't be."""
        ...

    async def observe_routes(self) -> tuple[str, ...]:
        """CIDRs the host or the engine already uses, so that no subnet collides."""
        ...

    def events(self) -> AsyncIterator[OwnerChanged]:
        """Endless: reconnects by itself; OwnerChanged(None) after each connect. While the engine
        is away the iterator waits."""
        ...

    async def aclose(self) -> None: ...
