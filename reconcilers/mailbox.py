"""Mailbox: an account on a mail server, its password in a Secret.

Its password is compared by the server, so that one changed behind our back is found and set again.
"""

from dataclasses import dataclass, replace
from typing import Final, assert_never

from controlplane.errors import RetryableError
from controlplane.plan import (
    ChildRef,
    EnsureSecret,
    Generated,
    Plan,
    Reconciler,
    RecordStep,
    Report,
    SecretReader,
    Template,
    Want,
)
from drivers.mail import MailboxSpec, MailboxState, Password
from reconcilers._lifecycle import read_own
from reconcilers._mail import (
    MailServers,
    Place,
    address_of,
    bad_password,
    client_host,
    domain_of,
    no_server,
    not_placed,
    not_served,
    password_of,
    place_of,
    removal,
    unused_secret,
)
from reconcilers._secrets import is_whole, tells_truth
from resources.mailbox import Mailbox, MailboxStatus
from resources.meta import SecretRef

SUBMISSION: Final = 587
IMAP: Final = 143
IMAPS: Final = 993
MIB: Final = 2**20
VERSION_CHARS: Final = 16
"""Of a keyed HMAC in hexadecimal: 64 bits tell two passwords of one mailbox apart."""
NOBODY: Final = Password("", "")
"""Asked with where there is no password: opens nothing."""


@dataclass(frozen=True, slots=True)
class MailboxSeen:
    """What is there."""

    place: Place | None = None
    state: MailboxState | None = None
    has_secret: bool = False
    has_password: bool = False
    secret_true: bool = True
    """Whether its own Secret, if there is one, says where and as whom it is reached."""


@dataclass(frozen=True, slots=True)
class ServeMailbox:
    """Make it on the server as it should be, with the password of the Secret."""

    place: Place
    spec: MailboxSpec
    namespace: str
    secret_name: str
    version: str


@dataclass(frozen=True, slots=True)
class DropMailbox:
    """Stop serving it; its mail is destroyed only where the record says so."""

    place: Place
    address: str
    owner: str
    keep_mail: bool


MailboxStep = ServeMailbox | DropMailbox


@dataclass(frozen=True, slots=True)
class MailboxReconciler(Reconciler[Mailbox, MailboxSeen, MailboxStep]):
    servers: MailServers
    values: SecretReader

    def children(self, want: Mailbox, namespace_uid: str, /) -> tuple[ChildRef, ...]:
        return (ChildRef("Secret", want.own_secret_name),)

    def reads(self, want: Mailbox, /) -> tuple[str, ...]:
        given = want.spec.password_secret_ref
        return () if given is None else (f"Secret/{given.name}",)

    async def observe(self, want: Want[Mailbox], /) -> MailboxSeen:
        record = want.record
        values = await read_own(self.values, want, record.secret_name)
        password = password_of(values, _version(want))
        place = place_of(want)
        state = None
        if place is not None and (address := address_of(want)):
            mail, server = await self.servers.open(place)
            state = await mail.observe_mailbox(server, address, password or NOBODY)
        given = record.spec.password_secret_ref is not None
        return MailboxSeen(
            place,
            state,
            values is not None,
            password is not None,
            values is None or given or tells_truth(values, _secret_keys(want)),
        )

    def plan(self, want: Want[Mailbox], seen: MailboxSeen, /) -> Plan[MailboxStep]:
        if want.deleting:
            return _removal(want, seen)
        if wait := not_placed(want, seen.place):
            return Plan(wait=wait)
        assert seen.place is not None
        if steps := _secret(want, seen):
            return Plan(steps)
        if not seen.has_password:
            return Plan(wait=bad_password(want.record.secret_name, there=seen.has_secret))
        target = _target(want)
        if _is(target, seen.state):
            record = want.record
            return Plan(unused_secret(want, record.own_secret_name, record.secret_name))
        meta = want.record.metadata
        return Plan(
            (
                ServeMailbox(
                    seen.place, target, meta.namespace, want.record.secret_name, _version(want)
                ),
            )
        )

    def status(self, want: Want[Mailbox], seen: MailboxSeen, /) -> Report:
        record = want.record
        state = seen.state
        host = client_host(want)
        status = MailboxStatus(
            address=address_of(want) or None,
            secret_ref=SecretRef(name=record.secret_name) if seen.has_secret else None,
            submission=f"{host}:{SUBMISSION}",
            imap=f"{host}:{IMAP}",
            used=-(-state.used_bytes // MIB) * MIB if state else None,
        )
        reason, message = _readiness(want, seen)
        return Report(status, reason in ("Serving", "Disabled"), reason, message)

    async def apply(self, step: MailboxStep, /) -> None:
        match step:
            case ServeMailbox(place=place, spec=spec, namespace=ns, secret_name=name, version=v):
                password = password_of(await self.values.read("Secret", ns, name), v)
                if password is None:
                    raise RetryableError(
                        f"cannot set the password of '{spec.address}': Secret '{name}' has none",
                        reason="PasswordInvalid",
                    )
                mail, server = await self.servers.open(place)
                await mail.ensure_mailbox(server, spec, password)
            case DropMailbox(place=place, address=address, owner=owner, keep_mail=keep_mail):
                mail, server = await self.servers.open(place)
                await mail.delete_mailbox(server, address, owner=owner, keep_mail=keep_mail)
            case _:
                assert_never(step)


def _version(want: Want[Mailbox]) -> str:
    """Changes whenever the Secret does."""
    name = want.record.secret_name
    given = want.secrets.get(f"Secret/{name}")
    child = want.children.get(("Secret", name))
    whole = given or (child.content_hmac if child is not None else "")
    return whole[:VERSION_CHARS]


def _target(want: Want[Mailbox]) -> MailboxSpec:
    record = want.record
    spec = record.spec
    domain = domain_of(want)
    return MailboxSpec(
        address=address_of(want),
        owner=record.metadata.uid,
        claim=want.namespace_uid,
        quota_bytes=spec.quota,
        active=spec.enabled,
        display_name=spec.display_name,
        forward=() if spec.forward is None else tuple(sorted(spec.forward.to)),
        keep_copy=spec.forward is None or spec.forward.keep_copy,
        # one stored by an earlier release may name itself, too
        aliases=tuple(
            sorted(f"{each}@{domain}" for each in spec.aliases if each != record.local_part)
        ),
    )


def _is(target: MailboxSpec, state: MailboxState | None) -> bool:
    """Whether the server has it so. How much mail is in it is its user's business."""
    return state is not None and state == MailboxState(
        target.address,
        target.owner,
        target.quota_bytes,
        target.active,
        target.display_name,
        target.forward,
        target.keep_copy,
        target.aliases,
        used_bytes=state.used_bytes,
        password_ok=True,
    )


def _secret_keys(want: Want[Mailbox]) -> dict[str, str | Generated | Template]:
    """Keys of https://servicebinding.io/spec/core/1.1.0/#well-known-secret-entries."""
    return {
        "type": "smtp",
        "provider": "bunker",
        "host": client_host(want),
        "port": str(SUBMISSION),
        "imap-port": str(IMAP),
        "imaps-port": str(IMAPS),
        "username": address_of(want),
        "password": Generated(),
        "uri": Template("smtp://{username}:{password}@{host}:{port}", uri=True),
    }


def _secret(want: Want[Mailbox], seen: MailboxSeen) -> tuple[RecordStep, ...]:
    """Its own Secret, complete and true."""
    if want.record.spec.password_secret_ref is not None:
        return ()
    name = want.record.secret_name
    keys = _secret_keys(want)
    found = want.children.get(("Secret", name))
    if is_whole(found, keys) and seen.secret_true:
        return ()
    return (EnsureSecret(name, keys, type="servicebinding.io/smtp"),)


def _removal(want: Want[Mailbox], seen: MailboxSeen) -> Plan[MailboxStep]:
    address, owner = address_of(want), want.record.metadata.uid
    if not address:
        return Plan()
    keep = want.record.spec.deletion_policy == "Retain"
    if not keep and seen.place is None:
        # not even without a Platform record: its Volume may be kept, and the mail on it
        wait = no_server(want)
        message = f"{wait.message}; set spec.deletionPolicy to Retain to let its mail be kept there"
        return Plan(wait=replace(wait, message=message))
    return removal(
        want, seen.place, seen.state, lambda place: DropMailbox(place, address, owner, keep)
    )


def _readiness(want: Want[Mailbox], seen: MailboxSeen) -> tuple[str, str]:
    wait = not_placed(want, seen.place)
    if wait is None and not seen.has_password:
        wait = bad_password(want.record.secret_name, there=seen.has_secret)
    right = _is(_target(want), seen.state)
    if told := not_served(want, wait, seen.state, right=right):
        return told
    if not want.record.spec.enabled:
        return "Disabled", "it is switched off as asked: it takes no mail and lets nobody in"
    return "Serving", "it takes mail and its password opens it"
