"""Who has which address and which networks in a VpnNetwork. Pure.

One allocator, run by the VpnNetwork's own passes alone, which come one at a time: so no two peers
are ever given the same, however many are made at once. What was given stays, in the network's
status; who comes second is told who has it. Peers of one network are of one namespace, so names
may be named.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from controlplane.plan import Dependent
from drivers.wireguard import Peer
from resources._vpnlease import VpnLease


@dataclass(frozen=True, slots=True)
class Asked:
    """What one VpnPeer asks for."""

    name: str
    uid: str
    address: str | None = None
    allowed_ips: tuple[str, ...] = ()
    public_key: str | None = None
    """None: it has none yet."""
    hint: str | None = None
    """The address it had, if its network was made anew."""
    enabled: bool = True
    paused: bool = False
    deleting: bool = False

    @property
    def frozen(self) -> bool:
        """What it has stays as it is, whatever it asks for; deletion works nevertheless."""
        return self.paused and not self.deleting

    @property
    def silent(self) -> bool:
        """It is given nothing more."""
        return self.paused or self.deleting


@dataclass(frozen=True, slots=True)
class Room:
    """What there is to give."""

    subnet: str
    gateway: str
    public_key: str | None
    """The gateway's own key, which no peer may have."""
    reserved: tuple[tuple[str, str], ...] = ()
    """Networks that no peer may have behind it, each with what it is."""


def asked_by(dependents: Iterable[Dependent]) -> tuple[Asked, ...]:
    """The VpnPeers among those that name the network, oldest first."""
    peers = [each for each in dependents if each.kind == "VpnPeer"]
    peers.sort(key=lambda each: (each.created, each.name, each.uid))
    return tuple(_asked(each) for each in peers)


def _asked(peer: Dependent) -> Asked:
    spec = peer.spec
    own = spec.get("publicKey") or peer.status.get("publicKey")
    return Asked(
        peer.name,
        peer.uid,
        spec.get("address"),
        tuple(spec.get("allowedIPs") or ()),
        None if own is None else str(own),
        peer.status.get("address"),
        bool(spec.get("enabled", True)),
        bool(spec.get("paused", False)),
        peer.deleting,
    )


def leases(room: Room, before: Sequence[VpnLease], asked: Sequence[Asked]) -> tuple[VpnLease, ...]:
    """A lease for each that asks, in the order of their names; `before` is what was given so far.

    First those that have something keep it, then addresses asked for by number, then the lowest
    free ones; always the oldest record first.
    """
    had = {lease.uid: lease for lease in before}
    given = _Given(room)
    for peer in asked:
        given.keep(peer, had.get(peer.uid))
    for peer in asked:
        given.complete(peer)
    fresh = [peer for peer in asked if peer.address is None and given.wants_more(peer)]
    for peer in fresh:
        given.give_again(peer)
    for peer in fresh:
        given.give_lowest(peer)
    made = [given.lease(peer, had.get(peer.uid)) for peer in asked]
    return tuple(sorted((lease for lease in made if lease is not None), key=lambda each: each.name))


def served(made: Iterable[VpnLease]) -> tuple[Peer, ...]:
    """Whom the gateway lets in, sorted by key."""
    peers = [
        Peer(lease.public_key, tuple(sorted((f"{lease.address}/32", *lease.allowed_ips))))
        for lease in made
        if lease.address is not None
        and lease.public_key is not None
        and lease.state not in ("Disabled", "Removed")
    ]
    return tuple(sorted(peers, key=lambda each: each.public_key))


@dataclass(slots=True)
class _Given:
    """What is given away so far in one computation."""

    room: Room
    addresses: dict[str, str] = field(default_factory=dict)
    """Address -> uid."""
    keys: dict[str, str] = field(default_factory=dict)
    """Public key -> uid."""
    networks: list[tuple[str, str]] = field(default_factory=list)
    """(network, uid)."""
    names: dict[str, str] = field(default_factory=dict)
    """uid -> name."""
    refused: dict[str, list[str]] = field(default_factory=dict)
    """uid -> what it didn't get, and why."""

    def keep(self, peer: Asked, had: VpnLease | None) -> None:
        """What it has, and still asks for."""
        self.names[peer.uid] = peer.name
        if had is None:
            return
        frozen = peer.frozen
        if had.address is not None and (
            frozen or (peer.address in (None, had.address) and self._fits(had.address) is None)
        ):
            self.addresses[had.address] = peer.uid
        if had.public_key is not None and (frozen or had.public_key == peer.public_key):
            self.keys.setdefault(had.public_key, peer.uid)
        for network in had.allowed_ips:
            if frozen or network in peer.allowed_ips:
                self.networks.append((network, peer.uid))

    def complete(self, peer: Asked) -> None:
        """What it asks for by name: an address, networks, its key."""
        if peer.silent:
            return
        if peer.address is not None and self.wants_more(peer):
            self._give_address(peer, peer.address)
        mine = [network for network, uid in self.networks if uid == peer.uid]
        for network in peer.allowed_ips:
            if network not in mine:
                self._give_network(peer, network)
        if peer.public_key is not None and self.keys.get(peer.public_key) != peer.uid:
            self._give_key(peer, peer.public_key)

    def wants_more(self, peer: Asked) -> bool:
        """Whether it has no address yet, and may be given one."""
        return not peer.silent and peer.uid not in self.addresses.values()

    def give_again(self, peer: Asked) -> None:
        """What it had from a network of this name before."""
        if peer.hint is not None and self._fits(peer.hint) is None:
            self.addresses.setdefault(peer.hint, peer.uid)

    def give_lowest(self, peer: Asked) -> None:
        if not self.wants_more(peer):
            return
        for host in IPv4Network(self.room.subnet).hosts():
            address = str(host)
            if address != self.room.gateway and address not in self.addresses:
                self.addresses[address] = peer.uid
                return
        self._refuse(peer, f"{self.room.subnet} has no free address")

    def lease(self, peer: Asked, had: VpnLease | None) -> VpnLease | None:
        """Its lease; None: it never had anything, and gets nothing now."""
        if had is None and peer.silent:
            return None
        address = next((a for a, uid in self.addresses.items() if uid == peer.uid), None)
        if peer.frozen and had is not None:
            return had
        key = peer.public_key if self.keys.get(peer.public_key or "") == peer.uid else None
        before: Mapping[str, Any] = {} if had is None else had.model_dump(by_alias=False)
        return VpnLease.model_validate(
            {
                **before,
                "name": peer.name,
                "uid": peer.uid,
                "address": address,
                "allowed_ips": tuple(
                    network for network in peer.allowed_ips if (network, peer.uid) in self.networks
                ),
                "public_key": key,
                "state": self._state(peer, address, key),
                "message": self._told(peer),
            }
        )

    def _state(self, peer: Asked, address: str | None, key: str | None) -> str:
        """What is to be; whether it is, is seen later."""
        if peer.deleting:
            return "Removed"
        if not peer.enabled:
            return "Disabled"
        if address is None or (key is None and peer.public_key is not None):
            return "Refused"
        return "Pending" if key is None else "Serving"

    # --- each thing asked for ---

    def _give_address(self, peer: Asked, address: str) -> None:
        why = self._fits(address)
        holder = self.addresses.get(address)
        if why is None and holder is not None:
            why = f"address {address} is VpnPeer '{self.names[holder]}''s; choose another"
        if why is None:
            self.addresses[address] = peer.uid
        else:
            self._refuse(peer, why)

    def _fits(self, address: str) -> str | None:
        """Why nobody may have the address; None: somebody may."""
        net = IPv4Network(self.room.subnet)
        found = IPv4Address(address)
        if found not in net or found in (net.network_address, net.broadcast_address):
            return f"address {address} is not one of {self.room.subnet}'s; choose one that is"
        if address == self.room.gateway:
            return f"address {address} is the gateway's own; choose another"
        return None

    def _give_network(self, peer: Asked, network: str) -> None:
        if self._in_the_way(peer, network) is None:
            self.networks.append((network, peer.uid))

    def _in_the_way(self, peer: Asked, network: str) -> str | None:
        """Why it can't have the network; None: it can."""
        wanted = IPv4Network(network)
        for reserved, what in ((self.room.subnet, "the tunnel's network"), *self.room.reserved):
            if wanted.overlaps(IPv4Network(reserved)):
                return f"{network} overlaps {reserved}, {what}; leave it out"
        for taken, uid in sorted(self.networks):
            if uid != peer.uid and wanted.overlaps(IPv4Network(taken)):
                holder = self.names[uid]
                return f"{network} overlaps {taken} of VpnPeer '{holder}'; leave it out"
        return None

    def _told(self, peer: Asked) -> str:
        """What it didn't get. For networks looked up at the end: who else gets one by then may
        be in the way too, and the same again should tell the same."""
        missing = [n for n in peer.allowed_ips if (n, peer.uid) not in self.networks]
        ways = [] if peer.silent else [self._in_the_way(peer, network) for network in missing]
        refused = self.refused.get(peer.uid, ())
        return "; ".join((*refused, *(way for way in ways if way is not None)))

    def _give_key(self, peer: Asked, key: str) -> None:
        if key == self.room.public_key:
            self._refuse(peer, "its public key is the gateway's own; make a key pair of its own")
        elif (holder := self.keys.get(key)) is not None:
            self._refuse(
                peer,
                f"its public key is VpnPeer '{self.names[holder]}''s; each needs a key pair of "
                "its own",
            )
        else:
            self.keys[key] = peer.uid

    def _refuse(self, peer: Asked, why: str) -> None:
        self.refused.setdefault(peer.uid, []).append(why)
