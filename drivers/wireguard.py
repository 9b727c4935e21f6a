"""A WireGuard gateway: what its container is to do, and what it does.

The container runs the image `manifests/images/wireguard`, whose files are written by whoever owns
it (`interface_conf` and `gateway_conf` say what is in them) and whose command `gateway` makes the
live interface equal to them. `wg syncconf` leaves the sessions of unchanged peers alone
(https://git.zx2c4.com/wireguard-tools/about/src/man/wg.8). The private key stays in the container.
Deliberately not here: who gets which address.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from controlplane.errors import RetryableError
from drivers.containers import Containers

PORT: Final = 51820
"""UDP, inside the container."""
TIMEOUT_S: Final = 20.0
"""`show` takes 0.06 s and `sync` 0.1 s here; a busy machine may take a hundred times as long."""
INTERFACE_FILE: Final = "wg0.conf"
GATEWAY_FILE: Final = "gateway.conf"
NOT_READY: Final = 1
"""Exit code of `gateway show` while there is no interface yet."""

Mode = Literal["kernel", "wireguard-go"]
_KEY: Final = re.compile(r"[A-Za-z0-9+/]{42}[AEIMQUYcgkosw480]=")
"""32 bytes in base64."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One that may connect: its public key, and the addresses that are its own."""

    public_key: str
    allowed_ips: tuple[str, ...]
    """CIDRs, sorted; no two peers of an interface share an address."""


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """What a gateway is to do."""

    address: str
    """Its own in the tunnel's network, with that network's prefix: `10.99.0.1/24`."""
    mtu: int
    peers: tuple[Peer, ...] = ()
    allow: tuple[str, ...] = ()
    """CIDRs outside the tunnel that peers may reach."""
    between: bool = True
    """Whether peers may reach each other."""
    via: tuple[str, ...] = ()
    """CIDRs behind peers, beyond the tunnel's own network."""

    @property
    def settings(self) -> str:
        """Tells one gateway.conf from another."""
        return hashlib.sha256(gateway_conf(self).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class PeerState:
    """A peer as the live interface has it."""

    peer: Peer
    handshake_at: int
    """Seconds since 1970; 0: never yet."""
    received_bytes: int
    sent_bytes: int


@dataclass(frozen=True, slots=True)
class InterfaceState:
    """The live interface."""

    mode: Mode
    public_key: str
    listen_port: int
    settings: str
    """GatewayConfig.settings of what it was last made from."""
    intact: bool
    """Addresses, routes and firewall are as they were made."""
    peers: tuple[PeerState, ...]
    """Sorted by public key."""


class WireGuard(Protocol):
    """Gateways by the id of their container. Errors arrive as errors.py types."""

    async def observe_interface(self, container_id: str, /) -> InterfaceState | None:
        """None while the container has no interface yet. Raises RetryableError for an answer
        that makes no sense, and what exec_container raises."""
        ...

    async def ensure_interface(self, container_id: str, /) -> None:
        """Make the live interface as its files say. Twice = once."""
        ...


def interface_conf(config: GatewayConfig) -> str:
    """wg0.conf in the form of `wg setconf`, with `{privatekey}` where the key belongs."""
    lines = ["[Interface]", "PrivateKey = {privatekey}", f"ListenPort = {PORT}"]
    for peer in config.peers:
        lines += ["", "[Peer]", f"PublicKey = {peer.public_key}"]
        lines += [f"AllowedIPs = {', '.join(peer.allowed_ips)}"]
    return "\n".join([*lines, ""])


def gateway_conf(config: GatewayConfig) -> str:
    """gateway.conf: one setting a line."""
    lines = [f"address {config.address}", f"mtu {config.mtu}"]
    lines += [f"allow {net}" for net in config.allow]
    lines += [f"via {net}" for net in config.via]
    lines += [f"between {'yes' if config.between else 'no'}"]
    return "\n".join([*lines, ""])


class ContainerWireGuard:
    """The real one: asks and tells the gateway inside its container."""

    def __init__(self, containers: Containers) -> None:
        self._containers = containers

    async def observe_interface(self, container_id: str, /) -> InterfaceState | None:
        code, output = await self._containers.exec_container(
            container_id, ("gateway", "show"), timeout_s=TIMEOUT_S
        )
        if code == NOT_READY:
            return None
        state = parse_show(output) if code == 0 else None
        if state is None:
            raise RetryableError(
                f"cannot read the WireGuard gateway: `gateway show` ended with code {code} and an "
                "answer that makes no sense",
                reason="BadAnswer",
            )
        return state

    async def ensure_interface(self, container_id: str, /) -> None:
        code, output = await self._containers.exec_container(
            container_id, ("gateway", "sync"), timeout_s=TIMEOUT_S
        )
        if code != 0:
            raise RetryableError(
                f"cannot set up the WireGuard gateway: `gateway sync` ended with code {code}: "
                f"{_last_line(output)}",
                reason="SyncFailed",
            )


def parse_show(text: str) -> InterfaceState | None:
    """From what `gateway show` prints; None if that isn't whole."""
    words = [line.split(" ", 1) for line in text.splitlines()]
    if not words or words[-1] != ["end"]:
        return None
    found = {line[0]: line[1] for line in words[:-1] if len(line) == 2 and line[0] != "peer"}
    try:
        public_key, port = found["interface"].split(" ")
        peers = [_peer(line[1]) for line in words if line[0] == "peer"]
        if found["mode"] not in ("kernel", "wireguard-go") or not _KEY.fullmatch(public_key):
            return None
        return InterfaceState(
            mode="kernel" if found["mode"] == "kernel" else "wireguard-go",
            public_key=public_key,
            listen_port=int(port),
            settings=found.get("settings", ""),
            intact=found["intact"] == "yes",
            peers=tuple(sorted(peers, key=lambda each: each.peer.public_key)),
        )
    except (KeyError, ValueError, IndexError):
        return None


def _peer(row: str) -> PeerState:
    """A row of `wg show dump` without its secrets: key, allowed IPs, handshake, received, sent."""
    key, allowed, handshake, received, sent = row.split("\t")
    if not _KEY.fullmatch(key):
        raise ValueError(key)
    ips = () if allowed == "(none)" else tuple(sorted(allowed.split(",")))
    return PeerState(Peer(key, ips), int(handshake), int(received), int(sent))


def _last_line(output: str) -> str:
    """What a command said last, for a person: `wg` names the line it doesn't like, never a key."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it said nothing"
