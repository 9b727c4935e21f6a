"""What a VpnNetwork's gateway should be, and whether it is: from the record, its peers and what is
seen. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from controlplane.plan import Want
from drivers.containers import ContainerState
from drivers.wireguard import PORT, GatewayConfig, InterfaceState, Peer
from reconcilers._vpnleases import Room, asked_by, leases, served
from resources._vpnlease import VpnLease
from resources.vpnnetwork import VpnNetwork

_OUT: Final = ("Disabled", "Removed")


@dataclass(frozen=True, slots=True)
class VpnNetworkSeen:
    """What runs of it."""

    now: datetime
    container: ContainerState | None = None
    image_here: bool = True
    network_id: str | None = None
    network_subnet: str = ""
    files_here: bool = False
    files_version: str | None = None
    """What its files were made from; None: there are none, or somebody changed them."""
    public_key: str | None = None
    """Of its Secret; None: there is none, or it holds no private key."""
    secret_true: bool = False
    """Whether its Secret's public key and revision are right."""
    interface: InterfaceState | None = None
    age_s: float = 0.0


def leases_of(want: Want[VpnNetwork], seen: VpnNetworkSeen) -> tuple[VpnLease, ...]:
    """What each of its peers is given."""
    reserved = ((seen.network_subnet, "the namespace's network"),) if seen.network_subnet else ()
    room = Room(want.record.spec.subnet, want.record.gateway, seen.public_key, reserved)
    return leases(room, want.record.status.peers, asked_by(want.dependents))


def config_of(want: Want[VpnNetwork], seen: VpnNetworkSeen) -> GatewayConfig:
    """What the gateway is to do."""
    spec = want.record.spec
    made = leases_of(want, seen)
    own = f"{want.record.gateway}/{spec.subnet.rpartition('/')[2]}"
    peers = served(made)
    alone = {f"{lease.address}/32" for lease in made if lease.address is not None}
    return GatewayConfig(
        address=own,
        mtu=spec.mtu,
        peers=peers,
        allow=tuple(dict.fromkeys((seen.network_subnet, *spec.routes))),
        between=spec.between_peers,
        via=tuple(sorted({ip for peer in peers for ip in peer.allowed_ips} - alone)),
    )


def as_wanted(seen: VpnNetworkSeen, config: GatewayConfig) -> bool:
    """Whether the live interface is what it should be."""
    found = seen.interface
    return (
        found is not None
        and found.intact
        and found.public_key == seen.public_key
        and found.listen_port == PORT
        and found.settings == config.settings
        and tuple(each.peer for each in found.peers) == config.peers
    )


def as_seen(
    made: Sequence[VpnLease], before: Sequence[VpnLease], seen: VpnNetworkSeen
) -> tuple[VpnLease, ...]:
    """The leases, with what became of each in the gateway. `before` is what was told last."""
    live = tuple(each.peer for each in seen.interface.peers) if seen.interface else ()
    stray = {each.public_key for each in live} - {each.public_key for each in served(made)}
    out = {lease.uid for lease in before if lease.state in _OUT}
    return tuple(
        _as_seen(lease, live, unclear=bool(stray) and lease.uid not in out) for lease in made
    )


def _as_seen(lease: VpnLease, live: Sequence[Peer], *, unclear: bool) -> VpnLease:
    if lease.state in ("Serving", "Pending"):
        wanted = served((lease,))
        serves = bool(wanted) and wanted[0] in live
        return lease.model_copy(update={"state": "Serving" if serves else "Pending"})
    if lease.state in _OUT and any(each.public_key == lease.public_key for each in live):
        # until it is seen to be out
        return lease.model_copy(update={"state": "Pending"})
    if lease.state in _OUT and unclear:
        # A key that is nobody's now may be its former one. Its present one was not let in, and
        # were it paused now it would be, as what it had.
        return lease.model_copy(update={"state": "Pending", "public_key": None})
    return lease


def endpoint_of(want: Want[VpnNetwork]) -> str | None:
    wanted = want.record.spec.endpoint
    if ":" in wanted:
        return wanted
    return f"{wanted}:{want.ports[0]}" if want.ports else None


def routes_of(record: VpnNetwork, seen: VpnNetworkSeen) -> tuple[str, ...]:
    """What clients send through the tunnel."""
    own = (record.spec.subnet, *((seen.network_subnet,) if seen.network_subnet else ()))
    return tuple(dict.fromkeys((*own, *record.spec.routes)))
