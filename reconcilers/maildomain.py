"""MailDomain: a domain on a mail server, its signing key in a Secret, its records in a Zone.

Not here: the addresses in it, which are records of their own, and DNS itself: what it has to say is
handed to the Zone as RecordSets.
"""

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final, assert_never

from controlplane.plan import (
    ChildRef,
    EnsureChild,
    EnsureSecret,
    Generated,
    Plan,
    Reconciler,
    RecordStep,
    RemoveChild,
    Report,
    SecretReader,
    Wait,
    Want,
)
from drivers.mail import DomainSpec, DomainState
from drivers.mail_keys import SHORTEST_BITS, public_key
from reconcilers._lifecycle import read_own
from reconcilers._mail import (
    MailServers,
    Place,
    no_server,
    place_of,
    removal,
    settings_of,
    unused_secret,
)
from reconcilers._secrets import is_whole
from resources.maildomain import DnsRecord, MailDomain, MailDomainStatus
from resources.meta import Condition, SecretRef

PRIVATE: Final = "private-key"
KEY_BITS: Final = 2048
"""What every verifier takes (RFC 8301, 3.2); a longer one doesn't fit one TXT string in DNS over
UDP."""
CHILDREN: Final = ("mx", "spf", "dkim", "dmarc", "a", "aaaa")
"""RecordSets it may have, by the end of their names."""


@dataclass(frozen=True, slots=True)
class MailDomainSeen:
    """What is there."""

    place: Place | None = None
    state: DomainState | None = None
    public_key: str = ""
    """Of the private key in the Secret; "": there is none that can be used."""
    has_secret: bool = False


@dataclass(frozen=True, slots=True)
class ServeDomain:
    """Make the domain on the server as it should be, with the key of the Secret."""

    place: Place
    spec: DomainSpec
    namespace: str
    secret_name: str


@dataclass(frozen=True, slots=True)
class DropDomain:
    """Stop serving it."""

    place: Place
    name: str
    owner: str


MailDomainStep = ServeDomain | DropDomain


@dataclass(frozen=True, slots=True)
class MailDomainReconciler(Reconciler[MailDomain, MailDomainSeen, MailDomainStep]):
    servers: MailServers
    values: SecretReader

    def children(self, want: MailDomain, namespace_uid: str, /) -> tuple[ChildRef, ...]:
        # with or without a zone: what was published before has to go
        sets = tuple(ChildRef("RecordSet", _child_name(want, each)) for each in CHILDREN)
        return (ChildRef("Secret", want.own_secret_name), *sets)

    def reads(self, want: MailDomain, /) -> tuple[str, ...]:
        given = want.spec.dkim.secret_ref
        return () if given is None else (f"Secret/{given.name}",)

    async def observe(self, want: Want[MailDomain], /) -> MailDomainSeen:
        record = want.record
        place = place_of(want)
        if place is None:
            return MailDomainSeen()
        mail, server = await self.servers.open(place)
        state = await mail.observe_domain(server, record.spec.domain)
        values = await read_own(self.values, want, record.secret_name)
        private = (values or {}).get(PRIVATE, b"").decode(errors="replace")
        return MailDomainSeen(
            place, state, public_key(private) if private else "", values is not None
        )

    def plan(self, want: Want[MailDomain], seen: MailDomainSeen, /) -> Plan[MailDomainStep]:
        if want.deleting:
            return _removal(want, seen)
        if seen.place is None:
            return Plan(wait=no_server(want))
        if steps := _secret(want):
            return Plan(steps)
        if not seen.public_key:
            return Plan(wait=_bad_key(want, seen))
        steps = _record_sets(want, seen)
        target = _target(want)
        if seen.state != _state(target, seen.public_key):
            meta = want.record.metadata
            serve = ServeDomain(seen.place, target, meta.namespace, want.record.secret_name)
            return Plan((*steps, serve))
        record = want.record
        return Plan((*steps, *unused_secret(want, record.own_secret_name, record.secret_name)))

    def status(self, want: Want[MailDomain], seen: MailDomainSeen, /) -> Report:
        record = want.record
        state = seen.state
        served = state is not None and state.owner == record.metadata.uid
        status = MailDomainStatus(
            domain=record.spec.domain if served else None,
            host=_host(want),
            selector=state.selector or None if served and state else None,
            public_key=state.public_key or None if served and state else None,
            secret_ref=SecretRef(name=record.secret_name) if seen.has_secret else None,
            records=_records(want, seen) if seen.public_key else (),
            mailboxes=sum(each.kind == "Mailbox" for each in want.dependents),
        )
        reason, message = _readiness(want, seen)
        ready = reason in ("Serving", "Disabled")
        return Report(status, ready, reason, message, conditions=_published(want))

    async def apply(self, step: MailDomainStep, /) -> None:
        match step:
            case ServeDomain(place=place, spec=spec, namespace=namespace, secret_name=name):
                values = await self.values.read("Secret", namespace, name)
                private = (values or {}).get(PRIVATE, b"").decode(errors="replace")
                mail, server = await self.servers.open(place)
                await mail.ensure_domain(server, spec, dkim_key=private)
            case DropDomain(place=place, name=name, owner=owner):
                mail, server = await self.servers.open(place)
                await mail.delete_domain(server, name, owner=owner)
            case _:
                assert_never(step)


def _child_name(record: MailDomain, what: str) -> str:
    return f"{record.metadata.name}-mail-{what}"


def _target(want: Want[MailDomain]) -> DomainSpec:
    record = want.record
    return DomainSpec(
        record.spec.domain,
        record.metadata.uid,
        want.namespace_uid,
        record.spec.enabled,
        record.spec.dkim.selector,
    )


def _state(target: DomainSpec, key: str) -> DomainState:
    return DomainState(target.name, target.owner, target.active, target.selector, key)


def _secret(want: Want[MailDomain]) -> tuple[RecordStep, ...]:
    """Its own Secret with a key, made once."""
    if want.record.spec.dkim.secret_ref is not None:
        return ()
    name = want.record.secret_name
    if is_whole(want.children.get(("Secret", name)), (PRIVATE,)):
        return ()
    keys = {PRIVATE: Generated(KEY_BITS, form="rsa")}
    return (EnsureSecret(name, keys, type="bunker.cloud/dkim"),)


def _bad_key(want: Want[MailDomain], seen: MailDomainSeen) -> Wait:
    name = want.record.secret_name
    if not seen.has_secret:
        return Wait("SecretMissing", f"Secret '{name}' does not exist; make it, or leave it out")
    message = (
        f"Secret '{name}' has no RSA private key in PEM of {SHORTEST_BITS} bits or more under "
        f"'{PRIVATE}'; put one there, or delete a Secret that this record made, and a new key is "
        "made"
    )
    return Wait("KeyInvalid", message)


def _removal(want: Want[MailDomain], seen: MailDomainSeen) -> Plan[MailDomainStep]:
    inside = [f"{each.kind} '{each.name}'" for each in want.dependents]
    if inside:
        more = f" and {len(inside) - 5} more" if len(inside) > 5 else ""
        message = f"{', '.join(inside[:5])}{more} are in it; delete them first"
        return Plan(wait=Wait("InUse", message))
    name, owner = want.record.spec.domain, want.record.metadata.uid
    return removal(want, seen.place, seen.state, lambda place: DropDomain(place, name, owner))


# --- DNS ---


def _host(want: Want[MailDomain]) -> str:
    """The mail server's name, as MX says."""
    spec = want.record.spec
    return spec.host or settings_of(want).get("host") or f"mail.{spec.domain}"


def _records(want: Want[MailDomain], seen: MailDomainSeen) -> tuple[DnsRecord, ...]:
    """What DNS has to say: RFC 5321 (MX), 7208 (SPF), 6376 (DKIM), 7489 (DMARC)."""
    spec = want.record.spec
    domain, host = spec.domain, _host(want)
    report = "" if spec.dmarc.report_to is None else f"; rua=mailto:{spec.dmarc.report_to}"
    inside = host == domain or host.endswith(f".{domain}")
    addresses = spec.addresses if inside else ()
    return (
        DnsRecord(name=domain, type="MX", value=f"10 {host}."),
        DnsRecord(
            name=domain, type="TXT", value=f"v=spf1 mx {'-' if spec.spf == 'strict' else '~'}all"
        ),
        DnsRecord(
            name=f"{spec.dkim.selector}._domainkey.{domain}",
            type="TXT",
            value=f"v=DKIM1; k=rsa; p={seen.public_key}",
        ),
        DnsRecord(
            name=f"_dmarc.{domain}", type="TXT", value=f"v=DMARC1; p={spec.dmarc.policy}{report}"
        ),
        *(
            DnsRecord(name=host, type="A" if ip_address(each).version == 4 else "AAAA", value=each)
            for each in addresses
        ),
    )


def _sets(want: Want[MailDomain], seen: MailDomainSeen) -> dict[str, dict[str, object]]:
    """RecordSet specs by child name."""
    zone = want.record.spec.zone_ref
    if zone is None:
        return {}
    records = _records(want, seen)
    named = dict(zip(("mx", "spf", "dkim", "dmarc"), records, strict=False))
    groups: dict[str, tuple[DnsRecord, ...]] = {what: (record,) for what, record in named.items()}
    for what, kind in (("a", "A"), ("aaaa", "AAAA")):
        if found := tuple(record for record in records if record.type == kind):
            groups[what] = found
    return {
        _child_name(want.record, what): {
            "zoneRef": {"name": zone.name},
            "name": f"{group[0].name}.",
            "type": group[0].type,
            "records": [record.value for record in group],
        }
        for what, group in groups.items()
    }


def _record_sets(want: Want[MailDomain], seen: MailDomainSeen) -> tuple[RecordStep, ...]:
    """What is missing or differs, and what is no longer wanted."""
    wanted = _sets(want, seen)
    steps: list[RecordStep] = []
    for what in CHILDREN:
        name = _child_name(want.record, what)
        child = want.children.get(("RecordSet", name))
        spec = wanted.get(name)
        if spec is not None:
            if child is None or not child.owned or not spec.items() <= child.spec.items():
                steps.append(EnsureChild("RecordSet", name, spec))
        elif child is not None and child.owned and not child.deleting:
            steps.append(RemoveChild("RecordSet", name))
    return tuple(steps)


def _published(want: Want[MailDomain]) -> tuple[Condition, ...]:
    """Whether DNS says it, where that is ours to do."""
    zone = want.record.spec.zone_ref
    if zone is None or want.deleting:
        return ()
    sets = [child for (kind, _), child in want.children.items() if kind == "RecordSet"]
    waiting = sorted(child.name for child in sets if not child.ready)
    if sets and not waiting:
        return (Condition(type="Published", status="True", reason="Served"),)
    first = waiting[0] if waiting else _child_name(want.record, CHILDREN[0])
    message = f"Zone '{zone.name}' does not serve RecordSet '{first}' yet: see its conditions"
    return (Condition(type="Published", status="False", reason="Pending", message=message),)


def _readiness(want: Want[MailDomain], seen: MailDomainSeen) -> tuple[str, str]:
    record = want.record
    if want.deleting:
        return "Terminating", "it is being removed"
    if seen.place is None:
        wait = no_server(want)
        return wait.reason, wait.message
    if not seen.public_key:
        wait = _bad_key(want, seen)
        return wait.reason, wait.message
    if seen.state is not None and seen.state.owner != record.metadata.uid:
        return "NotOurs", "the server has that domain from somebody else; remove it there"
    if seen.state != _state(_target(want), seen.public_key):
        return "NotServed", "the server does not serve it as it should yet"
    if not record.spec.enabled:
        return "Disabled", "it is switched off as asked: it takes and sends no mail"
    return "Serving", "the server takes its mail and signs what it sends"
