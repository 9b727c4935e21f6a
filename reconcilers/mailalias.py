"""MailAlias: an address on a mail server that leads to others."""

from dataclasses import dataclass
from typing import assert_never

from controlplane.plan import Plan, Reconciler, Report, Want
from drivers.mail import AliasSpec, AliasState
from reconcilers._mail import (
    MailServers,
    Place,
    address_of,
    not_placed,
    not_served,
    place_of,
    removal,
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
        if place is None or not (address := address_of(want)):
            return MailAliasSeen(place)
        mail, server = await self.servers.open(place)
        return MailAliasSeen(place, await mail.observe_alias(server, address))

    def plan(self, want: Want[MailAlias], seen: MailAliasSeen, /) -> Plan[MailAliasStep]:
        if want.deleting:
            return _removal(want, seen)
        if wait := not_placed(want, seen.place):
            return Plan(wait=wait)
        assert seen.place is not None
        target = _target(want)
        if _is(target, seen.state):
            return Plan()
        return Plan((ServeAlias(seen.place, target),))

    def status(self, want: Want[MailAlias], seen: MailAliasSeen, /) -> Report:
        reason, message = _readiness(want, seen)
        status = MailAliasStatus(address=address_of(want) or None)
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


def _target(want: Want[MailAlias]) -> AliasSpec:
    record = want.record
    return AliasSpec(
        address_of(want),
        record.metadata.uid,
        want.namespace_uid,
        tuple(sorted(record.spec.targets)),
        record.spec.enabled,
    )


def _is(target: AliasSpec, state: AliasState | None) -> bool:
    return state == AliasState(target.address, target.owner, target.targets, target.active)


def _removal(want: Want[MailAlias], seen: MailAliasSeen) -> Plan[MailAliasStep]:
    address, owner = address_of(want), want.record.metadata.uid
    if not address:
        return Plan()
    return removal(want, seen.place, seen.state, lambda place: DropAlias(place, address, owner))


def _readiness(want: Want[MailAlias], seen: MailAliasSeen) -> tuple[str, str]:
    right = _is(_target(want), seen.state)
    if told := not_served(want, not_placed(want, seen.place), seen.state, right=right):
        return told
    if not want.record.spec.enabled:
        return "Disabled", "it is switched off as asked: it takes no mail"
    return "Serving", "its mail goes to its targets"
