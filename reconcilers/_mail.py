"""What the mail kinds share: which server, how to open it, and why there is none.

Values of Secrets pass through here on their way to a driver and are kept nowhere.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, TypeVar

from controlplane.errors import RetryableError
from controlplane.plan import Plan, RecordStep, RemoveChild, Resolved, SecretReader, Wait, Want
from drivers.mail import Mail, MailServer, Password
from reconcilers._credentials import credential
from resources.meta import PLATFORM_NAMESPACE

API_KEY: Final = "api-key"
"""Key of the Secret behind spec.external.secretRef."""
AWAY_RECHECK_S: Final = 15.0
"""The Platform record wakes those that name it; this is for what it doesn't see."""
SHORTEST: Final = 8
"""Characters of a password: shorter ones are guessed (NIST SP 800-63B, 5.1.1)."""
LONGEST: Final = 256

Step = TypeVar("Step")


@dataclass(frozen=True, slots=True)
class Place:
    """A mail server, without its credentials."""

    make: Literal["builtin", "mailcow"]
    endpoint: str
    secret_name: str = ""
    imap: str = ""


class Held(Protocol):
    """What a server has, and which record's it is."""

    @property
    def owner(self) -> str: ...


@dataclass(frozen=True, slots=True)
class MailServers:
    """Drivers of both makes, and what they need to get in."""

    builtin: Mail
    mailcow: Mail
    values: SecretReader

    async def open(self, place: Place) -> tuple[Mail, MailServer]:
        """The driver for a place, and the server as that driver wants it."""
        if place.make == "builtin":
            return self.builtin, MailServer(place.endpoint)
        if not place.secret_name:
            raise RetryableError(
                "cannot reach the mail server: set spec.external.secretRef of its Platform record, "
                f"a Secret with the key '{API_KEY}'",
                reason="SecretMissing",
            )
        values = await self.values.read("Secret", PLATFORM_NAMESPACE, place.secret_name)
        secret = f"{PLATFORM_NAMESPACE}/{place.secret_name}"
        key = credential(values, API_KEY, secret=secret, use="reach the mail server")
        return self.mailcow, MailServer(place.endpoint, key, place.imap)


def service_of(want: Want[Any]) -> Resolved | None:
    """The Platform record that it works on."""
    return want.services.get(want.record.spec.service)


def place_of(want: Want[Any]) -> Place | None:
    """Where its mail server is; None: it doesn't run."""
    service = service_of(want)
    if service is None or service.uid is None:
        return None
    external = service.spec.get("external")
    if external:
        endpoint = str(external.get("endpoint", ""))
        secret = external.get("secretRef") or {}
        host = endpoint.rpartition("/")[2].rpartition(":")[0]
        imap = settings_of(want).get("imap") or f"imaps://{host}:993"
        url = endpoint if "://" in endpoint else f"https://{endpoint}"
        return Place("mailcow", url, str(secret.get("name", "")), imap)
    container = service.status.get("containerId")
    return Place("builtin", str(container)) if container else None


def settings_of(want: Want[Any]) -> Mapping[str, str]:
    service = service_of(want)
    return {} if service is None else service.spec.get("settings") or {}


def is_gone(want: Want[Any]) -> bool:
    """Whether there is no such service at all, and so nothing of this record on it now. What its
    Volume keeps, if that was kept, the sweep finds there once there is one again."""
    service = service_of(want)
    return service is None or service.uid is None


def no_server(want: Want[Any]) -> Wait:
    """Why nothing can be done now."""
    service = service_of(want)
    name = want.record.spec.service
    why = service.message if service is not None and service.message else "it does not run"
    return Wait("ServiceNotReady", f"waiting for the mail server '{name}': {why}", AWAY_RECHECK_S)


def client_host(want: Want[Any]) -> str:
    """The name by which the namespace's Apps reach the server."""
    place = place_of(want)
    if place is not None and place.make == "mailcow":
        return place.endpoint.rpartition("/")[2].rpartition(":")[0]
    return str(want.record.spec.service)


def other_service(want: Want[Any]) -> Wait | None:
    """A record of a domain that another service serves."""
    domain = want.refs.get("spec.domainRef")
    theirs = "" if domain is None else str(domain.spec.get("service", "mail"))
    mine = want.record.spec.service
    if not theirs or theirs == mine:
        return None
    message = (
        f"MailDomain '{domain.name if domain else ''}' is served by '{theirs}' and this record "
        f"says '{mine}'; delete it and make it anew with spec.service '{theirs}'"
    )
    return Wait("ServiceDiffers", message)


def domain_of(want: Want[Any]) -> str:
    """The domain of the MailDomain it refers to; while that is missing, as last told."""
    domain = want.refs.get("spec.domainRef")
    found = "" if domain is None else str(domain.spec.get("domain", ""))
    return found or str(want.record.status.address or "").rpartition("@")[2]


def address_of(want: Want[Any]) -> str:
    """The address of a record in a domain; empty while that is unknown."""
    domain = domain_of(want)
    return f"{want.record.local_part}@{domain}" if domain else ""


def not_placed(want: Want[Any], place: Place | None) -> Wait | None:
    """Why a record in a domain can't be served now."""
    if wait := other_service(want):
        return wait
    if not address_of(want):
        name = want.record.spec.domain_ref.name
        return Wait("DomainMissing", f"MailDomain '{name}' does not exist; make it, or delete this")
    return no_server(want) if place is None else None


def not_served(
    want: Want[Any], wait: Wait | None, state: Held | None, *, right: bool
) -> tuple[str, str] | None:
    """Reason and message of an address that does not work; `right`: the server has it so."""
    if want.deleting:
        return "Terminating", "it is being removed"
    if wait is not None:
        return wait.reason, wait.message
    if state is not None and state.owner != want.record.metadata.uid:
        return "NotOurs", "the server has that address from somebody else; remove it there"
    return None if right else ("NotServed", "the server does not have it as it should be yet")


def removal(
    want: Want[Any], place: Place | None, state: Held | None, drop: Callable[[Place], Step]
) -> Plan[Step]:
    """What ends it on its server: `drop`, if what is there by its name is its own."""
    if is_gone(want):
        return Plan()
    if place is None:
        return Plan(wait=no_server(want))
    ours = state is not None and state.owner == want.record.metadata.uid
    return Plan((drop(place),)) if ours else Plan()


def password_of(values: Mapping[str, bytes] | None, version: str) -> Password | None:
    """The password in a Secret; None: there is none that can be used."""
    raw = (values or {}).get("password", b"")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return None
    if not SHORTEST <= len(text) <= LONGEST or not text.isprintable():
        return None
    return Password(text, version)


def bad_password(name: str, *, there: bool) -> Wait:
    what = "has no password that can be used" if there else "does not exist"
    message = (
        f"Secret '{name}' {what}: put {SHORTEST} to {LONGEST} printable characters under 'password'"
    )
    return Wait("PasswordInvalid" if there else "SecretMissing", message)


def unused_secret(want: Want[Any], own: str, used: str) -> tuple[RecordStep, ...]:
    """The Secret made for a record goes once another one is given and in use."""
    child = want.children.get(("Secret", own))
    if own == used or child is None or not child.owned or child.deleting:
        return ()
    return (RemoveChild("Secret", own),)
