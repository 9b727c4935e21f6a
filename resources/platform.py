"""Platform: a service that the cloud itself is made of, as a record like any other. No I/O."""

from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from resources._offers import OFFERS, Offer, Service
from resources.changes import fixed, only_grows, size_to_keep
from resources.columns import AGE, CPU, MEMORY, REASON, Column, ready
from resources.meta import (
    ANY_FREE,
    MAP_BY_NAME,
    PLATFORM_NAMESPACE,
    STORED,
    FieldError,
    Footprint,
    KindInfo,
    Model,
    NameClaim,
    Publish,
    Resource,
    Resources,
    SecretRef,
)
from resources.meta import Spec as BaseSpec
from resources.meta import Status as BaseStatus
from resources.network import service_claims
from resources.quantity import Bytes, at_least
from resources.text import HOST, PORT, DnsLabel, ImageReference, Matches, Text

_ENDPOINT: Final = Matches(
    f"(https?://)?{HOST}:{PORT}",
    "an endpoint: write host:port, or http(s)://host:port, such as 'https://s3.example.org:443'",
    300,
)


def _endpoint(value: str, info: ValidationInfo) -> str:
    """A stored one may be of an earlier release, which took more."""
    return value if info.context == STORED else _ENDPOINT(value)


Endpoint = Annotated[
    str,
    Matches("(https?://)?[-A-Za-z0-9.]+:[0-9]{1,5}", _ENDPOINT.rule, 300),
    AfterValidator(_endpoint),
]


class External(Model):
    """A server that somebody else runs, used instead of one of our own."""

    endpoint: Endpoint
    """Where the host reaches it: `host:port`, with `https://` in front where it speaks TLS.
    Example: `https://s3.example.org:443`."""
    secret_ref: SecretRef | None = None
    """The Secret with its credentials, with the keys that the service's own Secret would have.
    Default: it asks for none."""

    @property
    def host_port(self) -> tuple[str, int]:
        """Host and port alone."""
        host, _, port = self.endpoint.rpartition("/")[2].rpartition(":")
        return host, int(port)


class PublishedPort(Publish):
    """A port of the host that leads to one of the service's ports."""

    name: DnsLabel
    """Which port of the service. Example: `web`."""


class PlatformSpec(BaseSpec):
    service: Service
    """Which service: `ingress`, `s3`, `dns`, `mail`, `models`, `vault`, `registry` or
    `metrics`. May not change. Example: `s3`."""
    resources: Resources | None = None
    """CPU and memory of all its containers together. Default: the service's own, enough for a few
    tenants on a small host."""
    storage: Annotated[Bytes, at_least(64 * 2**20, "storage")] | None = None
    """Disk of its data in bytes with a unit; may only grow, but for what there was no room for.
    Default: the service's own. Example: `50Gi`."""
    settings: dict[str, Text] = Field(default_factory=dict)
    """What the service lets one choose, by name; see docs/platform.md. Default: none.
    Example: `{retentionDays: "15"}`."""
    publish: Annotated[
        tuple[PublishedPort, ...], Field(max_length=16, json_schema_extra=MAP_BY_NAME)
    ] = ()
    """Ports of the host that lead to it. Default: none, and only the platform and the namespaces
    that use the service reach it."""
    external: External | None = None
    """Use this server, and run none. Default: run our own."""
    image: ImageReference | None = None
    """Run this image instead of the release's own; it must keep to the same contract
    (docs/images.md). Changing it is an upgrade in place: the data stays. Default: the release's."""
    deletion_policy: Literal["Retain", "Delete"] = "Retain"
    """What becomes of the data and the credentials when the record is deleted: `Retain` keeps both
    for the next record of the same name, `Delete` destroys both. Default: `Retain`."""

    @model_validator(mode="after")
    def _sets_what_there_is(self, info: ValidationInfo) -> Self:
        for name, value in self.settings.items():
            rule = self.offer.settings.get(name)
            if rule is None:
                known = ", ".join(self.offer.settings) or "none"
                raise ValueError(
                    f"settings '{name}' is not one of service '{self.service}'; it has: {known}"
                )
            if info.context == STORED:
                continue  # an earlier release took more, and it has to run on, and to go
            try:
                rule(value)
            except ValueError as exc:
                raise ValueError(f"settings '{name}': {exc}") from exc
        return self

    @model_validator(mode="after")
    def _fits_service(self) -> Self:
        offer = self.offer
        for port in self.publish:
            if port.name not in offer.ports:
                known = ", ".join(offer.ports)
                raise ValueError(
                    f"publish '{port.name}' is no port of service '{self.service}'; it has: {known}"
                )
        if len({port.name for port in self.publish}) != len(self.publish):
            raise ValueError("publish names a port twice; each port is published once")
        if self.storage is not None and not offer.storage_bytes:
            raise ValueError(f"service '{self.service}' keeps no data; leave storage out")
        return self

    @property
    def offer(self) -> Offer:
        """What is offered under this name."""
        return OFFERS[self.service]

    @property
    def limits(self) -> Resources:
        """CPU and memory that its containers share."""
        return self.resources or self.offer.resources

    @property
    def storage_bytes(self) -> int:
        """Disk its Volume is charged for; 0: it keeps nothing."""
        return self.offer.storage_bytes if self.storage is None else self.storage


class PlatformStatus(BaseStatus):
    agents_own: ClassVar[frozenset[str]] = BaseStatus.agents_own | {"storage"}

    endpoint: str | None = None
    """Where the host reaches its main port. Example: `10.200.0.3:8333`."""
    endpoints: dict[str, str] = Field(default_factory=dict)
    """By name of the port: where the host reaches it. Example: `{s3: "10.200.0.3:8333"}`."""
    address: str | None = None
    """How Apps of the namespaces that use it reach its main port. Example: `s3:8333`."""
    published: dict[str, str] = Field(default_factory=dict)
    """By name of the port: address and port of the host. Example: `{web: "0.0.0.0:80"}`."""
    secret_ref: SecretRef | None = None
    """The Secret with its credentials."""
    volume: str | None = None
    """The Volume record that holds its data."""
    storage: Bytes | None = None
    """Disk that its Volume has; less than is asked for while there is no room for that, and as
    little may `spec.storage` be until there is. Example: `50Gi`."""
    container: str | None = None
    """Name of its main container."""
    container_id: str | None = None
    """The engine's id of that container."""
    image: str | None = None
    """Image its main container runs from."""
    version: str | None = None
    """Release of the server, as far as the image tells. Example: `2.8.3`."""
    used_by: tuple[str, ...] = ()
    """Namespaces whose records use it."""
    routes: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """By UID of an App with domains: the backends that an ingress sends its requests to."""


class Platform(Resource[PlatformSpec, PlatformStatus]):
    """A service of the platform itself (storage, names, mail, metrics, ...), run as a record."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="Platform",
        plural="platforms",
        singular="platform",
        short_names=("plat",),
        categories=("all",),
        columns=(
            Column("Service", ".spec.service", description="What it is"),
            ready("Whether it serves"),
            REASON,
            Column("Endpoint", ".status.endpoint", description="Where the host reaches it"),
            Column("Version", ".status.version", description="Release that runs"),
            AGE,
            CPU,
            MEMORY,
            Column("Volume", ".status.volume", priority=1, description="Where its data is"),
            Column("Image", ".status.image", priority=1, description="Image it runs from"),
        ),
        needs_namespace_network=True,
        sees_dependents=True,
    )
    spec: PlatformSpec
    status: PlatformStatus = Field(default_factory=PlatformStatus)

    @property
    def at_home(self) -> bool:
        """Whether it is in the one namespace where services of the platform are run."""
        return self.metadata.namespace == PLATFORM_NAMESPACE

    @property
    def primary_port(self) -> int:
        """The main port, inside its networks."""
        return self.spec.offer.ports[self.spec.offer.primary].number

    @property
    def secret_name(self) -> str:
        """Name of the Secret with its generated credentials."""
        return f"{self.metadata.name}-credentials"

    @property
    def footprint(self) -> Footprint:
        """CPU and memory of its containers; its disk is charged to its Volume."""
        if self.spec.external is not None or not self.at_home:
            return Footprint()
        return self.spec.limits.footprint

    @property
    def claims(self) -> tuple[NameClaim, ...]:
        if self.spec.external is not None or not self.at_home:
            return ()
        return service_claims((self.metadata.name,), self.metadata.namespace)

    @property
    def host_ports(self) -> tuple[int | None, ...]:
        if self.spec.external is not None or not self.at_home:
            return ()
        return tuple(self._host_port(port) for port in self.spec.publish)

    def _host_port(self, port: PublishedPort) -> int | None:
        """Without a number of its own, the one told by its name: as what is published is a map by
        name, places in it mean nothing."""
        if port.port is not None:
            return port.port
        if self.status.address is None:
            return None  # nothing was told yet, or by a release that told it otherwise
        told = self.status.published.get(port.name, "").rpartition(":")[2]
        held = self.status.allocation.ports if self.status.allocation else ()
        others = {each.port for each in self.spec.publish}
        return next((each for each in held if str(each) == told and each not in others), ANY_FREE)

    def check_update(self, old: Self, /) -> tuple[FieldError, ...]:
        least = size_to_keep(old, lambda spec: spec.storage_bytes, old.status.storage)
        return (
            *fixed(
                "make another Platform record", ("service", old.spec.service, self.spec.service)
            ),
            *only_grows("storage", least, self.spec.storage_bytes),
        )
