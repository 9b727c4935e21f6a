"""What the edge takes, the server takes, gives back as the same, and answers.

PowerDNS takes a record only in the very form that it would write itself. So values are made in
many valid spellings, and none of them may be refused by the server, or read back as a change.
"""

import string
from collections.abc import Callable, Iterator
from contextlib import aclosing
from random import Random

import pytest
from dns import message, query, rdatatype
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.fake.powerdns import FakeDnsServer, FakePowerDns
from drivers.powerdns import DnsServer, PowerDns, RRset, Soa
from drivers.powerdns_http import HttpPowerDns
from drivers.powerdns_text import server_text
from reconcilers._zone import Merged, changes
from resources.dns import RULES, content
from tests.containers import Running, name_server

KEY, ZONE = "key", "values.test"
SOA = Soa(300, f"ns1.{ZONE}.", f"hostmaster.{ZONE}.", 7200, 3600, 86400, 60)
SERVERS = ("mail", "@", "a.b", "MX.Example.net.", "xn--bcher-kva.example", "1.2.3.4")
HOSTS = (*SERVERS, "_x.y", ".", "*.w.example", "a-b.c_d.e")


def _hex(rng: Random, size: int) -> str:
    return "".join(rng.choice("0123456789abcdefABCDEF") for _ in range(2 * size))


def _quoted(rng: Random) -> str:
    signs = string.ascii_letters + string.digits + "!^.*$/:@;,()= "
    return '"' + "".join(rng.choice(signs) for _ in range(rng.randrange(1, 20))) + '"'


def _number(rng: Random) -> int:
    return rng.randrange(65536)


def _text(rng: Random) -> str:
    signs = string.printable[:95] + 'äß€\\"";'
    length = rng.randrange(rng.choice((1, 5, 40, 300, 700)))
    text = "".join(rng.choice(signs) for _ in range(length))
    # in quotes already, it would have to be as a zone file has it
    return rng.choice((text.lstrip('"'), '"a" "b c"', '"\\195\\164"'))


def _place(rng: Random) -> str:
    north = f"{rng.randrange(90)} {rng.randrange(60)} {rng.randrange(60)}"
    north += rng.choice(("", ".5", ".123")) + rng.choice((" N", " S"))
    east = f"{rng.randrange(180)} {rng.randrange(60)} {rng.choice('EW')}"
    sizes = rng.choice(("", " 1m", " 10m 100m", " 20m 2000m 5m", " 0.50m 10000m 10m"))
    return f"{north} {east} {rng.choice(('-2.00m', '0m', '100', '8848.86m'))}{sizes}"


def _service(rng: Random) -> str:
    if rng.random() < 0.2:
        return f"0 {rng.choice(HOSTS)}"
    offered = (
        rng.choice(("alpn=h2", "alpn=h2,h3", 'alpn="h2,h3" no-default-alpn')),
        rng.choice((f"port={_number(rng)}", f"port={_number(rng)} mandatory=port")),
        rng.choice(("ipv4hint=192.0.2.1", "ipv4hint=192.0.2.1,192.0.2.2")),
        rng.choice(("ipv6hint=2001:db8::1", "ipv6hint=2001:DB8:0::1,::1")),
        rng.choice(("key667=hello", 'key668="a b"', "dohpath=/dns-query{?dns}")),
    )
    chosen = rng.sample(offered, rng.randrange(len(offered)))
    return " ".join((str(rng.randrange(1, 65536)), rng.choice(HOSTS), *chosen))


def _certificate(rng: Random) -> str:
    data = rng.choice((f"1 {_hex(rng, 32)}", f"0 {_hex(rng, 10)}", f"2 {_hex(rng, 64)}"))
    return f"{rng.randrange(4)} {rng.randrange(2)} {data}"


MAKE: dict[str, Callable[[Random], str]] = {
    "A": lambda rng: ".".join(str(rng.randrange(256)) for _ in range(4)),
    "AAAA": lambda rng: rng.choice(
        ("::", "::1", "::ffff:1.2.3.4", "2001:DB8::A", "1:0:0:2:0:0:0:3", "2001:db8:0:1:1:1:1:1")
    ),
    "ALIAS": lambda rng: rng.choice(HOSTS),
    "CAA": lambda rng: f"{rng.choice((0, 128))} {rng.choice(('issue', 'iodef'))} {_quoted(rng)}",
    "CNAME": lambda rng: rng.choice(HOSTS),
    "DS": lambda rng: f"{_number(rng)} 13 2 {_hex(rng, 32)}",
    "HTTPS": _service,
    "LOC": _place,
    "MX": lambda rng: f"{_number(rng)}  {rng.choice((*SERVERS, '.'))}",
    "NAPTR": lambda rng: " ".join(
        (str(_number(rng)), str(_number(rng)), *(_quoted(rng) for _ in range(3)), rng.choice(HOSTS))
    ),
    "NS": lambda rng: rng.choice(SERVERS),
    "OPENPGPKEY": lambda rng: rng.choice(("AwEAAQ==", "AwEA AQ==", "mQCNAzIG")),
    "PTR": lambda rng: rng.choice(HOSTS),
    "SMIMEA": _certificate,
    "SRV": lambda rng: f"{_number(rng)} {_number(rng)} {_number(rng)} {rng.choice(SERVERS)}",
    "SSHFP": lambda rng: rng.choice((f"4 2 {_hex(rng, 32)}", f"1 1 {_hex(rng, 20)}")),
    "SVCB": _service,
    "TLSA": _certificate,
    "TXT": _text,
    "URI": lambda rng: f"{_number(rng)} {_number(rng)} {_quoted(rng)}",
}  # fmt: skip


def test_there_are_values_of_every_type() -> None:
    assert MAKE.keys() == RULES.keys()


def wanted(rdtype: str, value: str) -> tuple[RRset, ...]:
    """As a Zone puts it on the server; a DS needs a delegation beside it."""
    name = f"{rdtype.lower()}.{ZONE}."
    made = RRset(name, rdtype, 60, (server_text(rdtype, content(rdtype, value, ZONE)),))
    cut = (RRset(name, "NS", 60, ("ns.example.test.",)),)
    return (made, *(cut if rdtype == "DS" else ()))


async def _put(driver: PowerDns, server: DnsServer, rrsets: tuple[RRset, ...]) -> None:
    """Write them, and find nothing to change in what is read back."""
    await driver.ensure_rrsets(server, f"{ZONE}.", rrsets)
    zone = await driver.observe_zone(server, f"{ZONE}.")
    assert zone is not None
    mine = [each for each in zone.rrsets if each.name == rrsets[0].name]
    assert changes(mine, Merged(SOA, rrsets, ())) == ()


async def _make_zone(driver: PowerDns, server: DnsServer) -> None:
    apex = (RRset(f"{ZONE}.", "NS", 300, (f"ns1.{ZONE}.",)),)
    await driver.ensure_zone(server, f"{ZONE}.", "account", SOA, apex)


@pytest.mark.parametrize("rdtype", MAKE)
@settings(deadline=None, max_examples=25)
@given(rng=st.randoms(use_true_random=False))
async def test_the_fake_takes_what_the_edge_takes(rdtype: str, rng: Random) -> None:
    server = DnsServer("http://10.0.0.1:8081", KEY)
    driver = FakePowerDns({server.url: FakeDnsServer(KEY)})
    await _make_zone(driver, server)
    await _put(driver, server, wanted(rdtype, MAKE[rdtype](rng)))


@pytest.fixture(scope="module")
def powerdns() -> Iterator[Running]:
    with name_server(KEY) as started:
        yield started


@pytest.mark.docker
@pytest.mark.parametrize("rdtype", MAKE)
async def test_the_server_takes_and_answers_what_the_edge_takes(
    powerdns: Running, rdtype: str
) -> None:
    rng = Random(rdtype)
    server = DnsServer(f"http://{powerdns.address}:8081", KEY)
    async with aclosing(HttpPowerDns()) as driver:
        await _make_zone(driver, server)
        for _ in range(25):
            rrsets = wanted(rdtype, MAKE[rdtype](rng))
            await _put(driver, server, rrsets)
            if rdtype not in ("ALIAS", "NS"):  # resolved by others; a referral
                assert _answered(powerdns.address, rrsets[0]) == rrsets[0].records


def _answered(address: str, rrset: RRset) -> tuple[str, ...]:
    reply = query.tcp(message.make_query(rrset.name, rrset.type), address, timeout=5)
    kind = rdatatype.from_text(rrset.type)
    found = [each for answer in reply.answer if answer.rdtype == kind for each in answer]
    return tuple(server_text(rrset.type, each.to_text()) for each in found)
