"""Mailbox: where one address's mail lies, and its login. No I/O."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, ValidationInfo, model_validator

from resources._mail import (
    READY,
    SERVICE,
    LocalPart,
    MailAddress,
    QuotaBytes,
    address_claim,
    check_local_part,
)
from resources.changes import fixed
from resources.columns import AGE, REASON, Column
from resources.meta import (
    STORED,
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
from resources.quantity import Bytes
from resources.text import DnsLabel, Matches

SET: dict[str, str] = {"x-kubernetes-list-type": "set"}

DisplayName = Annotated[
    str,
    Matches(
        r'[^\x00-\x1f\x7f<>"]*',
        "a display name: leave out '<', '>', quotes and control characters, such as 'Jane Doe'",
        200,
    ),
]


class Forward(Model):
    """Where mail is sent on to."""

    to: Annotated[
        tuple[MailAddress, ...], Field(min_length=1, max_length=50, json_schema_extra=SET)
    ]
    """Addresses that get what arrives. Example: `["jane@example.net"]`."""
    keep_copy: Bool = True
    """Whether it also stays in this mailbox. Default: true."""


class MailboxSpec(BaseSpec):
    domain_ref: Ref
    """The MailDomain it is in, of the same namespace. May not change. Example: `{name: shop}`."""
    local_part: LocalPart | None = None
    """The part before the @. May not change. Default: the record's name. Example: `jane.doe`."""
    service: DnsLabel = "mail"
    """Platform service that serves its MailDomain. May not change. Default: `mail`."""
    enabled: Bool = True
    """Whether it takes mail and lets anybody in; `false` refuses both and keeps its mail.
    Default: true."""
    display_name: DisplayName = ""
    """Whose it is, for address books. Default: nobody in particular. Example: `Jane Doe`."""
    quota: QuotaBytes = 2**30
    """How much mail it holds, in whole MiB; more is refused. Default: `1Gi`. Example: `5Gi`."""
    password_secret_ref: SecretRef | None = None
    """A Secret of the same namespace with its password under `password`. Default: one is made, in
    the Secret `<name>-mailbox`. Changing or deleting the Secret changes the password."""
    forward: Forward | None = None
    """Send what arrives on to others. Default: it stays here."""
    aliases: Annotated[tuple[LocalPart, ...], Field(max_length=100, json_schema_extra=SET)] = ()
    """Further local parts in the same domain that lead here, and that it may send as. Default:
    none. Example: `["jane"]`."""
    deletion_policy: Literal["Retain", "Delete"] = "Retain"
    """What becomes of its mail when the record is deleted: `Retain` keeps it for the next Mailbox
    of this address and namespace, `Delete` destroys it. Default: `Retain`."""

    @model_validator(mode="after")
    def _says_each_thing_once(self) -> Self:
        targets = () if self.forward is None else self.forward.to
        for field, values in (("aliases", self.aliases), ("forward.to", targets)):
            if len(set(values)) != len(values):
                raise ValueError(f"{field} has one twice; leave one out")
        return self


class MailboxStatus(BaseStatus):
    address: str | None = None
    """Its address, and the name to log in with. Example: `jane@example.org`."""
    secret_ref: SecretRef | None = None
    """The Secret with its password."""
    submission: str | None = None
    """Where the namespace's Apps send from, with STARTTLS. Example: `mail:587`."""
    imap: str | None = None
    """Where the namespace's Apps read, with STARTTLS. Example: `mail:143`."""
    used: Bytes | None = None
    """How much mail is in it, rounded up to MiB."""


class Mailbox(Resource[MailboxSpec, MailboxStatus]):
    """A mailbox: its mail within a quota, its password in a Secret, its forwarding and aliases."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="Mailbox",
        plural="mailboxes",
        singular="mailbox",
        short_names=("mbox",),
        categories=("all", "mail"),
        refs=(("spec.domainRef", "MailDomain"),),
        dns_name=False,
        columns=(
            Column("Address", ".status.address", description="Its address"),
            READY,
            REASON,
            Column("Used", ".status.used", description="How much mail is in it"),
            Column("Quota", ".spec.quota", description="How much it holds"),
            Column("Enabled", ".spec.enabled", description="Whether it is switched on"),
            AGE,
            Column("Domain", ".spec.domainRef.name", priority=1, description="MailDomain it is in"),
            Column("Forward", ".spec.forward.to", priority=1, description="Where mail goes on to"),
            Column("Secret", ".status.secretRef.name", priority=1, description="Its password"),
            SERVICE,
        ),
    )
    spec: MailboxSpec
    status: MailboxStatus = Field(default_factory=MailboxStatus)

    @model_validator(mode="after")
    def _has_a_local_part(self) -> Self:
        if self.spec.local_part is None:
            check_local_part(self.metadata.name)
        return self

    @model_validator(mode="after")
    def _is_no_alias_of_itself(self, info: ValidationInfo) -> Self:
        if self.local_part in self.spec.aliases and info.context != STORED:
            raise ValueError(
                f"spec.aliases has '{self.local_part}', which is its own local part; leave it out"
            )
        return self

    @property
    def local_part(self) -> str:
        """The part before the @."""
        return self.spec.local_part or self.metadata.name

    @property
    def claims(self) -> tuple[NameClaim, ...]:
        domain, namespace = self.spec.domain_ref.name, self.metadata.namespace
        names = dict.fromkeys((self.local_part, *self.spec.aliases))
        return (
            *(address_claim(name, domain, namespace) for name in names),
            *service_claims(self.services, namespace),
        )

    @property
    def services(self) -> tuple[str, ...]:
        return (self.spec.service,)

    @property
    def secret_name(self) -> str:
        """The Secret with its password."""
        given = self.spec.password_secret_ref
        return self.own_secret_name if given is None else given.name

    @property
    def own_secret_name(self) -> str:
        """The Secret that is made for it where none is given."""
        return f"{self.metadata.name}-mailbox"

    def check_update(self, old: Self, /) -> tuple[FieldError, ...]:
        return fixed(
            "make another Mailbox and move the mail",
            ("domainRef", old.spec.domain_ref.name, self.spec.domain_ref.name),
            ("localPart", old.local_part, self.local_part),
            ("service", old.spec.service, self.spec.service),
        )
