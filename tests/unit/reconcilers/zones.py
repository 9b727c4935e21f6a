"""A world with a DNS service, and the Zones and RecordSets of its tests."""

from typing import Any

from controlplane.plan import Binding, Dependent, Report, Resolved
from drivers.fake.powerdns import FakeDnsServer
from drivers.powerdns import ZoneState
from reconcilers.zone import At
from resources.meta import Condition
from resources.recordset import RecordSet
from resources.zone import Zone, ZoneStatus
from tests.unit.reconcilers.world import World, record

WWW = {"name": "www", "type": "A", "records": ["192.0.2.1"]}
DOMAIN = "shop.example.org."
AT = At("http://10.200.0.3:8081", "dns-credentials")


def zone(*, deleting: bool = False, **spec: Any) -> Zone:
    found = record("Zone", {"domain": "shop.example.org", **spec}, deleting=deleting)
    assert isinstance(found, Zone)
    return found


def recordset(**spec: Any) -> RecordSet:
    found = record("RecordSet", {"zoneRef": {"name": "shop"}, **spec})
    assert isinstance(found, RecordSet)
    return found


def source(who: str, created: str = "2026-01-01T00:00:00Z", /, **spec: Any) -> Dependent:
    """A RecordSet of this zone, as the engine hands it in."""
    body = {"zoneRef": {"name": "shop"}, **spec}
    return Dependent("RecordSet", "shop", who, f"uid-{who}", created, body, {}, False, "", True)


class ZoneWorld(World):
    """With a DNS service that serves."""

    def __init__(self) -> None:
        super().__init__()
        self.values.data[("Secret", "dns-credentials")] = {"api-key": b"key"}
        self.serve({"api": "10.200.0.3:8081", "dns": "10.200.0.3:53"})

    def serve(self, endpoints: dict[str, str], **settings: str) -> None:
        message = "" if endpoints else "Platform 'dns' is not ready: it starts"
        self.services["dns"] = Resolved(
            "Platform",
            "dns",
            "uid-dns",
            bool(endpoints),
            message,
            Binding("dns-credentials", "hmac"),
            {"settings": settings},
            {"endpoints": endpoints},
        )

    @property
    def server(self) -> FakeDnsServer:
        assert self.dns.anywhere is not None
        return self.dns.anywhere

    @property
    def found(self) -> ZoneState:
        return self.server.zones[DOMAIN]

    def answer(self, name: str, rdtype: str) -> tuple[str, ...]:
        return self.server.lookup(f"{name}.{DOMAIN}" if name else DOMAIN, rdtype)

    def sources(self, report: Report) -> dict[str, tuple[bool, str]]:
        return {each.name: (each.served, each.message) for each in told(report).sources}


def told(report: Report) -> ZoneStatus:
    assert isinstance(report.status, ZoneStatus)
    return report.status


def complete(report: Report) -> Condition:
    (found,) = report.conditions
    assert isinstance(found, Condition)
    return found
