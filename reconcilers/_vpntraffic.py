"""What is told of a peer's handshakes and traffic: seldom and rounded. Pure.

Counters of a busy tunnel change every moment; told as they are, they would write the store as
often as somebody looks.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from drivers.wireguard import InterfaceState, PeerState
from resources._vpnlease import VpnLease

TELL_S: Final = 60
"""At most this often; what didn't change by then isn't told either."""
CONNECTED_S: Final = 180
"""WireGuard's REJECT_AFTER_TIME: a session without a new handshake is dead after that
(https://www.wireguard.com/papers/wireguard.pdf, section 6.1)."""
UNSEEN: Final = {
    "connected": False,
    "last_handshake": None,
    "received_bytes": 0,
    "sent_bytes": 0,
}


def due(told_at: str | None, now: datetime) -> bool:
    """Whether it may be told anew; what lies in the future was told by another clock."""
    if told_at is None:
        return True
    past_s = (now - datetime.fromisoformat(told_at)).total_seconds()
    return past_s >= TELL_S or past_s < 0


def minute(moment: datetime) -> str:
    """A moment without its seconds, RFC 3339."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:00Z")


def with_traffic(
    leases: Sequence[VpnLease], interface: InterfaceState | None, now: datetime
) -> tuple[VpnLease, ...]:
    """The leases with what is seen of each now."""
    seen = {each.peer.public_key: each for each in interface.peers} if interface else {}
    return tuple(_with(lease, seen.get(lease.public_key or ""), now) for lease in leases)


def _with(lease: VpnLease, state: PeerState | None, now: datetime) -> VpnLease:
    if state is None or state.handshake_at == 0:
        return lease.model_copy(update=UNSEEN)
    shaken = datetime.fromtimestamp(state.handshake_at, UTC)
    return lease.model_copy(
        update={
            "connected": (now - shaken).total_seconds() <= CONNECTED_S,
            "last_handshake": minute(shaken),
            "received_bytes": rounded(state.received_bytes),
            "sent_bytes": rounded(state.sent_bytes),
        }
    )


def rounded(count: int) -> int:
    """Down to two digits: 12,345 is 12,000."""
    step = int(10 ** max(0, len(str(count)) - 2))
    return count // step * step
