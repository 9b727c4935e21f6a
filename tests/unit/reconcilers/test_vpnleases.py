"""Who gets which address: held against rules that are stated without the allocator's own code."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.plan import Dependent
from reconcilers._vpnleases import Asked, Room, asked_by, leases, served
from resources._vpnlease import VpnLease

ROOM = Room("10.99.0.0/29", "10.99.0.1", "gateway-key", (("172.30.0.0/24", "the namespace's"),))
HOSTS = [f"10.99.0.{number}" for number in range(2, 7)]
ADDRESSES = st.none() | st.sampled_from([*HOSTS, "10.99.0.0", "10.99.0.1", "10.99.0.7", "10.1.1.1"])
NETWORKS = st.lists(
    st.sampled_from(
        ["192.168.0.0/16", "192.168.7.0/24", "192.168.7.128/25", "172.30.0.0/25", "10.99.0.0/30",
         "10.1.0.0/16"]
    ),
    max_size=3,
    unique=True,
).map(tuple)  # fmt: skip


def asked(number: int) -> st.SearchStrategy[Asked]:
    return st.builds(
        Asked,
        name=st.just(f"peer{number}"),
        uid=st.just(f"uid{number}"),
        address=ADDRESSES,
        allowed_ips=NETWORKS,
        public_key=st.none() | st.sampled_from(["key-a", "key-b", f"key-{number}", "gateway-key"]),
        hint=st.none() | st.sampled_from(HOSTS),
        enabled=st.booleans(),
        paused=st.booleans(),
        deleting=st.booleans(),
    )


CROWD = st.tuples(*(asked(number) for number in range(7)))
HISTORY = st.lists(st.lists(st.booleans(), min_size=7, max_size=7).flatmap(
    lambda here: CROWD.map(lambda crowd: tuple(p for p, h in zip(crowd, here, strict=True) if h))
), min_size=1, max_size=4)  # fmt: skip


@given(history=HISTORY)
def test_whatever_happens_nobody_shares_and_what_was_given_stays(
    history: list[tuple[Asked, ...]],
) -> None:
    before: tuple[VpnLease, ...] = ()
    for crowd in history:
        made = leases(ROOM, before, crowd)
        check_exclusive(made)
        for peer in crowd:
            check_fair(peer, made, before, crowd)
        assert {lease.uid for lease in made} <= {peer.uid for peer in crowd}
        assert leases(ROOM, made, crowd) == made, "the same again changes nothing"
        before = made


def check_exclusive(made: tuple[VpnLease, ...]) -> None:
    for one, other in combinations(made, 2):
        assert one.address is None or one.address != other.address
        assert one.public_key is None or one.public_key != other.public_key
        for mine in one.allowed_ips:
            for theirs in other.allowed_ips:
                assert not IPv4Network(mine).overlaps(IPv4Network(theirs))
    for lease in made:
        if lease.address is not None:
            assert IPv4Address(lease.address) in IPv4Network("10.99.0.0/29")
            assert lease.address in HOSTS
        assert lease.public_key != "gateway-key"
        for network in lease.allowed_ips:
            assert not IPv4Network(network).overlaps(IPv4Network("10.99.0.0/29"))
            assert not IPv4Network(network).overlaps(IPv4Network("172.30.0.0/24"))
    keys = [peer.public_key for peer in served(made)]
    assert len(keys) == len(set(keys))


def check_fair(
    peer: Asked,
    made: tuple[VpnLease, ...],
    before: tuple[VpnLease, ...],
    crowd: tuple[Asked, ...],
) -> None:
    mine = next((lease for lease in made if lease.uid == peer.uid), None)
    had = next((lease for lease in before if lease.uid == peer.uid), None)
    if mine is None:
        assert had is None
        assert peer.paused or peer.deleting
        return
    if peer.paused and had is not None and not peer.deleting:
        assert mine == had
        return
    if had is not None and had.address is not None and peer.address in (None, had.address):
        assert mine.address == had.address, "kept for as long as the record lives"
    if peer.deleting:
        assert mine.state == "Removed"
        return
    if peer.address is not None:
        assert mine.address in (None, peer.address)
    if mine.address is None:
        assert mine.message
        taken = {lease.address for lease in made}
        free = [host for host in HOSTS if host not in taken]
        assert peer.address not in free if peer.address else not free, "refused without need"
    assert set(mine.allowed_ips) <= set(peer.allowed_ips)
    for missing in set(peer.allowed_ips) - set(mine.allowed_ips):
        assert missing in mine.message


def lease_of(made: tuple[VpnLease, ...], name: str) -> VpnLease:
    return next(lease for lease in made if lease.name == name)


def test_the_older_record_wins_and_the_younger_is_told_who_has_it() -> None:
    one = Asked("one", "1", "10.99.0.5", ("192.168.0.0/16",), "key")
    two = Asked("two", "2", "10.99.0.5", ("192.168.7.0/24",), "key")
    made = leases(ROOM, (), (one, two))
    assert lease_of(made, "one").message == ""
    refused = lease_of(made, "two")
    assert (refused.address, refused.allowed_ips, refused.public_key) == (None, (), None)
    assert refused.message.count("VpnPeer 'one'") == 3
    assert refused.state == "Refused"


def test_who_had_it_wins_over_who_is_older() -> None:
    old, young = Asked("old", "1"), Asked("young", "2", "10.99.0.2")
    made = leases(ROOM, (), (young,))
    both = leases(ROOM, made, (replace(old, address="10.99.0.2"), young))
    assert lease_of(both, "young").address == "10.99.0.2"
    assert "VpnPeer 'young'" in lease_of(both, "old").message


def test_an_address_asked_for_by_number_is_not_given_to_who_asks_for_any() -> None:
    made = leases(ROOM, (), (Asked("any", "1"), Asked("two", "2", "10.99.0.2")))
    assert lease_of(made, "two").address == "10.99.0.2"
    assert lease_of(made, "any").address == "10.99.0.3"


def test_a_network_made_anew_gives_again_what_its_peers_had() -> None:
    made = leases(ROOM, (), (Asked("a", "1", hint="10.99.0.4"), Asked("b", "2")))
    assert [lease.address for lease in made] == ["10.99.0.4", "10.99.0.2"]


@pytest.mark.parametrize(
    ("peer", "state"),
    [
        pytest.param(Asked("x", "1"), "Pending", id="no key yet"),
        pytest.param(Asked("x", "1", public_key="k"), "Serving", id="let in"),
        pytest.param(Asked("x", "1", public_key="k", enabled=False), "Disabled", id="disabled"),
        pytest.param(Asked("x", "1", "10.1.1.1", public_key="k"), "Refused", id="elsewhere"),
    ],
)
def test_what_is_to_become_of_a_peer(peer: Asked, state: str) -> None:
    (lease,) = leases(ROOM, (), (peer,))
    assert lease.state == state
    assert bool(served((lease,))) == (state == "Serving")


def test_peers_are_read_oldest_first_and_nothing_else_is_a_peer() -> None:
    def record(kind: str, name: str, created: str) -> Dependent:
        spec = {"allowedIPs": ["10.1.0.0/16"], "enabled": False}
        status = {"publicKey": "key", "address": "10.99.0.6"}
        return Dependent(kind, "shop", name, name, created, spec, status, False, "net", True)

    found = asked_by(
        (
            record("VpnPeer", "a", "2026-01-02T00:00:00Z"),
            record("App", "c", "2026-01-01T00:00:00Z"),
            record("VpnPeer", "b", "2026-01-01T00:00:00Z"),
        )
    )
    assert [peer.name for peer in found] == ["b", "a"]
    assert found[0].allowed_ips == ("10.1.0.0/16",)
    assert (found[0].public_key, found[0].hint, found[0].enabled) == ("key", "10.99.0.6", False)
