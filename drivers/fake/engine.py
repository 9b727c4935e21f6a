"""The world behind the fake container runtime: what exists, what others do to it, what is told.

Tests act on it as an outsider would (kill, rename, remove ...); drivers/fake/containers.py acts on
it as the driver.
"""

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from controlplane.errors import ControlPlaneError, DriverUnavailableError, UnderWayError
from drivers.containers import (
    LABEL_INSTANCE,
    ContainerSpec,
    ContainerState,
    Limits,
    NetworkState,
    Owner,
    OwnerChanged,
    VolumeState,
)

MOMENT = "2026-01-01T00:00:00Z"
"""When everything in the fake happens: time isn't its subject."""
BLANK = ContainerState(
    id="",
    name="",
    owner=None,
    digest="",
    image="",
    image_id="",
    running=True,
    paused=False,
    restarting=False,
    exit_code=0,
    oom_killed=False,
    restart_count=0,
    started_at=MOMENT,
    finished_at="",
    limits=Limits(0, 0, 0),
    networks={},
)
"""A container that runs, and is nobody's: every other is made of it with `replace`."""


class CrashError(BaseException):
    """The control plane "dies" here. A BaseException, so that nothing on the way handles it."""


@dataclass(slots=True)
class Container:
    """A container, and what it was made from."""

    state: ContainerState
    spec: ContainerSpec | None
    secret_env: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[str, ...] = ()
    """Volumes of one that isn't ours."""
    starts: int = 0
    """How often its process began: tells a restart from a correction in place."""
    told: dict[str, int] = field(default_factory=dict)
    """Settings that its process holds in memory, and only there."""
    addresses: dict[str, str] = field(default_factory=dict)
    """By id of a network: the address it keeps there over restarts."""


class FakeEngine:
    """Everything by id or name, in the open: tests look at it, and break it."""

    def __init__(self, instance: str = "fake") -> None:
        self.instance = instance
        self.containers: dict[str, Container] = {}
        self.networks: dict[str, NetworkState] = {}
        self.volumes: dict[str, VolumeState] = {}
        self._on_volume_gone: list[Callable[[str], None]] = []
        self._on_start: list[Callable[[Container], None]] = []
        self.images: dict[str, str] = {}
        """reference -> id"""
        self.pulling: set[str] = set()
        """Images that are being pulled, until they are taken out."""
        self.routes: set[str] = {"172.17.0.0/16"}
        self.crashing: dict[str, int] = {}
        """Image -> exit code with which its process ends as soon as it is started."""
        self.writes: Counter[str] = Counter()
        """Changes by verb; a call that found nothing to do counts nothing."""
        self.away = False
        self._listeners: set[asyncio.Queue[OwnerChanged]] = set()
        self._failures: dict[str, list[tuple[ControlPlaneError, bool]]] = {}
        self._crash_in: int | None = None
        self._serial = 0

    # -- faults

    def fail_next(self, verb: str, error: ControlPlaneError, *, reply_lost: bool = False) -> None:
        """The next call of `verb` (a method of Containers) raises `error`: before it does
        anything, or (reply_lost) after its effect."""
        self._failures.setdefault(verb, []).append((error, reply_lost))

    def crash_after(self, changes: int) -> None:
        """Raise CrashError instead of the change that follows the next `changes` ones."""
        self._crash_in = changes

    def engine_down(self) -> None:
        """Calls raise DriverUnavailableError; containers run on."""
        self.away = True

    def engine_up(self) -> None:
        self.away = False
        self.tell(None, "connected")

    # -- what others do behind our back; by container name

    def kill(self, name: str) -> None:
        """As `docker kill`: dead, and not restarted by the engine."""
        self.set_state(name, "container die", running=False, paused=False, exit_code=137)

    def crash(self, name: str, exit_code: int = 1) -> None:
        """Its process ends by itself; the engine restarts it."""
        found = self.by_name(name)
        self.begin(found)
        self.set_state(
            name,
            "container die",
            exit_code=exit_code,
            restart_count=found.state.restart_count + 1,
        )

    def restart_loop(self, name: str, exit_code: int = 1) -> None:
        """Its process keeps ending; the engine waits to restart it."""
        count = self.by_name(name).state.restart_count + 5
        self.set_state(
            name,
            "container die",
            running=False,
            restarting=True,
            exit_code=exit_code,
            restart_count=count,
        )

    def pause(self, name: str) -> None:
        self.set_state(name, "container pause", paused=True)

    def rename(self, name: str, new_name: str) -> None:
        self.set_state(name, "container rename", name=new_name)

    def update(self, name: str, limits: Limits) -> None:
        self.set_state(name, "container update", limits=limits)

    def forbid_restarts(self, name: str) -> None:
        """As `docker update --restart=no`."""
        self.set_state(name, "container update", restarts=False)

    def remove(self, name: str) -> None:
        found = self.by_name(name)
        del self.containers[found.state.id]
        self.tell(found.state.owner, "container destroy")

    def break_removal(self, name: str) -> None:
        """As a `docker rm --force` that the power was lost in."""
        self.set_state(name, "container die", running=False, dead=True)

    def disconnect(self, name: str, network: str) -> None:
        found = self.by_name(name)
        self.leave(found, network)
        self.tell(found.state.owner, "network disconnect")

    def leave(self, container: Container, network: str) -> None:
        """It is in that network no more, and keeps no address there."""
        container.addresses.pop(container.state.network_ids.get(network, ""), None)
        container.state = without_network(container.state, network)

    def remove_network(self, name: str) -> None:
        """By force: containers keep an endpoint of a network that is gone."""
        for network in [n for n in self.networks.values() if n.name == name]:
            del self.networks[network.id]
            self.tell(network.owner, "network destroy")

    def remove_volume(self, name: str) -> None:
        volume = self.volumes.pop(name)
        for forget in self._on_volume_gone:
            forget(name)
        self.tell(volume.owner, "volume destroy")

    def when_volume_goes(self, forget: Callable[[str], None]) -> None:
        """Call this with the name of each volume that is removed: what was on it is gone."""
        self._on_volume_gone.append(forget)

    def when_it_starts(self, read: Callable[[Container], None]) -> None:
        """Call this with each container whose process begins: what it reads, it reads then."""
        self._on_start.append(read)

    def begin(self, container: Container) -> None:
        """Its process begins, and knows nothing of an earlier one."""
        container.starts += 1
        container.told = {}
        for read in self._on_start:
            read(container)

    def add_foreign(
        self,
        name: str,
        labels: Mapping[str, str] | None = None,
        *,
        mounts: tuple[str, ...] = (),
    ) -> ContainerState:
        """Somebody else's container."""
        state = replace(
            BLANK,
            id=self.new_id(),
            name=name,
            image="foreign",
            image_id="foreign",
            labels=labels or {},
        )
        self.containers[state.id] = Container(state, None, mounts=mounts)
        return state

    def add_image(self, reference: str) -> None:
        self.images[reference] = "sha256:" + self.new_id()

    def pull_image(self, reference: str) -> None:
        if reference in self.pulling:
            message = f"image '{reference}' is being pulled"
            raise UnderWayError(message, reason="Pulling", look_again_s=2.0)
        self.count("pull_image")
        self.add_image(reference)

    # -- what the driver side needs

    def enter(self, verb: str) -> ControlPlaneError | None:
        """Called first by each verb: raises what is due before it, returns what is due after."""
        if self.away:
            raise DriverUnavailableError("docker", f"cannot {verb}: the engine does not answer")
        due = self._failures.get(verb)
        if not due:
            return None
        error, reply_lost = due.pop(0)
        if not reply_lost:
            raise error
        return error

    def count(self, verb: str) -> None:
        """Called right before each change."""
        if self._crash_in is not None:
            if self._crash_in == 0:
                self._crash_in = None
                raise CrashError(verb)
            self._crash_in -= 1
        self.writes[verb] += 1

    def by_name(self, name: str) -> Container:
        for container in self.containers.values():
            if container.state.name == name:
                return container
        raise KeyError(name)

    def has_name(self, name: str) -> bool:
        return any(c.state.name == name for c in self.containers.values())

    def is_ours(self, state: ContainerState) -> bool:
        return state.owner is not None and state.labels.get(LABEL_INSTANCE) == self.instance

    def network_named(self, name: str) -> NetworkState | None:
        return next((n for n in self.networks.values() if n.name == name), None)

    def set_state(self, name: str, what: str, /, **changes: object) -> None:
        found = self.by_name(name)
        found.state = replace(found.state, **changes)  # type: ignore[arg-type]  # test-side sugar
        self.tell(found.state.owner, what)

    def new_id(self) -> str:
        self._serial += 1
        return f"{self._serial:064x}"

    def address_in(self, network: NetworkState) -> str:
        """One that no container has or keeps; the first is the gateway's."""
        taken = {each.addresses.get(network.id) for each in self.containers.values()}
        hosts = ipaddress.ip_network(network.subnet).hosts()
        next(hosts)
        return next(str(host) for host in hosts if str(host) not in taken)

    def tell(self, owner: Owner | None, what: str) -> None:
        if owner is not None or what == "connected":
            for listener in self._listeners:
                listener.put_nowait(OwnerChanged(owner, what))

    def listen(self) -> asyncio.Queue[OwnerChanged]:
        listener: asyncio.Queue[OwnerChanged] = asyncio.Queue()
        listener.put_nowait(OwnerChanged(None, "connected"))
        self._listeners.add(listener)
        return listener

    def unlisten(self, listener: asyncio.Queue[OwnerChanged]) -> None:
        self._listeners.discard(listener)


def without_network(state: ContainerState, network: str) -> ContainerState:
    return replace(
        state,
        networks={n: v for n, v in state.networks.items() if n != network},
        network_ids={n: v for n, v in state.network_ids.items() if n != network},
        aliases={n: v for n, v in state.aliases.items() if n != network},
    )


def with_network(
    state: ContainerState, network: NetworkState, address: str, aliases: tuple[str, ...]
) -> ContainerState:
    return replace(
        state,
        networks={**state.networks, network.name: address},
        network_ids={**state.network_ids, network.name: network.id},
        aliases={**state.aliases, network.name: aliases},
    )
