"""One suite for the PowerDNS driver on a real server (in our own image) and on its fake.

Over 400 lines, because one contract is read in one place.
"""

import json
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Protocol
from urllib.request import Request, urlopen

import pytest
from dns import edns, flags, message, query, rdatatype

from controlplane.errors import (
    ConflictError,
    DriverUnavailableError,
    RetryableError,
    TerminalError,
)
from drivers.fake.powerdns import FakeDnsServer, FakePowerDns
from drivers.powerdns import DnsServer, PowerDns, RRset, Soa, ZoneState
from drivers.powerdns_http import HttpPowerDns
from drivers.powerdns_query import ask_serial
from drivers.powerdns_text import server_text
from tests.containers import Running, name_server
from tests.contract.silent import answering

KEY = "a-key-$with'odd\"characters"
ACCOUNT, OTHER = "11111111-tenant", "22222222-tenant"


class World(Protocol):
    """A server with one zone name that nobody has."""

    driver: PowerDns
    server: DnsServer
    address: str
    zone: str

    def ask(self, name: str, rdtype: str, client: str = "") -> tuple[str, ...]:
        """What the server answers to a resolver (of a client in that network)."""
        ...

    def spoil(self) -> None:
        """Somebody changes the zone's settings."""
        ...


class FakeWorld:
    address = "10.0.0.2:53"

    def __init__(self) -> None:
        self.zone = f"z{uuid.uuid4().hex[:10]}.test."
        self.fake = FakeDnsServer(KEY, self.address)
        self.server = DnsServer("http://10.0.0.2:8081", KEY)
        self.driver: PowerDns = FakePowerDns({self.server.url: self.fake})

    def ask(self, name: str, rdtype: str, client: str = "") -> tuple[str, ...]:
        return tuple(sorted(self.fake.lookup(name, rdtype)))

    def spoil(self) -> None:
        self.fake.edit(self.zone, kind="Master", serial_rule="OFF", rectified=False)


class RealWorld:
    def __init__(self, server: Running) -> None:
        self.zone = f"z{uuid.uuid4().hex[:10]}.test."
        self.host = server.address
        self.address = f"{self.host}:53"
        self.server = DnsServer(f"http://{self.host}:8081", KEY)
        self.driver: PowerDns = HttpPowerDns()

    def ask(self, name: str, rdtype: str, client: str = "") -> tuple[str, ...]:
        options = [edns.ECSOption.from_text(client)] if client else None
        question = message.make_query(name, rdtype, use_edns=0, options=options)
        reply = query.udp(question, self.host, timeout=5)
        wanted = rdatatype.from_text(rdtype)
        found = [rrset for rrset in reply.answer if rrset.rdtype == wanted]
        return tuple(
            sorted(server_text(rdtype, each.to_text()) for rrset in found for each in rrset)
        )

    def spoil(self) -> None:
        odd = {"kind": "Master", "soa_edit_api": "OFF", "api_rectify": False}
        url = f"{self.server.url}/api/v1/servers/localhost/zones/{self.zone}"
        put = Request(url, json.dumps(odd).encode(), {"X-API-Key": KEY}, method="PUT")
        with urlopen(put, timeout=10) as answer:
            assert answer.status == 204


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    # it looks up ALIAS targets in its own zones: no other server is needed
    with name_server(KEY, "--env=PDNS_RESOLVER=127.0.0.1") as started:
        yield started


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.docker)])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    fake = request.param == "fake"
    found: World = FakeWorld() if fake else RealWorld(request.getfixturevalue("server"))
    yield found
    await found.driver.aclose()


def soa_of(zone: str) -> Soa:
    return Soa(300, f"ns1.{zone}", f"hostmaster.{zone}", 10800, 3600, 604800, 300)


def ns_of(zone: str) -> RRset:
    return RRset(zone, "NS", 300, (f"ns1.{zone}", f"ns2.{zone}"))


async def ensure(world: World, *rrsets: RRset, account: str = ACCOUNT) -> ZoneState:
    wanted = (ns_of(world.zone), *rrsets)
    zone = world.zone
    await world.driver.ensure_zone(world.server, zone, account, soa_of(zone), wanted)
    return await observe(world)


async def observe(world: World) -> ZoneState:
    found = await world.driver.observe_zone(world.server, world.zone)
    assert found is not None
    return found


async def change(world: World, *changes: RRset) -> ZoneState:
    await world.driver.ensure_rrsets(world.server, world.zone, changes)
    return await observe(world)


def a(world: World, label: str, *addresses: str, ttl: int = 60) -> RRset:
    return RRset(f"{label}.{world.zone}", "A", ttl, addresses)


# -- servers and zones


async def test_a_server_tells_what_it_can(world: World) -> None:
    state = await world.driver.observe_server(world.server)
    assert state.version.startswith("4.7")
    assert (state.computed, state.alias, state.countries) == (True, True, True)


async def test_a_zone_that_is_not_there_is_none(world: World) -> None:
    assert await world.driver.observe_zone(world.server, world.zone) is None
    assert await world.driver.observe_answer(world.address, world.zone) is None


async def test_a_made_zone_has_what_it_was_made_with_and_answers(world: World) -> None:
    www = a(world, "www", "192.0.2.1", "192.0.2.2")
    zone = await ensure(world, www)
    assert zone.settled(ACCOUNT)
    assert not zone.settled(OTHER)
    assert (zone.signed, zone.keys, zone.soa) == (False, (), soa_of(world.zone))
    assert zone.rrsets == tuple(sorted((ns_of(world.zone), www)))
    assert zone.serial > 0
    assert await world.driver.observe_answer(world.address, world.zone) == zone.serial
    assert world.ask(www.name, "A") == www.records


async def test_making_it_twice_is_once_and_keeps_its_records(world: World) -> None:
    first = await ensure(world, a(world, "www", "192.0.2.1"))
    again = await ensure(world)
    assert again == first


async def test_settings_changed_by_others_are_corrected(world: World) -> None:
    await ensure(world)
    world.spoil()
    assert not (await observe(world)).settled(ACCOUNT)
    assert (await ensure(world)).settled(ACCOUNT)


async def test_another_accounts_zone_is_never_touched(world: World) -> None:
    before = await ensure(world)
    with pytest.raises(RetryableError) as refused:
        await ensure(world, account=OTHER)
    assert refused.value.reason == "NotOurs"
    with pytest.raises(RetryableError) as kept:
        await world.driver.delete_zone(world.server, world.zone, OTHER)
    assert kept.value.reason == "NotOurs"
    assert await observe(world) == before


async def test_a_zone_is_handed_over_by_who_has_it_alone(world: World) -> None:
    before = await ensure(world)
    hand = world.driver.ensure_account
    with pytest.raises(RetryableError) as refused:
        await hand(world.server, world.zone, OTHER, "33333333-third")
    assert refused.value.reason == "NotOurs"
    for _ in range(2):
        await hand(world.server, world.zone, OTHER, ACCOUNT)
    after = await observe(world)
    assert (after.account, after.rrsets, after.keys) == (OTHER, before.rrsets, before.keys)
    await hand(world.server, f"absent.{world.zone}", OTHER, ACCOUNT)


async def test_all_zones_are_listed_with_their_accounts(world: World) -> None:
    await ensure(world)
    heads = await world.driver.list_zones(world.server)
    assert [h.account for h in heads if h.name == world.zone] == [ACCOUNT]
    assert list(heads) == sorted(heads, key=lambda head: head.name)


async def test_a_deleted_zone_is_gone_and_deleting_it_again_is_fine(world: World) -> None:
    await ensure(world)
    for _ in range(2):
        await world.driver.delete_zone(world.server, world.zone, ACCOUNT)
        assert await world.driver.observe_zone(world.server, world.zone) is None


# -- records


async def test_records_are_replaced_and_removed_and_the_others_stay(world: World) -> None:
    keep, old = a(world, "keep", "192.0.2.1"), a(world, "old", "192.0.2.2")
    before = await ensure(world, keep, old, a(world, "change", "192.0.2.3"))
    changed = a(world, "change", "192.0.2.4", ttl=90)
    after = await change(world, changed, replace(old, records=()))
    assert after.rrsets == tuple(sorted((ns_of(world.zone), keep, changed)))
    assert after.serial > before.serial
    assert await world.driver.observe_answer(world.address, world.zone) == after.serial
    assert world.ask(changed.name, "A") == ("192.0.2.4",)


async def test_no_change_is_no_new_serial(world: World) -> None:
    before = await ensure(world)
    assert await change(world) == before


async def test_removing_what_is_not_there_is_fine(world: World) -> None:
    before = await ensure(world)
    after = await change(world, a(world, "ghost"))
    assert after.rrsets == before.rrsets


async def test_a_cname_takes_the_place_of_others_and_gives_it_back(world: World) -> None:
    address = a(world, "www", "192.0.2.1")
    cname = RRset(address.name, "CNAME", 60, (f"other.{world.zone}",))
    await ensure(world, address)
    # sorted as a diff comes: what is made before what goes
    assert cname in (await change(world, cname, replace(address, records=()))).rrsets
    assert address in (await change(world, address, replace(cname, records=()))).rrsets


async def test_a_new_soa_goes_on_from_the_present_serial(world: World) -> None:
    await ensure(world)
    for number in range(3):
        await change(world, a(world, f"n{number}", "192.0.2.1"))
    before = await observe(world)
    soa = replace(soa_of(world.zone), refresh=7200, mailbox=f"admin.{world.zone}")
    await world.driver.ensure_rrsets(world.server, world.zone, (a(world, "x", "192.0.2.1"),), soa)
    after = await observe(world)
    assert after.soa == soa
    assert after.serial > before.serial


REFUSED = {
    "out of zone": RRset("www.elsewhere.test.", "A", 60, ("192.0.2.1",)),
    "no address": RRset("bad.{}", "A", 60, ("192.0.2.400",)),
    "one record twice": RRset("bad.{}", "A", 60, ("192.0.2.1", "192.0.2.1")),
    "a CNAME at the apex": RRset("{}", "CNAME", 60, ("www.example.test.",)),
    "a target without its dot": RRset("bad.{}", "ALIAS", 60, ("www.example.test",)),
    "not as the server writes it": RRset("bad.{}", "SVCB", 60, ('1 . alpn="dot" port="853"',)),
}


@pytest.mark.parametrize("bad", REFUSED.values(), ids=REFUSED.keys())
async def test_one_bad_record_set_refuses_the_whole_change(world: World, bad: RRset) -> None:
    before = await ensure(world)
    bad = replace(bad, name=bad.name.format(world.zone))
    with pytest.raises(TerminalError) as refused:
        await change(world, a(world, "good", "192.0.2.1"), bad)
    assert refused.value.reason == "SpecRefused"
    assert (await observe(world)).rrsets == before.rrsets


async def test_changing_a_zone_that_is_gone_is_a_lost_race(world: World) -> None:
    with pytest.raises(ConflictError):
        await world.driver.ensure_rrsets(world.server, world.zone, (a(world, "x", "192.0.2.1"),))
    with pytest.raises(ConflictError):
        await world.driver.ensure_signed(world.server, world.zone, True)


HASH = "0b9fa5a59eed715c26c1020c711b4f6ec42d58b0015e14337a39dad301c5afc3"
CONTENTS = {
    "A": ("192.0.2.1", "192.0.2.2"),
    "AAAA": ("2001:db8::1",),
    "CAA": ('0 issue "letsencrypt.org"', '128 iodef "mailto:a@b.test"'),
    "CNAME": ("www.example.test.",),
    "DNAME": ("other.test.",),
    "DS": ("60485 5 1 2bb183af5f22588179a53b0a98631fad1a292118",),
    "HTTPS": ("1 . alpn=h2,h3 port=8443 ipv4hint=192.0.2.1,192.0.2.2",),
    "LOC": (
        "0 0 0.000 S 0 0 0.000 W 0.00m 1.00m 10000.00m 10.00m",
        "1 0 0.000 N 39 23 60.000 E 0.00m 1.00m 10000.00m 10.00m",
        "52 22 23.000 N 4 53 32.000 E -2.00m 1.00m 10000.00m 10.00m",
    ),
    "MX": ("0 .", "10 mail.example.test."),
    "NAPTR": ('100 10 "u" "sip+E2U" "!^.*$!sip:info@example.test!" .',),
    "NS": ("ns.example.test.",),
    "OPENPGPKEY": ("AwEAAQ==",),
    "PTR": ("host.example.test.",),
    "SMIMEA": (f"3 1 1 {HASH}",),
    "SRV": ("0 0 0 .", "10 60 5060 sip.example.test."),
    "SSHFP": (f"4 2 {HASH}",),
    "SVCB": ("1 svc.example.test. alpn=dot port=853",),
    "TLSA": (f"3 1 1 {HASH}",),
    "TXT": (
        '"v=spf1 -all"',
        '"say \\"hi\\" \\\\ ; \\195\\164"',
        '""',
        f'"{"x" * 255}" "{"y" * 45}"',
    ),
    "URI": ('10 1 "https://example.test/a"',),
}


@pytest.mark.parametrize("rdtype", CONTENTS)
async def test_every_type_comes_back_as_it_was_given_and_is_answered(
    world: World, rdtype: str
) -> None:
    name = f"{rdtype.lower()}.{world.zone}"
    wanted = RRset(name, rdtype, 60, tuple(sorted(CONTENTS[rdtype])))
    cut = (RRset(name, "NS", 60, ("ns.example.test.",)),) if rdtype == "DS" else ()
    zone = await ensure(world, wanted, *cut)
    assert wanted in zone.rrsets
    if rdtype != "NS":  # a delegation is a referral, not an answer
        assert world.ask(name, rdtype) == wanted.records


# -- signing


async def test_signing_makes_a_key_and_signing_again_keeps_it(world: World) -> None:
    await ensure(world)
    for _ in range(2):
        await world.driver.ensure_signed(world.server, world.zone, True)
    zone = await observe(world)
    assert zone.signed
    (key,) = zone.keys
    assert (key.active, key.published, key.algorithm) == (True, True, "ECDSAP256SHA256")
    assert len(key.ds) == 3
    assert zone.settled(ACCOUNT)


async def test_signing_off_and_on_again_needs_no_new_ds(world: World) -> None:
    await ensure(world)
    await world.driver.ensure_signed(world.server, world.zone, True)
    first = await observe(world)
    await world.driver.ensure_signed(world.server, world.zone, False)
    off = await observe(world)
    assert (off.signed, [key.active for key in off.keys]) == (False, [False])
    await world.driver.ensure_signed(world.server, world.zone, True)
    assert (await observe(world)).keys == first.keys


async def test_not_signing_what_never_was_changes_nothing(world: World) -> None:
    before = await ensure(world)
    await world.driver.ensure_signed(world.server, world.zone, False)
    assert await observe(world) == before


# -- what only a real server answers


@pytest.fixture
async def real(server: Running) -> AsyncIterator[RealWorld]:
    found = RealWorld(server)
    yield found
    await found.driver.aclose()


def _lua(rdtype: str, code: str) -> str:
    return f'{rdtype} "{code}"'


@pytest.mark.docker
async def test_answers_by_place_know_networks_and_countries(real: RealWorld) -> None:
    code = (
        ";if netmask({'10.0.0.0/8'}) then return {'192.0.2.2'} "
        "elseif country({'US'}) then return {'192.0.2.3'} else return {'192.0.2.1'} end"
    )
    name = f"geo.{real.zone}"
    zone = await ensure(real, RRset(name, "LUA", 60, (_lua("A", code),)))
    assert RRset(name, "LUA", 60, (_lua("A", code),)) in zone.rrsets
    asked = {client: real.ask(name, "A", client) for client in ("", "10.1.0.0/16", "8.8.8.0/24")}
    assert asked == {
        "": ("192.0.2.1",),
        "10.1.0.0/16": ("192.0.2.2",),
        "8.8.8.0/24": ("192.0.2.3",),
    }


@pytest.mark.docker
async def test_an_alias_at_the_apex_is_answered_with_what_it_points_to(real: RealWorld) -> None:
    www = a(real, "www", "192.0.2.1", "192.0.2.2")
    await ensure(real, www, RRset(real.zone, "ALIAS", 60, (www.name,)))
    assert real.ask(real.zone, "A") == www.records
    await change(real, replace(www, records=("192.0.2.3",)))
    assert real.ask(real.zone, "A") == ("192.0.2.3",)


@pytest.mark.docker
async def test_answers_by_weight_follow_the_weights(real: RealWorld) -> None:
    code = "pickwrandom({{90,'192.0.2.1'},{10,'192.0.2.2'}})"
    name = f"weighted.{real.zone}"
    await ensure(real, RRset(name, "LUA", 60, (_lua("A", code),)))
    answers = [real.ask(name, "A") for _ in range(200)]
    # 180 of 200 expected, with a standard deviation of 4.2: seven of them either way
    assert 150 <= answers.count(("192.0.2.1",)) <= 199
    assert set(answers) <= {("192.0.2.1",), ("192.0.2.2",)}


@pytest.mark.docker
async def test_a_signed_zone_answers_with_signatures_and_its_ds_fits(real: RealWorld) -> None:
    await ensure(real)
    await real.driver.ensure_signed(real.server, real.zone, True)
    (key,) = (await observe(real)).keys
    question = message.make_query(real.zone, "SOA", want_dnssec=True)
    reply = query.udp(question, real.host, timeout=5)
    assert reply.flags & flags.AA
    assert {rrset.rdtype for rrset in reply.answer} == {rdatatype.SOA, rdatatype.RRSIG}
    assert real.ask(real.zone, "DNSKEY")[0].replace(" ", "") == key.dnskey.replace(" ", "")


# -- servers that don't behave


@pytest.mark.parametrize("side", ["fake", "real"])
async def test_where_nothing_listens_the_driver_is_unavailable(side: str) -> None:
    driver: PowerDns = FakePowerDns() if side == "fake" else HttpPowerDns()
    with pytest.raises(DriverUnavailableError):
        await driver.observe_zone(DnsServer("http://127.0.0.1:1", KEY), "a.test.")
    await driver.aclose()


async def test_a_wrong_key_is_told_as_such(world: World) -> None:
    with pytest.raises(RetryableError) as refused:
        await world.driver.observe_zone(replace(world.server, api_key="wrong"), world.zone)
    assert refused.value.reason == "AccessDenied"
    assert KEY not in repr(world.server)


def _http(status: str, body: str) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return (head + body).encode()


ODD = {
    "another API": (_http("200 OK", '{"error": "no"}'), "UnexpectedAnswer"),
    "a web page": (_http("200 OK", "<html>hello</html>"), "UnexpectedAnswer"),
    "a redirect": (_http("302 Found", ""), "UnexpectedAnswer"),
    "a list": (_http("200 OK", "[1, 2]"), "UnexpectedAnswer"),
    "half a zone": (_http("200 OK", '{"name": "a.test.", "rrsets": [{}]}'), "UnexpectedAnswer"),
    "no database": (_http("500 Internal Server Error", '{"error": "sqlite"}'), "ServerFailed"),
    "no HTTP": (b"hello\r\n\r\n", "DriverUnavailable"),
    "nothing": (_http("200 OK", ""), "UnexpectedAnswer"),
}


@pytest.mark.parametrize(("answer", "reason"), ODD.values(), ids=ODD.keys())
async def test_an_odd_answer_is_an_error_of_ours(answer: bytes, reason: str) -> None:
    driver = HttpPowerDns()
    async with answering(answer) as port:
        with pytest.raises(RetryableError) as refused:
            await driver.observe_zone(DnsServer(f"http://127.0.0.1:{port}", KEY), "a.test.")
        await driver.aclose()
    assert refused.value.reason == reason


async def test_a_hanging_server_is_given_up() -> None:
    driver = HttpPowerDns(timeout_s=0.05)
    async with answering(b"") as port:
        with pytest.raises(DriverUnavailableError) as late:
            await driver.observe_zone(DnsServer(f"http://127.0.0.1:{port}", KEY), "a.test.")
        await driver.aclose()
    assert "no answer in time" in str(late.value)


async def test_a_server_that_says_nothing_over_dns_does_not_answer() -> None:
    # nothing listens there: the engine's host says so, or nothing does
    assert await ask_serial("127.0.0.1:1", "a.test.", timeout_s=0.05) is None
    assert await ask_serial("nonsense", "a.test.") is None
