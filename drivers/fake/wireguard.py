"""WireGuard gateways that exist only in memory, in containers of the fake runtime.

Each reads its files as the image's own command does, when its container starts and when it is
told to; `meddle` is for what somebody does to the live interface behind our back.
"""

import hashlib
from dataclasses import dataclass, field, replace

from controlplane.errors import ConflictError, RetryableError
from drivers.fake.engine import Container, FakeEngine
from drivers.fake.faults import Faults
from drivers.fake.secretfiles import ReadFiles
from drivers.wireguard import (
    GATEWAY_FILE,
    INTERFACE_FILE,
    PORT,
    InterfaceState,
    Mode,
    Peer,
    PeerState,
)
from drivers.wireguard_keys import public_key_of


@dataclass(slots=True)
class _Live:
    """An interface, and which start of its container made it."""

    starts: int
    state: InterfaceState


@dataclass(slots=True)
class FakeWireGuard:
    """`writes` counts calls that changed a live interface."""

    engine: FakeEngine
    read_files: ReadFiles
    mode: Mode = "wireguard-go"
    writes: int = 0
    faults: Faults = field(default_factory=Faults)
    _live: dict[str, _Live] = field(default_factory=dict)

    async def observe_interface(self, container_id: str, /) -> InterfaceState | None:
        self.faults.enter("observe_interface")
        found = self._interface(container_id)
        return None if found is None else found.state

    async def ensure_interface(self, container_id: str, /) -> None:
        self.faults.enter("ensure_interface")
        live = self._interface(container_id)
        if live is None:
            raise RetryableError(
                "cannot set up the WireGuard gateway: there is no interface", reason="SyncFailed"
            )
        wanted = self._from_files(container_id, live.state.peers)
        if wanted is None:
            raise RetryableError(
                "cannot set up the WireGuard gateway: its files are wrong", reason="SyncFailed"
            )
        if wanted != live.state:
            self.engine.count("ensure_interface")
            self.writes += 1
            live.state = wanted

    def live(self, container_id: str) -> InterfaceState | None:
        """What is live, for a test to look at."""
        found = self._interface(container_id)
        return None if found is None else found.state

    # -- what others do behind our back

    def meddle(self, container_id: str, **changes: object) -> None:
        """Somebody changes the live interface."""
        live = self._interface(container_id)
        assert live is not None
        live.state = replace(live.state, **changes)  # type: ignore[arg-type]  # test-side sugar

    def add_peer(self, container_id: str, public_key: str, *allowed_ips: str) -> None:
        """`wg set wg0 peer ... allowed-ips ...`: an address has one peer, the last that took it."""
        live = self._interface(container_id)
        assert live is not None
        others = [_without(each, allowed_ips) for each in live.state.peers
                  if each.peer.public_key != public_key]  # fmt: skip
        made = PeerState(Peer(public_key, tuple(sorted(allowed_ips))), 0, 0, 0)
        self.meddle(container_id, peers=_sorted([*others, made]))

    def remove_peer(self, container_id: str, public_key: str) -> None:
        live = self._interface(container_id)
        assert live is not None
        left = [each for each in live.state.peers if each.peer.public_key != public_key]
        self.meddle(container_id, peers=_sorted(left))

    def shake_hands(
        self, container_id: str, public_key: str, *, at: int, received: int = 0, sent: int = 0
    ) -> None:
        """A client with that key connects and talks."""
        live = self._interface(container_id)
        assert live is not None
        peers = [
            PeerState(each.peer, at, each.received_bytes + received, each.sent_bytes + sent)
            if each.peer.public_key == public_key
            else each
            for each in live.state.peers
        ]
        self.meddle(container_id, peers=_sorted(peers))

    # -- as the image does it

    def _interface(self, container_id: str) -> _Live | None:
        container = self._running(container_id)
        live = self._live.get(container_id)
        if live is None or live.starts != container.starts:
            state = self._from_files(container_id, ())
            if state is None:
                self._live.pop(container_id, None)
                return None
            live = self._live[container_id] = _Live(container.starts, state)
        return live

    def _running(self, container_id: str) -> Container:
        container = self.engine.containers.get(container_id)
        if container is None:
            raise ConflictError("cannot run a command in the container: it is gone")
        if not container.state.running or container.state.paused:
            raise RetryableError(
                "cannot run a command in it: it is not running", reason="WrongState"
            )
        return container

    def _from_files(
        self, container_id: str, before: tuple[PeerState, ...]
    ) -> InterfaceState | None:
        files = self.read_files(container_id) or {}
        conf, gateway = files.get(INTERFACE_FILE), files.get(GATEWAY_FILE)
        if conf is None or gateway is None:
            return None
        sections = conf.decode().split("\n\n")
        own = _values(sections[0])
        if "PrivateKey" not in own:  # `wg setconf` refuses such a file, and the gateway ends
            self.engine.kill(self.engine.containers[container_id].state.name)
            self._running(container_id)
        known = {each.peer.public_key: each for each in before}
        peers = []
        for section in sections[1:]:
            values = _values(section)
            peer = Peer(values["PublicKey"], tuple(sorted(values["AllowedIPs"].split(", "))))
            was = known.get(peer.public_key, PeerState(peer, 0, 0, 0))
            peers.append(replace(was, peer=peer))
        return InterfaceState(
            self.mode,
            public_key_of(own["PrivateKey"]),
            int(own.get("ListenPort", PORT)),
            hashlib.sha256(gateway).hexdigest(),
            intact=True,
            peers=_sorted(peers),
        )


def _values(section: str) -> dict[str, str]:
    pairs = (line.partition(" = ") for line in section.splitlines())
    return {name: value for name, separator, value in pairs if separator}


def _without(state: PeerState, addresses: tuple[str, ...]) -> PeerState:
    left = tuple(each for each in state.peer.allowed_ips if each not in addresses)
    return replace(state, peer=replace(state.peer, allowed_ips=left))


def _sorted(peers: list[PeerState]) -> tuple[PeerState, ...]:
    return tuple(sorted(peers, key=lambda each: each.peer.public_key))
