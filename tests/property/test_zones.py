"""From any history of edits, outside harm and faults, a zone on the server is what its records say.

The oracle composes the bytes that DNS has on the wire by hand, and knows neither plans nor the
library that checks records: a mistake in quoting, in names or in merging can't hide in both.
"""

import asyncio
import socket
import struct
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from dns import message, query, rdata, rdatatype
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from controlplane.errors import ControlPlaneError, DriverUnavailableError
from drivers.fake.engine import CrashError
from drivers.powerdns import DnsServer, RRset, ZoneState
from drivers.powerdns_http import HttpPowerDns
from resources.zone import Zone
from tests.containers import Running, name_server
from tests.unit.reconcilers.world import UID
from tests.unit.reconcilers.zones import DOMAIN, ZoneWorld, source, zone

KEY = "an-api-key"


def name_wire(name: str) -> bytes:
    """RFC 1035, 3.1, in lower case."""
    labels = [label for label in name.split(".") if label]
    return b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\0"


def text_wire(text: str) -> bytes:
    """RFC 1035, 3.3.14: strings of at most 255 bytes."""
    data = text.encode()
    chunks = [data[at : at + 255] for at in range(0, len(data), 255)] or [b""]
    return b"".join(bytes([len(chunk)]) + chunk for chunk in chunks)


@dataclass(frozen=True)
class Asked:
    """A record set as a user writes it, and the bytes that must come of it."""

    label: str
    type: str
    ttl: int
    records: tuple[str, ...]
    wires: frozenset[bytes]

    @property
    def spec(self) -> dict[str, Any]:
        body = {"name": self.label, "type": self.type, "records": list(self.records)}
        return {**body, "ttl": self.ttl}

    @property
    def name(self) -> str:
        return DOMAIN if self.label == "@" else f"{self.label}.{DOMAIN}"


HOSTS = {"mail": f"mail.{DOMAIN}", "mx.example.net": "mx.example.net.", "@": DOMAIN, "A.B.": "a.b."}
octets = st.integers(1, 254)
hosts = st.sampled_from(sorted(HOSTS))
texts = st.text(
    st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_categories=("Cc", "Cs")),
    max_size=600,
).filter(lambda text: not text.startswith('"') and not text.startswith("v="))


def _value(rdtype: str) -> st.SearchStrategy[tuple[str, bytes]]:
    """(as written, on the wire)"""
    match rdtype:
        case "A":
            made = octets.map(lambda n: f"192.0.2.{n}")
            return made.map(lambda text: (text, socket.inet_aton(text)))
        case "AAAA":
            plain = octets.map(lambda n: f"2001:DB8:0:0::{n:x}")
            return plain.map(lambda text: (text, socket.inet_pton(socket.AF_INET6, text)))
        case "MX":
            return st.tuples(st.integers(0, 99), hosts).map(
                lambda mx: (f"{mx[0]} {mx[1]}", struct.pack("!H", mx[0]) + name_wire(HOSTS[mx[1]]))
            )
        case "SRV":
            return st.tuples(octets, octets, octets, hosts).map(
                lambda srv: (
                    " ".join(map(str, srv)),
                    struct.pack("!HHH", *srv[:3]) + name_wire(HOSTS[srv[3]]),
                )
            )
        case "CAA":
            return st.sampled_from(("ca.example", "other.example; a=b")).map(
                lambda ca: (f'0 issue "{ca}"', b"\0\x05issue" + ca.encode())
            )
        case "TXT":
            return texts.map(lambda text: (text, text_wire(text)))
        case _:
            return hosts.map(lambda host: (host, name_wire(HOSTS[host])))


@st.composite
def asked(draw: st.DrawFn) -> Asked:
    rdtype = draw(st.sampled_from(("A", "AAAA", "MX", "SRV", "CAA", "TXT", "CNAME", "PTR")))
    # what can't be beside others has names of its own
    label = draw(st.sampled_from(("c1", "c2") if rdtype == "CNAME" else ("@", "www", "*.apps")))
    most = 1 if rdtype == "CNAME" else 3
    values = draw(
        st.lists(_value(rdtype), min_size=1, max_size=most, unique_by=lambda value: value[1])
    )
    written = tuple(text for text, _ in values)
    return Asked(label, rdtype, draw(st.integers(0, 900)), written, frozenset(w for _, w in values))


class ZoneMachine(RuleBasedStateMachine):
    """One Zone, its RecordSets, and everyone who interferes."""

    faulty = True

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.world = ZoneWorld()
        self.own: dict[tuple[str, str], Asked] = {}
        self.others: dict[str, Asked] = {}
        """RecordSets, in the order of their making."""
        self.signed = False

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        self.it_settles()
        self.settle(zone(deleting=True))
        assert self.found() is None
        self.loop.close()

    # -- what a user does

    @rule(item=asked())
    def put(self, item: Asked) -> None:
        self.own[(item.label, item.type)] = item

    @rule(pick=st.integers(0, 9))
    def drop(self, pick: int) -> None:
        if self.own:
            del self.own[sorted(self.own)[pick % len(self.own)]]

    @rule(item=asked(), number=st.integers(0, 3))
    def put_record_set(self, item: Asked, number: int) -> None:
        """A new one, or another content of an old one, whose age stays."""
        self.others[f"set{number}"] = item

    @rule(number=st.integers(0, 3))
    def drop_record_set(self, number: int) -> None:
        self.others.pop(f"set{number}", None)

    @rule()
    def sign(self) -> None:
        self.signed = not self.signed

    # -- what others do

    @rule(
        pick=st.integers(0, 9), how=st.sampled_from(("remove", "change", "add")), look=st.booleans()
    )
    def harm(self, pick: int, how: str, look: bool) -> None:
        """`look`: at once, before an edit of the same set hides it."""
        found = self.found()
        if found is None or not found.rrsets:
            return
        victim = found.rrsets[pick % len(found.rrsets)]
        changed = {
            "remove": RRset(victim.name, victim.type),
            "change": RRset(victim.name, victim.type, victim.ttl + 1, victim.records),
            "add": RRset(f"stranger.{DOMAIN}", "A", 5, ("203.0.113.1",)),
        }[how]
        self.meddle(changed)
        if look:
            self.it_settles()

    @rule(verb=st.sampled_from(("observe_zone", "ensure_zone", "ensure_rrsets", "ensure_signed")),
          lost=st.booleans())  # fmt: skip
    def fault(self, verb: str, lost: bool) -> None:
        if self.faulty:
            error = DriverUnavailableError("powerdns", "planted")
            self.world.dns.fail_next(verb, error, reply_lost=lost)

    @rule(changes=st.integers(0, 2))
    def die(self, changes: int) -> None:
        if self.faulty:
            self.world.dns.crash_after(changes)

    # -- what must hold

    @rule()
    def it_settles(self) -> None:
        self.settle(self.record())
        self.check()
        plan, _ = self.run(self.world.look(self.record()))
        assert not plan.steps, "settled, it has nothing to do"

    def record(self) -> Zone:
        numbered = enumerate(sorted(self.others.items()))
        self.world.dependents = tuple(
            source(name, f"2026-01-0{number + 1}T00:00:00Z", **item.spec)
            for number, (name, item) in numbered
        )
        own = [item.spec for item in self.own.values()]
        return zone(recordSets=own, dnssec=self.signed)

    def settle(self, record: Zone) -> None:
        for _ in range(12):
            try:
                self.run(self.world.settle(record))
            except (ControlPlaneError, CrashError):
                continue
            return
        raise AssertionError("it does not settle")

    def meddle(self, rrset: RRset) -> None:
        self.world.server.put(DOMAIN, rrset)

    def found(self) -> ZoneState | None:
        return self.world.server.zones.get(DOMAIN)

    def expected(self) -> dict[tuple[str, str], tuple[int, frozenset[bytes]]]:
        """(name, type) -> TTL and bytes. The Zone's own first, then RecordSets by age, each whole
        or not at all; texts of several stand beside each other."""
        sets: dict[tuple[str, str], tuple[int, frozenset[bytes]]] = {
            (DOMAIN, "NS"): (300, frozenset({name_wire(f"ns1.{DOMAIN}")}))
        }
        for item in (*self.own.values(), *(self.others[name] for name in sorted(self.others))):
            key = (item.name, item.type)
            ttl, wires = sets.get(key, (item.ttl, frozenset()))
            if not wires:
                sets[key] = (item.ttl, item.wires)
            elif item.type == "TXT" and not wires & item.wires:
                sets[key] = (min(ttl, item.ttl), wires | item.wires)
        return sets

    def check(self) -> None:
        found = self.found()
        assert found is not None
        assert found.account == UID
        assert found.signed == self.signed
        assert {
            (each.name, each.type): (each.ttl, frozenset(_wire(each.type, c) for c in each.records))
            for each in found.rrsets
        } == self.expected()


def _wire(rdtype: str, content: str) -> bytes:
    return rdata.from_text("IN", rdtype, content).to_digestable()


TestZones = ZoneMachine.TestCase
TestZones.settings = settings(deadline=None, max_examples=60, stateful_step_count=15)


# -- the same on a real server, asked over DNS


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with name_server(KEY) as started:
        yield started


@pytest.mark.docker
def test_on_a_real_server_answers_are_what_the_records_say(server: Running) -> None:
    class RealMachine(ZoneMachine):
        """No planted faults: the server is what it is."""

        faulty = False

        def __init__(self) -> None:
            super().__init__()
            driver: Any = HttpPowerDns()
            self.world.dns = driver
            self.world.values.data[("Secret", "dns-credentials")] = {"api-key": KEY.encode()}
            address = server.address
            self.world.serve({"api": f"{address}:8081", "dns": f"{address}:53"})

        def teardown(self) -> None:
            self.it_settles()
            self.settle(zone(deleting=True))
            self.run(self.world.dns.aclose())
            self.loop.close()

        @property
        def at(self) -> DnsServer:
            return DnsServer(f"http://{server.address}:8081", KEY)

        def meddle(self, rrset: RRset) -> None:
            self.run(self.world.dns.ensure_rrsets(self.at, DOMAIN, (rrset,)))

        def found(self) -> ZoneState | None:
            state: ZoneState | None = self.run(self.world.dns.observe_zone(self.at, DOMAIN))
            return state

        def check(self) -> None:
            super().check()
            for (name, rdtype), (ttl, wires) in self.expected().items():
                assert _answer(server.address, name, rdtype) == (ttl, wires)

    run_state_machine_as_test(
        RealMachine,
        settings=settings(
            deadline=None,
            max_examples=5,
            stateful_step_count=12,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )


def _answer(address: str, name: str, rdtype: str) -> tuple[int, frozenset[bytes]]:
    """Over TCP, as answers may be big."""
    reply = query.tcp(message.make_query(name, rdtype), address, timeout=5)
    wanted = rdatatype.from_text(rdtype)
    (found,) = [each for each in reply.answer if each.rdtype == wanted]
    return found.ttl, frozenset(each.to_digestable() for each in found)
