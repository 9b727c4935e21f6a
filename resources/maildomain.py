"""MailDomain: a domain whose mail is served here, and what DNS has to say of it. No I/O."""

from ipaddress import ip_address
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from resources._mail import READY, SERVICE, MailAddress, MailDomainName
from resources.changes import fixed
from resources.columns import AGE, REASON, Column
from resources.dns import load, registrable
from resources.meta import (
    Bool,
    FieldError,
    KindInfo,
    Model,
    NameClaim,
    Ref,
    Resource,
    SecretRef,
)
from resources.meta import Spec as BaseSpec
from resources.meta import Status as BaseStatus
from resources.network import service_claims
from resources.text import DnsLabel, Matches

Selector = Annotated[
    str,
    Matches(
        "[a-z0-9]([-a-z0-9]*[a-z0-9])?",
        "a DKIM selector: use lower case letters, digits and '-', such as 'bunker'",
        63,
    ),
]


def _address(value: str) -> str:
    try:
        if "%" in value:  # a zone id: an address of one host's own
            raise ValueError(value)
        return str(ip_address(value))
    except ValueError as exc:
        raise ValueError(
            f"{value!r} is no IP address; write the mail server's public one, such as '192.0.2.25'"
        ) from exc


class Dkim(Model):
    """How what is sent from the domain is signed (RFC 6376)."""

    selector: Selector = "bunker"
    """Which of the domain's keys: the TXT record is `<selector>._domainkey`. Default: `bunker`.
    Example: `s2026`."""
    secret_ref: SecretRef | None = None
    """A Secret of the same namespace with an RSA private key in PEM under `private-key`. Default:
    a key is made, in the Secret `<name>-dkim`; deleting that Secret makes a new key."""


class Dmarc(Model):
    """What receivers shall do with mail that isn't from here (RFC 7489)."""

    policy: Literal["none", "quarantine", "reject"] = "quarantine"
    """Ask receivers to do nothing, to set such mail apart, or to refuse it. Default:
    `quarantine`."""
    report_to: MailAddress | None = None
    """Where receivers send their reports. Default: nowhere. Example: `dmarc@example.org`."""


class MailDomainSpec(BaseSpec):
    domain: Annotated[MailDomainName, AfterValidator(registrable)]
    """The domain after the @, in lower case. May not change. Example: `example.org`."""
    service: DnsLabel = "mail"
    """Platform service that serves it. May not change. Default: `mail`."""
    enabled: Bool = True
    """Whether it takes and sends mail; `false` refuses both and keeps all. Default: true."""
    zone_ref: Ref | None = None
    """Zone of the same namespace into which MX, SPF, DKIM and DMARC records are published. Default:
    none; status.records is what to publish by hand."""
    host: MailDomainName | None = None
    """Name of the mail server that MX leads to. Default: the setting `host` of the service, else
    `mail` in this domain. Example: `mail.example.net`."""
    addresses: Annotated[
        tuple[Annotated[str, AfterValidator(_address)], ...],
        Field(max_length=8, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = ()
    """Public addresses of the mail server, published as A and AAAA of `host` where that is in this
    domain. Default: none. Example: `["192.0.2.25"]`."""
    dkim: Dkim = Dkim()
    """How what is sent is signed."""
    spf: Literal["strict", "soft"] = "strict"
    """Whether servers other than the MX are refused (`-all`) or merely suspected (`~all`).
    Default: `strict`."""
    dmarc: Dmarc = Dmarc()
    """What receivers shall do with forgeries."""

    @model_validator(mode="after")
    def _says_each_address_once(self) -> Self:
        if len(set(self.addresses)) != len(self.addresses):
            raise ValueError("addresses has one twice; leave one out")
        return self


class DnsRecord(Model):
    """A record that DNS has to have."""

    name: str
    """Absolute name. Example: `bunker._domainkey.example.org`."""
    type: str
    """Type of the record. Example: `TXT`."""
    value: str
    """Its value. Example: `v=spf1 mx -all`."""


class MailDomainStatus(BaseStatus):
    domain: str | None = None
    """The domain as it is served."""
    host: str | None = None
    """Name of the mail server, as MX says."""
    selector: str | None = None
    """Which key it signs with."""
    public_key: str | None = None
    """The public part of that key, in base64."""
    secret_ref: SecretRef | None = None
    """The Secret with the private key."""
    records: tuple[DnsRecord, ...] = ()
    """What DNS has to say; published by itself with spec.zoneRef, else to be done by hand."""
    mailboxes: int | None = None
    """How many Mailboxes are in it."""


class MailDomain(Resource[MailDomainSpec, MailDomainStatus]):
    """A domain whose mail is served here: signed, and published in DNS."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="MailDomain",
        plural="maildomains",
        singular="maildomain",
        categories=("all", "mail"),
        sees_dependents=True,
        bulk=("addresses",),
        refs=(("spec.zoneRef", "Zone"),),
        columns=(
            Column("Domain", ".spec.domain", description="The domain after the @"),
            READY,
            REASON,
            Column("Mailboxes", ".status.mailboxes", "integer", description="Mailboxes in it"),
            Column("Host", ".status.host", description="Mail server that MX leads to"),
            AGE,
            Column("Selector", ".status.selector", priority=1, description="Which key it signs by"),
            Column("Zone", ".spec.zoneRef.name", priority=1, description="Where it is published"),
            SERVICE,
        ),
    )
    spec: MailDomainSpec
    status: MailDomainStatus = Field(default_factory=MailDomainStatus)

    @classmethod
    def prepare(cls) -> None:
        load()
        super().prepare()

    @property
    def claims(self) -> tuple[NameClaim, ...]:
        return (
            NameClaim(scope="maildomain", name=self.spec.domain, subtree=True),
            *service_claims(self.services, self.metadata.namespace),
        )

    @property
    def services(self) -> tuple[str, ...]:
        return (self.spec.service,)

    @property
    def secret_name(self) -> str:
        """The Secret with its key."""
        given = self.spec.dkim.secret_ref
        return self.own_secret_name if given is None else given.name

    @property
    def own_secret_name(self) -> str:
        """The Secret that is made for it where none is given."""
        return f"{self.metadata.name}-dkim"

    def check_update(self, old: Self, /) -> tuple[FieldError, ...]:
        return fixed(
            "make another MailDomain and move the mail",
            ("domain", old.spec.domain, self.spec.domain),
            ("service", old.spec.service, self.spec.service),
        )
