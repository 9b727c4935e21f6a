"""MailAlias: an address on a mail server that leads to others."""

from dataclasses import dataclass
from typing import assert_never

from controlplane.plan import Plan, Reconciler, Report, Wait, Want
from drivers.mail import AliasSpec, AliasState
from reconcilers._mail import (
    MailServers,
    Place,
    domain_of,
    is_gone,
    no_server,
    other_service,
    place_of,
)
from resources.mailalias import MailAlias, MailAliasStatus


@dataclass(frozen=True, slots=True)
class MailAliasSeen:
    """What is there."""

    place: Place | None = None
    state: AliasState | None = None


@dataclass(frozen=True, slots=True)
class ServeAlias:
    """Make it on the server as it should be."""

    place: Place
    spec: AliasSpec


@dataclass(frozen=True, slots=True)
class DropAlias:
    """Stop serving it."""

    place: Place
    address: str
    owner: str


MailAliasStep = ServeAlias | DropAlias


@dataclass(frozen=True, slots=True)
class MailAliasReconciler(Reconciler[MailAlias, MailAliasSeen, MailAliasStep]):
    servers: MailServers

    async def observe(self, want: Want[MailAlias], /) -> MailAliasSeen:
        place = place_of(want)
        if place is None or not (address := _address(want)):
            return MailAliasSeen(place)
        mail, server = await self.servers.open(place)
        return MailAliasSeen(place, await mail.observe_alias(server, address))

    def plan(self, want: Want[MailAlias], seen: MailAliasSeen, /) -> Plan[MailAliasStep]:
        if want.deleting:
            return _removal(want, seen)
        if wait := _trouble(want, seen):
            return Plan(wait=wait)
        assert seen.place is not None
        target = _target(want)
        if _is(target, seen.state):
            return Plan()
        return Plan((ServeAlias(seen.place, target),))

    def status(self, want: Want[MailAlias], seen: MailAliasSeen, /) -> Report:
        reason, message = _readiness(want, seen)
        status = MailAliasStatus(address=_address(want) or None)
        return Report(status, reason in ("Serving", "Disabled"), reason, message)

    async def apply(self, step: MailAliasStep, /) -> None:
        match step:
            case ServeAlias(place=place, spec=spec):
                mail, server = await self.servers.open(place)
                await mail.ensure_alias(server, spec)
            case DropAlias(place=place, address=address, owner=owner):
                mail, server = await self.servers.open(place)
                await mail.delete_alias(server, address, owner=owner)
            case _:
                assert_never(step)


def _address(want: Want[MailAlias]) -> str:
    """Empty while its domain is unknown."""
    domain = domain_of(want)
    return f"{want.record.local_part}@{domain}" if domain else ""


def _target(want: Want[MailAlias]) -> AliasSpec:
    record = want.record
    return AliasSpec(
        _address(want),
        record.metadata.uid,
        want.namespace_uid,
        tuple(sorted(record.spec.targets)),
        record.spec.enabled,
    )


def _is(target: AliasSpec, state: AliasState | None) -> bool:
    return state == AliasState(target.address, target.owner, target.targets, target.active)


def _trouble(want: Want[MailAlias], seen: MailAliasSeen) -> Wait | None:
    if wait := other_service(want):
        return wait
    if not _address(want):
        name = want.record.spec.domain_ref.name
        return Wait("DomainMissing", f"MailDomain '{name}' does not exist; make it, or delete this")
    return no_server(want) if seen.place is None else None


def _removal(want: Want[MailAlias], seen: MailAliasSeen) -> Plan[MailAliasStep]:
    if is_gone(want) or not _address(want):
        return Plan()
    if seen.place is None:
        return Plan(wait=no_server(want))
    owner = want.record.metadata.uid
    if seen.state is None or seen.state.owner != owner:
        return Plan()
    return Plan((DropAlias(seen.place, _address(want), owner),))


def _readiness(want: Want[MailAlias], seen: MailAliasSeen) -> tuple[str, str]:
    record = want.record
    if want.deleting:
        return "Terminating", "it is being removed"
    if wait := _trouble(want, seen):
        return wait.reason, wait.message
    if seen.state is not None and seen.state.owner != record.metadata.uid:
        return "NotOurs", "the server has that address from somebody else; remove it there"
    if not _is(_target(want), seen.state):
        return "NotServed", "the server does not have it as it should be yet"
    if not record.spec.enabled:
        return "Disabled", "it is switched off as asked: it takes no mail"
    return "Serving", "its mail goes to its targets"
