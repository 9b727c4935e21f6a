"""The same name server twice: a fake, and PowerDNS in our own image."""

import json
import uuid
from typing import Protocol
from urllib.request import Request, urlopen

from dns import edns, message, query, rdatatype

from drivers.fake.powerdns import FakeDnsServer, FakePowerDns
from drivers.powerdns import DnsServer, PowerDns, RRset, Soa, ZoneState
from drivers.powerdns_http import HttpPowerDns
from drivers.powerdns_text import server_text
from tests.containers import Running

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
