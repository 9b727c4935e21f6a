"""Mail servers that exist only in a table."""

from dataclasses import dataclass, field, replace

from controlplane.errors import DriverUnavailableError, RetryableError, TerminalError
from drivers.fake.faults import Faults
from drivers.mail import (
    AliasSpec,
    AliasState,
    DomainSpec,
    DomainState,
    MailboxSpec,
    MailboxState,
    MailServer,
    OwnedThing,
    Password,
    ServerState,
)
from drivers.mail_keys import public_key


@dataclass(slots=True)
class FakeDomain:
    spec: DomainSpec
    key: str = ""


@dataclass(slots=True)
class FakeMailbox:
    spec: MailboxSpec
    password: str
    mail: list[str]


@dataclass(slots=True)
class FakeMailServer:
    """What one server holds."""

    domains: dict[str, FakeDomain] = field(default_factory=dict)
    mailboxes: dict[str, FakeMailbox] = field(default_factory=dict)
    aliases: dict[str, AliasSpec] = field(default_factory=dict)
    kept: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    """(claim, address) -> mail of a mailbox that is gone."""


@dataclass(slots=True)
class FakeMail:
    """`servers` maps an endpoint to what is there; `anywhere` is at every other one."""

    servers: dict[str, FakeMailServer] = field(default_factory=dict)
    anywhere: FakeMailServer | None = None
    faults: Faults = field(default_factory=Faults)
    writes: int = 0
    lost: set[str] = field(default_factory=set)
    """Verbs whose next call takes effect and is not answered."""

    def _reply(self, verb: str) -> None:
        self.writes += 1
        if verb in self.lost:
            self.lost.discard(verb)
            raise DriverUnavailableError("mail", "cannot reach the mail server: no answer")

    def _at(self, verb: str, server: MailServer) -> FakeMailServer:
        self.faults.enter(verb)
        found = self.servers.get(server.endpoint, self.anywhere)
        if found is None:
            raise DriverUnavailableError("mail", "cannot reach the mail server: it is away")
        return found

    async def observe_server(self, server: MailServer, /) -> ServerState:
        self._at("observe_server", server)
        return ServerState("fake")

    async def list_owned(self, server: MailServer, /) -> tuple[OwnedThing, ...]:
        at = self._at("list_owned", server)
        every = (
            *(OwnedThing("alias", each, at.aliases[each].owner) for each in sorted(at.aliases)),
            *(OwnedThing("domain", n, at.domains[n].spec.owner) for n in sorted(at.domains)),
            *(OwnedThing("mailbox", a, at.mailboxes[a].spec.owner) for a in sorted(at.mailboxes)),
        )
        return tuple(each for each in every if each.owner)

    async def observe_domain(self, server: MailServer, name: str, /) -> DomainState | None:
        found = self._at("observe_domain", server).domains.get(name)
        if found is None:
            return None
        key = public_key(found.key) if found.key else ""
        selector = found.spec.selector if found.key else ""
        return DomainState(name, found.spec.owner, found.spec.active, selector, key)

    async def ensure_domain(
        self, server: MailServer, spec: DomainSpec, /, *, dkim_key: str = ""
    ) -> None:
        at = self._at("ensure_domain", server)
        if found := at.domains.get(spec.name):
            _check_owner(found.spec.owner, spec.owner, spec.name)
        if dkim_key and not public_key(dkim_key):
            raise TerminalError("cannot ensure domain: the DKIM key is no key", reason="KeyInvalid")
        at.domains[spec.name] = FakeDomain(spec, dkim_key)
        self._reply("ensure_domain")

    async def delete_domain(self, server: MailServer, name: str, /, *, owner: str) -> None:
        at = self._at("delete_domain", server)
        found = at.domains.get(name)
        if found is None:
            return
        _check_owner(found.spec.owner, owner, name)
        if any(each.rpartition("@")[2] == name for each in (*at.mailboxes, *at.aliases)):
            raise RetryableError("cannot delete domain: it has addresses", reason="InUse")
        del at.domains[name]
        self._reply("delete_domain")

    async def observe_mailbox(
        self, server: MailServer, address: str, password: Password, /
    ) -> MailboxState | None:
        found = self._at("observe_mailbox", server).mailboxes.get(address)
        if found is None:
            return None
        spec = found.spec
        return MailboxState(
            address,
            spec.owner,
            spec.quota_bytes,
            spec.active,
            spec.display_name,
            spec.forward,
            spec.keep_copy,
            spec.aliases,
            sum(len(each) for each in found.mail),
            found.password == password.value,
        )

    async def ensure_mailbox(
        self, server: MailServer, spec: MailboxSpec, password: Password, /
    ) -> None:
        at = self._at("ensure_mailbox", server)
        _check_domain(at, spec.address, spec.claim)
        for address in (spec.address, *spec.aliases):
            _check_free(at, address, spec.owner)
        found = at.mailboxes.get(spec.address)
        mail = found.mail if found else at.kept.pop((spec.claim, spec.address), [])
        at.mailboxes[spec.address] = FakeMailbox(spec, password.value, mail)
        self._reply("ensure_mailbox")

    async def delete_mailbox(
        self, server: MailServer, address: str, /, *, owner: str, keep_mail: bool
    ) -> None:
        at = self._at("delete_mailbox", server)
        found = at.mailboxes.get(address)
        if found is None:
            return
        _check_owner(found.spec.owner, owner, address)
        if keep_mail:
            at.kept[found.spec.claim, address] = found.mail
        del at.mailboxes[address]
        self._reply("delete_mailbox")

    async def observe_alias(self, server: MailServer, address: str, /) -> AliasState | None:
        found = self._at("observe_alias", server).aliases.get(address)
        if found is None:
            return None
        return AliasState(address, found.owner, found.targets, found.active)

    async def ensure_alias(self, server: MailServer, spec: AliasSpec, /) -> None:
        at = self._at("ensure_alias", server)
        _check_domain(at, spec.address, spec.claim)
        _check_free(at, spec.address, spec.owner)
        at.aliases[spec.address] = spec
        self._reply("ensure_alias")

    async def delete_alias(self, server: MailServer, address: str, /, *, owner: str) -> None:
        at = self._at("delete_alias", server)
        found = at.aliases.get(address)
        if found is None:
            return
        _check_owner(found.owner, owner, address)
        del at.aliases[address]
        self._reply("delete_alias")

    # --- behind everybody's back ---

    def edit_mailbox(self, endpoint: str, address: str, **changes: object) -> None:
        found = self.servers[endpoint].mailboxes[address]
        found.spec = replace(found.spec, **changes)  # type: ignore[arg-type]  # a test's own


def _check_owner(owner: str, given: str, what: str) -> None:
    if owner != given:
        raise RetryableError(f"cannot change {what}: another record's", reason="NotOurs")


def _check_domain(at: FakeMailServer, address: str, claim: str) -> None:
    found = at.domains.get(address.rpartition("@")[2])
    if found is None:
        raise RetryableError("the domain is not served", reason="DomainMissing")
    _check_owner(found.spec.claim, claim, found.spec.name)


def _check_free(at: FakeMailServer, address: str, owner: str) -> None:
    holders = [
        *(each.spec.owner for each in at.mailboxes.values() if _has(each.spec, address)),
        *(each.owner for each in at.aliases.values() if each.address == address),
    ]
    for holder in holders:
        _check_owner(holder, owner, address)


def _has(spec: MailboxSpec, address: str) -> bool:
    return address == spec.address or address in spec.aliases
