"""Zone: a DNS domain and its records, on a DNS server of the platform. No I/O."""

import re
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import AfterValidator, Field, Strict, ValidationInfo, model_validator

from resources.answers import SET_LIST, Answers, Ttl
from resources.changes import fixed
from resources.columns import AGE, REASON, Column, ready
from resources.dns import MAX_NAME, SLOW_BYTES, DomainName, HostName, clash, load, too_long, within
from resources.meta import (
    STORED,
    Bool,
    ConfigMapRef,
    FieldError,
    KindInfo,
    Model,
    NameClaim,
    Resource,
)
from resources.meta import Spec as BaseSpec
from resources.meta import Status as BaseStatus
from resources.text import DataKey, DnsLabel, Matches
from resources.zonefile import read_zone_file

MAX_SETS: Final = 5000
"""Record sets in one Zone's spec; more belong into a zone file or RecordSets."""
MAX_ZONE_FILE: Final = 64 * 1024
"""Characters: some 2,500 records, read in about a tenth of a second. A bigger file is read from a
ConfigMap, and not while somebody waits for the answer to a write."""

_EMAIL: Final = "a mail address, such as 'hostmaster@example.org'"
_IN_DNS: Final = re.compile(r"[^@]{1,63}@([^.]{1,63}[.])+[^.]{1,63}")


def _fits_dns(value: str, info: ValidationInfo) -> str:
    """In the SOA it is a name, of which each part has 1 to 63 characters."""
    if info.context != STORED and not _IN_DNS.fullmatch(value):
        raise ValueError(f"{value!r} is not {_EMAIL}")
    return value


Email = Annotated[
    str,
    Matches(r"[A-Za-z0-9._+-]{1,64}@[A-Za-z0-9.-]+[.][A-Za-z0-9-]+", _EMAIL),
    AfterValidator(_fits_dns),
]
Seconds = Annotated[int, Strict(), Field(ge=60, le=2**31 - 1)]


class Soa(Model):
    primary: HostName | None = None
    """Name of the first nameserver. Default: the first of `nameservers`."""
    email: Email | None = None
    """Who is responsible. Default: hostmaster of the domain. Example: `dns@example.org`."""
    refresh: Seconds = 10800
    """Seconds after which secondaries look for changes. Default: 10800."""
    retry: Seconds = 3600
    """Seconds after which they try again. Default: 3600."""
    expire: Seconds = 604800
    """Seconds after which they stop answering without it. Default: 604800."""
    negative_ttl: Ttl = 300
    """Seconds that resolvers remember that a name doesn't exist. Default: 300."""


class ZoneFile(Model):
    text: Annotated[str, Field(max_length=MAX_ZONE_FILE)] | None = None
    """The file itself (RFC 1035 master file), at most 64 KiB."""
    config_map_ref: ConfigMapRef | None = None
    """A ConfigMap of the same namespace that holds the file."""
    key: Annotated[str, AfterValidator(DataKey)] = "zone"
    """Key of the ConfigMap. Default: `zone`. Example: `shop.example.org.zone`."""

    @model_validator(mode="after")
    def _is_somewhere(self) -> Self:
        if (self.text is None) == (self.config_map_ref is None):
            raise ValueError("set text, or configMapRef instead")
        return self


class ZoneSpec(BaseSpec):
    domain: DomainName
    """The domain, without a dot at its end. May not change. Example: `shop.example.org`."""
    service: DnsLabel = "dns"
    """Platform service that serves it. May not change. Default: `dns`."""
    nameservers: Annotated[
        tuple[HostName, ...], Field(max_length=16, json_schema_extra=SET_LIST)
    ] = ()
    """Names of the servers that the zone above points to. Default: those of the zone file, else
    the service's `settings.nameservers`, else `ns1` in this zone.
    Example: `["ns1.example.org", "ns2.example.org"]`."""
    soa: Soa = Soa()
    """Timers and contact. The serial is the server's own and moves with each change."""
    ttl: Ttl = 300
    """Seconds that resolvers may keep an answer that says nothing else. Default: 300."""
    record_sets: Annotated[
        tuple[Answers, ...],
        Field(
            max_length=MAX_SETS,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name", "type"],
            },
        ),
    ] = ()
    """Records of the zone. Those of RecordSets and of the zone file are added; these win."""
    zone_file: ZoneFile | None = None
    """A zone file whose records are served, too. It may use `$ORIGIN`, `$TTL` and `$GENERATE`."""
    dnssec: Bool = False
    """Sign the zone; status.ds is what the zone above has to publish. Switching it off keeps the
    keys, but take the DS out of the zone above first. Default: false."""
    deletion_policy: Literal["Delete", "Retain"] = "Delete"
    """What becomes of the zone on the server when the record is deleted: `Delete` removes it with
    its keys, `Retain` leaves it answering, for a Zone of this namespace only. Default: `Delete`."""

    @model_validator(mode="after")
    def _file_is_one(self, info: ValidationInfo) -> Self:
        # 0.2 s for the largest: whoever reads a stored record reads its file on a thread
        if info.context == STORED:
            return self
        if self.zone_file is not None and self.zone_file.text is not None:
            try:
                read_zone_file(self.zone_file.text, self.domain, self.ttl)
            except ValueError as exc:
                raise ValueError(f"zoneFile.text: {exc}") from exc
        return self

    @model_validator(mode="after")
    def _sets_agree(self) -> Self:
        types: dict[str, set[str]] = {}
        for each in self.record_sets:
            name = each.full_name(self.domain)
            if not within(name, self.domain):
                raise ValueError(
                    f"recordSets: '{each.name}' is not in the zone; write a name that ends with "
                    f"'.{self.domain}.', or one without a dot at its end"
                )
            if too_long(name):
                raise ValueError(
                    f"recordSets: '{each.name}' is too long: a name has at most {MAX_NAME - 1} "
                    "characters, the zone's domain among them"
                )
            found = types.setdefault(name, set())
            if each.type in found:
                raise ValueError(
                    f"recordSets: '{each.name} {each.type}' is there twice; put all its records "
                    "into one"
                )
            found.add(each.type)
        for each in self.record_sets:
            name = each.full_name(self.domain)
            apex = name == f"{self.domain}."
            if why := clash(each.type, types[name], apex=apex):
                raise ValueError(f"recordSets: '{each.name} {each.type}': {why}")
        return self


class Source(Model):
    """A RecordSet, and what became of it."""

    name: str
    """Name of the RecordSet."""
    digest: str
    """Which state of its spec this is about."""
    served: Bool
    """Whether its records are in the zone."""
    message: str = ""
    """Why not, and what to do."""
    at: str = ""
    """Name and type that it was last served under, which stay while it is paused.
    Example: `www.shop.example.org. A`."""
    texts: tuple[str, ...] = ()
    """Digests of its texts there, if it is a TXT."""


class ZoneStatus(BaseStatus):
    serial: int | None = None
    """Serial of the SOA as the server has it. Example: `2026112801`."""
    endpoint: str | None = None
    """Where it is answered from the host, as `ip:port`. Example: `10.201.0.5:53`."""
    nameservers: tuple[str, ...] = ()
    """Names that the zone above has to point to."""
    served: int | None = None
    """How many record sets are served."""
    signed: bool | None = None
    """Whether answers are signed."""
    ds: tuple[str, ...] = ()
    """DS records to publish in the zone above, one for each digest type."""
    sources: tuple[Source, ...] = ()
    """The RecordSets that refer to it."""
    left_out: tuple[str, ...] = ()
    """Records that are not served, each with the reason."""


class Zone(Resource[ZoneSpec, ZoneStatus]):
    """A DNS domain, its records and its signing keys, on a DNS server of the platform."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="Zone",
        plural="zones",
        singular="zone",
        categories=("all",),
        slow_bytes=SLOW_BYTES,
        bulk=("recordSets", "zoneFile"),
        dns_name=False,
        sees_dependents=True,
        columns=(
            Column("Domain", ".spec.domain", description="The domain"),
            ready("Whether it is answered"),
            REASON,
            Column("Sets", ".status.served", "integer", description="Record sets served"),
            Column("Signed", ".status.signed", description="Whether answers are signed"),
            Column("Serial", ".status.serial", description="Serial of the zone"),
            AGE,
            Column("Endpoint", ".status.endpoint", priority=1, description="Where it is answered"),
            Column("Service", ".spec.service", priority=1, description="What serves it"),
            Column(
                "Complete",
                '.status.conditions[?(@.type=="Complete")].status',
                priority=1,
                description="Whether all that is asked for is served",
            ),
        ),
    )
    spec: ZoneSpec
    status: ZoneStatus = Field(default_factory=ZoneStatus)

    @classmethod
    def prepare(cls) -> None:
        load()
        super().prepare()

    @property
    def claims(self) -> tuple[NameClaim, ...]:
        return (NameClaim(scope="zone", name=self.spec.domain, subtree=True),)

    @property
    def services(self) -> tuple[str, ...]:
        return (self.spec.service,)

    def check_update(self, old: Self, /) -> tuple[FieldError, ...]:
        return fixed(
            "make a new Zone and delete this one",
            ("domain", old.spec.domain, self.spec.domain),
            ("service", old.spec.service, self.spec.service),
        )
