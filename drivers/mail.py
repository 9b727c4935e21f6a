"""Mail servers: domains, mailboxes and aliases; value types, the Protocol, and the built-in one.

The built-in server is Postfix and Dovecot in one container (manifests/images/mail); everything is
asked of its `mailctl`, run inside it. drivers/mailcow.py is the other one. Neither knows a record:
`owner` and `claim` are opaque words that are kept beside each object.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

from controlplane.errors import ConflictError, DriverUnavailableError, RetryableError, TerminalError
from drivers.containers import Containers

What = Literal["domain", "mailbox", "alias"]

CALL_TIMEOUT_S: Final = 20.0
"""mailctl answers in 0.1 s; a busy machine may take a hundred times as long."""

_AWAY: Final = ("WrongState", "Missing", "EngineRefused")
"""How the engine says that a command can't be run in a container that isn't up."""


@dataclass(frozen=True, slots=True)
class MailServer:
    """Which server, and how it lets us in."""

    endpoint: str
    """Id of the built-in server's container; base URL of a Mailcow, e.g. `https://mail.example`."""
    api_key: str = field(default="", repr=False)
    imap: str = ""
    """`host:port` of IMAP over TLS, where a Mailcow's passwords are tried; "": they are not."""


@dataclass(frozen=True, slots=True)
class ServerState:
    """What a server says of itself."""

    version: str


@dataclass(frozen=True, slots=True)
class DomainSpec:
    """A domain as it shall be. `selector` "" for one that doesn't sign."""

    name: str
    owner: str
    claim: str
    """Who may find kept mail again: another claim is another tenant."""
    active: bool = True
    selector: str = ""


@dataclass(frozen=True, slots=True)
class DomainState:
    """A domain as it is. `selector` and `public_key` (DER, base64) "" where it has no key."""

    name: str
    owner: str
    active: bool
    selector: str = ""
    public_key: str = ""


@dataclass(frozen=True, slots=True)
class MailboxSpec:
    """A mailbox as it shall be. Addresses in lower case; lists sorted."""

    address: str
    owner: str
    claim: str
    quota_bytes: int
    """Whole MiB: Mailcow knows nothing finer."""
    active: bool = True
    display_name: str = ""
    forward: tuple[str, ...] = ()
    keep_copy: bool = True
    """Whether what is forwarded also stays here."""
    aliases: tuple[str, ...] = ()
    """Further addresses of the same domain."""


@dataclass(frozen=True, slots=True)
class MailboxState:
    """A mailbox as it is."""

    address: str
    owner: str
    quota_bytes: int
    active: bool
    display_name: str = ""
    forward: tuple[str, ...] = ()
    keep_copy: bool = True
    aliases: tuple[str, ...] = ()
    used_bytes: int = 0
    password_ok: bool = False
    """Whether the password given with the question opens it."""


@dataclass(frozen=True, slots=True)
class AliasSpec:
    """An alias as it shall be; address `@example.org` takes what nobody else takes."""

    address: str
    owner: str
    claim: str
    targets: tuple[str, ...]
    active: bool = True


@dataclass(frozen=True, slots=True)
class AliasState:
    """An alias as it is."""

    address: str
    owner: str
    targets: tuple[str, ...]
    active: bool


@dataclass(frozen=True, slots=True)
class OwnedThing:
    """Something on a server that carries an owner."""

    what: What
    name: str
    owner: str


@dataclass(frozen=True, slots=True)
class Password:
    """A password, and a word that changes whenever it does and says nothing of it."""

    value: str = field(repr=False)
    version: str


class Mail(Protocol):
    """Mail servers of one make. Every call has a timeout.

    Raises DriverUnavailableError (it doesn't answer), RetryableError with reason NotOurs (it is
    another record's), DomainMissing, InUse (a domain with addresses in it) or what else the server
    says may pass, and TerminalError (AccessDenied, Refused) where only a person can help.
    """

    async def observe_server(self, server: MailServer, /) -> ServerState: ...

    async def list_owned(self, server: MailServer, /) -> tuple[OwnedThing, ...]:
        """Everything that carries an owner, sorted."""
        ...

    async def observe_domain(self, server: MailServer, name: str, /) -> DomainState | None: ...

    async def ensure_domain(
        self, server: MailServer, spec: DomainSpec, /, *, dkim_key: str = ""
    ) -> None:
        """`dkim_key`: private key in PEM; "" takes a key away."""
        ...

    async def delete_domain(self, server: MailServer, name: str, /, *, owner: str) -> None: ...

    async def observe_mailbox(
        self, server: MailServer, address: str, password: Password, /
    ) -> MailboxState | None: ...

    async def ensure_mailbox(
        self, server: MailServer, spec: MailboxSpec, password: Password, /
    ) -> None:
        """Mail that was kept under the same address and claim is there again."""
        ...

    async def delete_mailbox(
        self, server: MailServer, address: str, /, *, owner: str, keep_mail: bool
    ) -> None: ...

    async def observe_alias(self, server: MailServer, address: str, /) -> AliasState | None: ...

    async def ensure_alias(self, server: MailServer, spec: AliasSpec, /) -> None: ...

    async def delete_alias(self, server: MailServer, address: str, /, *, owner: str) -> None: ...


@dataclass(frozen=True, slots=True)
class ContainerMail:
    """The built-in server. Whoever may run a command in its container may do anything there, so
    it needs no credentials."""

    containers: Containers

    async def observe_server(self, server: MailServer, /) -> ServerState:
        found = await self._call(server, "version", {})
        return ServerState(str(found["version"]))

    async def list_owned(self, server: MailServer, /) -> tuple[OwnedThing, ...]:
        found: list[OwnedThing] = []
        after = ""
        while page := await self._call(server, "list-owned", {"after": after}):
            things = [OwnedThing(each["what"], each["name"], each["owner"]) for each in page]
            # what was made by hand has none
            found += [each for each in things if each.owner]
            after = f"{things[-1].what} {things[-1].name}"
        return tuple(sorted(found, key=lambda each: (each.what, each.name)))

    async def observe_domain(self, server: MailServer, name: str, /) -> DomainState | None:
        found = await self._call(server, "observe-domain", {"name": name})
        return None if found is None else DomainState(name, **found)

    async def ensure_domain(
        self, server: MailServer, spec: DomainSpec, /, *, dkim_key: str = ""
    ) -> None:
        given = {
            "name": spec.name,
            "owner": spec.owner,
            "claim": spec.claim,
            "active": spec.active,
            "selector": spec.selector if dkim_key else "",
            "dkim_key": dkim_key,
        }
        await self._call(server, "ensure-domain", given)

    async def delete_domain(self, server: MailServer, name: str, /, *, owner: str) -> None:
        await self._call(server, "delete-domain", {"name": name, "owner": owner})

    async def observe_mailbox(
        self, server: MailServer, address: str, password: Password, /
    ) -> MailboxState | None:
        given = {"address": address, "password": password.value}
        found = await self._call(server, "observe-mailbox", given)
        if found is None:
            return None
        found["forward"] = tuple(found["forward"])
        found["aliases"] = tuple(found["aliases"])
        return MailboxState(address, **found)

    async def ensure_mailbox(
        self, server: MailServer, spec: MailboxSpec, password: Password, /
    ) -> None:
        given = {
            "address": spec.address,
            "owner": spec.owner,
            "claim": spec.claim,
            "quota_bytes": spec.quota_bytes,
            "active": spec.active,
            "display_name": spec.display_name,
            "forward": spec.forward,
            "keep_copy": spec.keep_copy,
            "aliases": spec.aliases,
            "password": password.value,
        }
        await self._call(server, "ensure-mailbox", given)

    async def delete_mailbox(
        self, server: MailServer, address: str, /, *, owner: str, keep_mail: bool
    ) -> None:
        given = {"address": address, "owner": owner, "keep_mail": keep_mail}
        await self._call(server, "delete-mailbox", given)

    async def observe_alias(self, server: MailServer, address: str, /) -> AliasState | None:
        found = await self._call(server, "observe-alias", {"address": address})
        if found is None:
            return None
        return AliasState(address, found["owner"], tuple(found["targets"]), found["active"])

    async def ensure_alias(self, server: MailServer, spec: AliasSpec, /) -> None:
        given = {
            "address": spec.address,
            "owner": spec.owner,
            "claim": spec.claim,
            "targets": spec.targets,
            "active": spec.active,
        }
        await self._call(server, "ensure-alias", given)

    async def delete_alias(self, server: MailServer, address: str, /, *, owner: str) -> None:
        await self._call(server, "delete-alias", {"address": address, "owner": owner})

    async def _call(self, server: MailServer, verb: str, given: Mapping[str, Any]) -> Any:
        """One verb of mailctl. What it is given, secrets too, goes over stdin: never argv."""
        try:
            code, output = await self.containers.exec_container(
                server.endpoint,
                ("mailctl", verb),
                stdin=json.dumps(given).encode(),
                timeout_s=CALL_TIMEOUT_S,
            )
        except (RetryableError, TerminalError) as exc:
            if exc.reason in _AWAY or isinstance(exc, ConflictError):
                raise unavailable("its container does not run") from exc
            if exc.reason == "CommandTimedOut":
                raise unavailable("mailctl did not end in time") from exc
            raise
        try:
            answer = json.loads(output)
            done = bool(answer["ok"])
        except (ValueError, KeyError, TypeError) as exc:
            raise unavailable(f"mailctl ended with code {code} and no answer") from exc
        if done:
            return answer["result"]
        raise _refusal(verb, str(answer.get("reason")), str(answer.get("message")))


def unavailable(why: str) -> DriverUnavailableError:
    """The server as a whole doesn't answer."""
    return DriverUnavailableError("mail", f"cannot reach the mail server: {why}")


def _refusal(verb: str, reason: str, message: str) -> RetryableError | TerminalError:
    text = f"cannot {verb.replace('-', ' ')}: {message}"
    if reason == "KeyInvalid":
        return TerminalError(text, reason=reason)
    return RetryableError(text, reason=reason)
