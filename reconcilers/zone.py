"""Zone: a DNS zone on a server of the platform, kept as its record, file and RecordSets say.

What it shall answer is put together in _zone.py. Changes are the difference to what the server has:
a zone is never made anew, and its signing keys are never thrown away but with the zone itself.
The server tells whose a zone is by its account (_zoneowners.py).
"""

import asyncio
from dataclasses import dataclass, replace
from typing import Final, assert_never

from controlplane.errors import TerminalError
from controlplane.plan import Plan, Reconciler, Report, Resolved, SecretReader, Wait, Want
from drivers.powerdns import DnsServer, PowerDns, RRset, ServerState, Soa, ZoneState
from reconcilers import _zoneowners as owners
from reconcilers._credentials import credential
from reconcilers._zone import NO_FILE, Merged, asks_for_more, changes, merged
from reconcilers._zonetold import as_found, completeness
from resources.meta import PLATFORM_NAMESPACE
from resources.zone import Source, Zone, ZoneStatus
from resources.zonefile import ZoneText, read_zone_file

SERVED_RECHECK_S: Final = 30.0
"""Nothing tells of a change made straight on the server; a look is three quick requests."""
RECHECK_S: Final = 5.0
MANY_SETS: Final = 100
"""Record sets that are put together in 3 ms where none of their values is known yet."""


@dataclass(frozen=True, slots=True)
class At:
    """A server, without its key."""

    url: str
    secret_name: str


@dataclass(frozen=True, slots=True)
class ZoneSeen:
    """What the server has of it."""

    at: At | None = None
    """None: the service has no address yet."""
    answers_at: str = ""
    """`ip:port` of its DNS."""
    zone: ZoneState | None = None
    answered: int | None = None
    """Serial that a question over DNS was answered with."""
    able: ServerState | None = None
    """Asked only where it matters."""
    file: ZoneText = NO_FILE
    file_problem: str = ""
    wanted: Merged | None = None
    """What it shall answer, put together from all the other fields."""
    kept_for_others: bool = False
    """The server has a zone above or below that a record of another namespace has left there."""


@dataclass(frozen=True, slots=True)
class MakeZone:
    """Make it with all its records, or mend its settings."""

    at: At
    domain: str
    account: str
    soa: Soa
    rrsets: tuple[RRset, ...]


@dataclass(frozen=True, slots=True)
class ChangeRecords:
    at: At
    domain: str
    changes: tuple[RRset, ...]
    soa: Soa | None


@dataclass(frozen=True, slots=True)
class SignZone:
    at: At
    domain: str
    signed: bool


@dataclass(frozen=True, slots=True)
class HandZone:
    """Take over what was kept, or leave it to be kept."""

    at: At
    domain: str
    account: str
    was: str


@dataclass(frozen=True, slots=True)
class RemoveZone:
    at: At
    domain: str
    account: str


ZoneStep = MakeZone | ChangeRecords | SignZone | HandZone | RemoveZone


@dataclass(frozen=True, slots=True)
class ZoneReconciler(Reconciler[Zone, ZoneSeen, ZoneStep]):
    dns: PowerDns
    values: SecretReader

    def reads(self, want: Zone, /) -> tuple[str, ...]:
        file = want.spec.zone_file
        if file is None or file.config_map_ref is None:
            return ()
        return (f"ConfigMap/{file.config_map_ref.name}",)

    async def observe(self, want: Want[Zone], /) -> ZoneSeen:
        seen = await self._look(want)
        return replace(seen, wanted=await _put_together(want, seen))

    async def _look(self, want: Want[Zone]) -> ZoneSeen:
        service = _service(want)
        file, problem = await self._file(want.record)
        at = _at(service)
        if at is None:
            return ZoneSeen(file=file, file_problem=problem)
        server = await self._server(at)
        domain, answers_at = f"{want.record.spec.domain}.", _answers_at(service, at)
        zone = await self.dns.observe_zone(server, domain)
        answered, able, kept = None, None, False
        if zone is None:
            heads = () if want.deleting else await self.dns.list_zones(server)
            kept = any(
                head.account.startswith(owners.KEPT)
                and head.account != owners.kept(want)
                and _overlaps(head.name, domain)
                for head in heads
            )
        elif zone.account in owners.own(want):
            answered = await self.dns.observe_answer(answers_at, domain)
        if not want.deleting and asks_for_more(want.record, file, want.dependents):
            able = await self.dns.observe_server(server)
        return ZoneSeen(at, answers_at, zone, answered, able, file, problem, kept_for_others=kept)

    async def _file(self, record: Zone) -> tuple[ZoneText, str]:
        """Its zone file, and what is wrong with it."""
        file, spec = record.spec.zone_file, record.spec
        if file is None or record.deleting:
            return NO_FILE, ""
        text = file.text
        if file.config_map_ref is not None:
            name = file.config_map_ref.name
            values = await self.values.read("ConfigMap", record.metadata.namespace, name)
            if values is None or file.key not in values:
                return NO_FILE, f"there is no key '{file.key}' in ConfigMap '{name}'"
            text = values[file.key].decode(errors="replace")
        try:
            # up to seconds for the biggest: not on the loop
            return await asyncio.to_thread(read_zone_file, text or "", spec.domain, spec.ttl), ""
        except ValueError as exc:
            return NO_FILE, str(exc)

    async def _server(self, at: At) -> DnsServer:
        values = await self.values.read("Secret", PLATFORM_NAMESPACE, at.secret_name)
        secret = f"{PLATFORM_NAMESPACE}/{at.secret_name}"
        key = credential(values, "api-key", secret=secret, use="reach the DNS server")
        return DnsServer(at.url, key)

    def plan(self, want: Want[Zone], seen: ZoneSeen, /) -> Plan[ZoneStep]:
        if want.deleting:
            return _removal(want, seen)
        if seen.at is None:
            return Plan(wait=_service_wait(want))
        if wait := _objection(want, seen):
            return Plan(wait=wait)
        if steps := _steps(want, seen.at, seen.zone, _merged(want, seen)):
            return Plan(steps)
        if seen.answered is None:
            return Plan(wait=Wait("NotAnswering", _silence(seen), RECHECK_S))
        return Plan()

    def status(self, want: Want[Zone], seen: ZoneSeen, /) -> Report:
        zone = seen.zone if seen.zone and seen.zone.account in owners.own(want) else None
        wanted = _merged(want, seen)
        ready, reason, message = _readiness(want, seen)
        ds = tuple(each for key in zone.keys if key.active for each in key.ds) if zone else ()
        status = ZoneStatus(
            serial=zone.serial if zone else None,
            endpoint=seen.answers_at or None,
            nameservers=tuple(name.removesuffix(".") for name in wanted.nameservers),
            served=len(zone.rrsets) if zone else None,
            signed=zone.signed if zone else None,
            ds=ds,
            sources=_sources(want, seen, zone, wanted),
            left_out=wanted.left_out,
        )
        recheck = SERVED_RECHECK_S if ready else None
        complete = (completeness(wanted, seen.file_problem),) if zone else ()
        return Report(status, ready, reason, message, conditions=complete, recheck_after_s=recheck)

    async def apply(self, step: ZoneStep, /) -> None:
        server = await self._server(step.at)
        match step:
            case MakeZone():
                await self._make(server, step)
            case ChangeRecords(domain=domain, changes=todo, soa=soa):
                await self._change(server, domain, todo, soa)
            case SignZone(domain=domain, signed=signed):
                await self.dns.ensure_signed(server, domain, signed)
            case HandZone(domain=domain, account=account, was=was):
                await self.dns.ensure_account(server, domain, account, was)
            case RemoveZone(domain=domain, account=account):
                await self.dns.delete_zone(server, domain, account)
            case _:
                assert_never(step)

    async def _make(self, server: DnsServer, step: MakeZone) -> None:
        """With all its records; if the server refuses that, with its nameservers alone: the next
        look finds what is missing, and adds what the server takes of it."""
        head = (server, step.domain, step.account, step.soa)
        try:
            await self.dns.ensure_zone(*head, step.rrsets)
        except TerminalError:
            bare = tuple(
                each for each in step.rrsets if (each.name, each.type) == (step.domain, "NS")
            )
            if bare == step.rrsets:
                raise
            await self.dns.ensure_zone(*head, bare)

    async def _change(
        self, server: DnsServer, domain: str, todo: tuple[RRset, ...], soa: Soa | None
    ) -> None:
        """All at once; if the server refuses that, one by one, so that one owner's odd record
        keeps nobody else's from being served."""
        try:
            await self.dns.ensure_rrsets(server, domain, todo, soa)
        except TerminalError:
            refused: TerminalError | None = None
            for each in sorted(todo, key=lambda rrset: bool(rrset.records)):
                try:
                    await self.dns.ensure_rrsets(server, domain, (each,))
                except TerminalError as exc:
                    refused = refused or exc
            await self.dns.ensure_rrsets(server, domain, (), soa)
            if refused is not None:
                raise refused from None


def _sources(
    want: Want[Zone], seen: ZoneSeen, zone: ZoneState | None, wanted: Merged
) -> tuple[Source, ...]:
    before = want.record.status.sources
    if seen.at is None:
        return before  # nothing is seen, and where paused ones are served is not to be forgotten
    return as_found(wanted, zone, before) if zone else ()


def _service(want: Want[Zone]) -> Resolved | None:
    return want.services.get(want.record.spec.service)


def _at(service: Resolved | None) -> At | None:
    """Where its API is, once it has an address and a key."""
    if service is None or service.binding is None:
        return None
    address = (service.status.get("endpoints") or {}).get("api")
    if not address:
        return None
    url = address if "://" in address else f"http://{address}"
    return At(url, service.binding.secret_name)


def _answers_at(service: Resolved | None, at: At) -> str:
    """An external server has no other address: it answers on port 53 of the same."""
    endpoints = (service.status.get("endpoints") if service else None) or {}
    host = at.url.rpartition("/")[2].rpartition(":")[0]
    return str(endpoints.get("dns") or f"{host}:53")


def _overlaps(name: str, domain: str) -> bool:
    return name.endswith(f".{domain}") or domain.endswith(f".{name}")


async def _put_together(want: Want[Zone], seen: ZoneSeen) -> Merged:
    """On a thread where that takes long: others get their turns meanwhile."""
    sets = len(want.record.spec.record_sets) + len(seen.file.sets) + len(want.dependents)
    if sets < MANY_SETS:
        return _merged(want, seen)
    return await asyncio.to_thread(_merged, want, seen)


def _merged(want: Want[Zone], seen: ZoneSeen) -> Merged:
    if seen.wanted is not None:
        return seen.wanted
    service = _service(want)
    settings = (service.spec.get("settings") if service else None) or {}
    names = tuple(each for each in str(settings.get("nameservers", "")).split(",") if each)
    return merged(want.record, seen.file, want.dependents, seen.able, names)


def _steps(
    want: Want[Zone], at: At, zone: ZoneState | None, wanted: Merged
) -> tuple[ZoneStep, ...]:
    """From what the server has to what is wanted."""
    domain, account = f"{want.record.spec.domain}.", owners.account_of(want)
    make = MakeZone(at, domain, account, wanted.soa, wanted.rrsets)
    if zone is None:
        return (make,)
    if zone.account != account:
        return (HandZone(at, domain, account, zone.account),)
    steps: list[ZoneStep] = []
    if not zone.settled(account):
        steps.append(make)
    soa = None if zone.soa == wanted.soa else wanted.soa
    todo = changes(zone.rrsets, wanted)
    if todo or soa is not None:
        steps.append(ChangeRecords(at, domain, todo, soa))
    if zone.signed != want.record.spec.dnssec:
        steps.append(SignZone(at, domain, want.record.spec.dnssec))
    return tuple(steps)


def _removal(want: Want[Zone], seen: ZoneSeen) -> Plan[ZoneStep]:
    service = _service(want)
    if service is None or service.uid is None:
        # what is left on its data is swept once there is a server again, unless it is to be kept
        return Plan()
    if seen.at is None:
        return Plan(wait=_service_wait(want))
    if seen.zone is None or seen.zone.account not in owners.own(want):
        return Plan()
    was = seen.zone.account
    if want.record.spec.deletion_policy == "Retain":
        return Plan((HandZone(seen.at, seen.zone.name, owners.kept(want), was),))
    return Plan((RemoveZone(seen.at, seen.zone.name, was),))


def _service_wait(want: Want[Zone]) -> Wait:
    service = _service(want)
    name = want.record.spec.service
    message = (service.message if service else "") or f"Platform '{name}' has no address yet"
    if service is not None and service.binding is None and service.ready:
        message = (
            f"Platform '{name}' has no Secret; name one with the key 'api-key' in its "
            "spec.external.secretRef"
        )
    return Wait("ServiceNotReady", message, RECHECK_S)


def _objection(want: Want[Zone], seen: ZoneSeen) -> Wait | None:
    """What keeps it from being touched at all."""
    domain, file = want.record.spec.domain, want.record.spec.zone_file
    ours = (*owners.own(want), owners.kept(want))
    if seen.zone is not None and seen.zone.account not in ours:
        whose = owners.holder(seen.zone.account)
        message = (
            f"the server has a zone '{domain}' {whose}; choose another domain, or ask an "
            f"administrator to remove it there or to set its account to '{owners.kept(want)}'"
        )
        return Wait("NameTaken", message, SERVED_RECHECK_S)
    if seen.kept_for_others:
        message = (
            f"the server has a zone above or below '{domain}' that is kept for another namespace; "
            "choose another domain, or ask an administrator to remove it there"
        )
        return Wait("NameTaken", message, SERVED_RECHECK_S)
    if seen.file_problem:
        field = "text" if file is not None and file.text is not None else "configMapRef"
        message = (
            f"cannot read spec.zoneFile.{field}: {seen.file_problem}; until it is mended nothing "
            "in the zone changes"
        )
        return Wait("ZoneFileInvalid", message, SERVED_RECHECK_S)
    return None


def _silence(seen: ZoneSeen) -> str:
    return f"the server at {seen.answers_at} has the zone and does not answer for it yet"


def _readiness(want: Want[Zone], seen: ZoneSeen) -> tuple[bool, str, str]:
    if want.deleting:
        return False, "Terminating", "it is being removed from the server"
    if seen.at is None:
        wait = _service_wait(want)
        return False, wait.reason, wait.message
    answers = seen.zone is not None and seen.answered is not None
    if objection := _objection(want, seen):
        # a zone that is answered goes on being so while its file is mended
        goes_on = answers and objection.reason == "ZoneFileInvalid"
        return goes_on, objection.reason, objection.message
    if seen.zone is None:
        return False, "NotCreated", "the server does not have it yet"
    if seen.answered is None:
        return False, "NotAnswering", _silence(seen)
    return True, "Serving", f"{len(seen.zone.rrsets)} record sets are answered"
