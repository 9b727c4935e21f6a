"""RecordSet: what it asks for is put on the server by its Zone; here is told whether it is served.

Nothing outside belongs to it alone, so there is nothing to do and no finalizer.
"""

from dataclasses import dataclass
from typing import Any, Final

from controlplane.plan import Plan, Reconciler, Report, Resolved, Wait, Want
from reconcilers._zone import digest_of
from resources.dns import full_name
from resources.recordset import RecordSet, RecordSetStatus

ZONE_REF: Final = "spec.zoneRef"


@dataclass(frozen=True, slots=True)
class Served:
    """What its Zone says of it."""

    reason: str
    message: str
    domain: str | None = None
    """Its absolute name, without the dot at its end."""

    @property
    def ready(self) -> bool:
        return self.reason == "Served"


@dataclass(frozen=True, slots=True)
class RecordSetReconciler(Reconciler[RecordSet, Served, None]):
    async def observe(self, want: Want[RecordSet], /) -> Served:
        zone = want.refs.get(ZONE_REF)
        if zone is None or zone.uid is None:
            return Served("ZoneMissing", zone.message if zone else "it names no Zone")
        domain = _domain(want.record, zone)
        source = _source(want.record, zone)
        if source is None:
            message = f"waiting for Zone '{zone.name}' to take it up; see its conditions"
            return Served("Pending", message, domain)
        if not source.get("served"):
            return Served("NotServed", str(source.get("message", "")), domain)
        if not zone.ready:
            return Served("ZoneNotReady", zone.message, domain)
        return Served("Served", f"Zone '{zone.name}' answers it", domain)

    def plan(self, want: Want[RecordSet], seen: Served, /) -> Plan[None]:
        if want.deleting or seen.ready:
            return Plan()
        return Plan(wait=Wait(seen.reason, seen.message))

    def status(self, want: Want[RecordSet], seen: Served, /) -> Report:
        return Report(RecordSetStatus(domain=seen.domain), seen.ready, seen.reason, seen.message)

    async def apply(self, step: None, /) -> None:
        raise AssertionError("a RecordSet has no steps")


def _domain(record: RecordSet, zone: Resolved) -> str | None:
    domain = zone.spec.get("domain")
    if not isinstance(domain, str):
        return None
    return full_name(record.spec.name, domain).removesuffix(".")


def _source(record: RecordSet, zone: Resolved) -> dict[str, Any] | None:
    """What the Zone says of this very state of it."""
    for source in zone.status.get("sources") or ():
        if source.get("name") == record.metadata.name:
            found = dict(source)
            digest = found.get("digest")
            # one that the Zone can't read has none
            return found if digest in ("", digest_of(record.spec)) else None
    return None
