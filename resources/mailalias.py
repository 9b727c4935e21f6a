"""MailAlias: an address that leads to others. No I/O."""

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from resources._mail import READY, SERVICE, LocalPart, MailAddress, address_claim, check_local_part
from resources.changes import fixed
from resources.columns import AGE, REASON, Column
from resources.meta import (
    Bool,
    FieldError,
    KindInfo,
    NameClaim,
    Ref,
    Resource,
)
from resources.meta import Spec as BaseSpec
from resources.meta import Status as BaseStatus
from resources.network import service_claims
from resources.text import DnsLabel


class MailAliasSpec(BaseSpec):
    domain_ref: Ref
    """The MailDomain it is in, of the same namespace. May not change. Example: `{name: shop}`."""
    local_part: LocalPart | None = None
    """The part before the @. May not change. Default: the record's name. Example: `info`."""
    catch_all: Bool = False
    """Take what no other address of the domain takes, instead of a local part. May not change.
    Default: false."""
    service: DnsLabel = "mail"
    """Platform service that serves its MailDomain. May not change. Default: `mail`."""
    enabled: Bool = True
    """Whether it takes mail. Default: true."""
    targets: Annotated[
        tuple[MailAddress, ...],
        Field(min_length=1, max_length=200, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ]
    """Addresses that get what arrives, here or elsewhere. Those of Mailboxes of this namespace may
    also send as it. Example: `["jane@example.org", "joe@example.net"]`."""

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        if self.catch_all and self.local_part is not None:
            raise ValueError("catchAll has no localPart; leave one of them out")
        if len(set(self.targets)) != len(self.targets):
            raise ValueError("targets has one twice; leave one out")
        return self


class MailAliasStatus(BaseStatus):
    address: str | None = None
    """The address; `@example.org` for a catch-all."""


class MailAlias(Resource[MailAliasSpec, MailAliasStatus]):
    """An address that leads to others: a name for several mailboxes, or all names of a domain."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="MailAlias",
        plural="mailaliases",
        singular="mailalias",
        categories=("all", "mail"),
        refs=(("spec.domainRef", "MailDomain"),),
        dns_name=False,
        columns=(
            Column("Address", ".status.address", description="The address"),
            READY,
            REASON,
            Column("Targets", ".spec.targets", description="Where its mail goes"),
            Column("Enabled", ".spec.enabled", description="Whether it is switched on"),
            AGE,
            Column("Domain", ".spec.domainRef.name", priority=1, description="MailDomain it is in"),
            SERVICE,
        ),
    )
    spec: MailAliasSpec
    status: MailAliasStatus = Field(default_factory=MailAliasStatus)

    @model_validator(mode="after")
    def _has_a_local_part(self) -> Self:
        # a catch-all has none, whatever its name
        if self.spec.local_part is None and not self.spec.catch_all:
            check_local_part(self.metadata.name)
        return self

    @property
    def local_part(self) -> str:
        """The part before the @; empty for a catch-all."""
        return "" if self.spec.catch_all else self.spec.local_part or self.metadata.name

    @property
    def claims(self) -> tuple[NameClaim, ...]:
        domain, namespace = self.spec.domain_ref.name, self.metadata.namespace
        return (
            address_claim(self.local_part, domain, namespace),
            *service_claims(self.services, namespace),
        )

    @property
    def services(self) -> tuple[str, ...]:
        return (self.spec.service,)

    def check_update(self, old: Self, /) -> tuple[FieldError, ...]:
        return fixed(
            "make another MailAlias",
            ("domainRef", old.spec.domain_ref.name, self.spec.domain_ref.name),
            ("localPart", old.local_part, self.local_part),
            ("service", old.spec.service, self.spec.service),
        )
