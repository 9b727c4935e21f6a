"""What is told of handshakes and traffic."""

from datetime import UTC, datetime, timedelta

import pytest

from drivers.wireguard import InterfaceState, Peer, PeerState
from reconcilers._vpntraffic import due, minute, rounded, with_traffic
from resources._vpnlease import VpnLease

NOW = datetime(2026, 1, 1, 12, 30, 15, tzinfo=UTC)
LEASE = VpnLease(name="laptop", uid="1", address="10.99.0.2", public_key="key")


def interface(ago_s: int, received: int = 0, sent: int = 0) -> InterfaceState:
    at = int(NOW.timestamp()) - ago_s
    peer = PeerState(Peer("key", ("10.99.0.2/32",)), at, received, sent)
    return InterfaceState("kernel", "gateway", 51820, "", True, (peer,))


@pytest.mark.parametrize(
    ("count", "told"), [(0, 0), (7, 7), (99, 99), (101, 100), (12_345, 12_000), (999_999, 990_000)]
)
def test_counts_are_rounded_down_to_two_digits(count: int, told: int) -> None:
    assert rounded(count) == told


def test_a_peer_is_connected_for_three_minutes_after_a_handshake() -> None:
    (there,) = with_traffic((LEASE,), interface(180, 12_345, 67), NOW)
    assert (there.connected, there.last_handshake) == (True, "2026-01-01T12:27:00Z")
    assert (there.received_bytes, there.sent_bytes) == (12_000, 67)
    (gone,) = with_traffic((there,), interface(181), NOW)
    assert not gone.connected


def test_what_was_never_seen_or_is_not_there_tells_nothing() -> None:
    (there,) = with_traffic((LEASE,), interface(1, 5, 5), NOW)
    never = InterfaceState("kernel", "gateway", 51820, "", True, ())
    assert with_traffic((there,), never, NOW) == (LEASE,)
    assert with_traffic((there,), None, NOW) == (LEASE,)


def test_it_is_told_once_a_minute() -> None:
    assert due(None, NOW)
    assert not due(minute(NOW), NOW)
    assert due(minute(NOW), NOW + timedelta(seconds=60))
    assert due(minute(NOW + timedelta(hours=1)), NOW), "a clock that was set back"
