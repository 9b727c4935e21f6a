"""App: a service from a container image, its settings, and the databases it uses. No I/O.

What a user may say ends here: there is no field for privileges, host paths, devices or
capabilities, and so none to forbid.
"""

from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, Strict, ValidationInfo, model_validator

from resources.columns import AGE, CPU, MEMORY, PUBLISHED, REASON, Column, ready
from resources.dns import load_suffixes, registrable
from resources.meta import (
    MAP_BY_NAME,
    STORED,
    ConfigMapRef,
    Footprint,
    KindInfo,
    Model,
    NameClaim,
    Port,
    Publish,
    Ref,
    Resource,
    Resources,
    SecretRef,
)
from resources.meta import Spec as BaseSpec
from resources.meta import Status as BaseStatus
from resources.network import network_claim, service_claims
from resources.text import DnsLabel, EnvName, HttpPath, ImageReference, Moment, PublicHost, Text

Seconds = Annotated[int, Strict(), Field(ge=1, le=3600)]


class EnvVar(Model):
    """One environment variable."""

    name: EnvName
    """Name of the variable. Example: `LOG_LEVEL`."""
    value: Text = ""
    """Its value. Default: empty. Example: `info`."""


class EnvFromSource(Model):
    """All keys of one Secret or ConfigMap as environment variables.

    What comes from a Secret this way is visible to whoever may inspect containers on the host;
    `databaseRefs` hands credentials over as files instead.
    """

    secret_ref: SecretRef | None = None
    """The Secret; each key becomes a variable, with `_` for `-` and `.`."""
    config_map_ref: ConfigMapRef | None = None
    """The ConfigMap; each key becomes a variable, with `_` for `-` and `.`."""
    prefix: Annotated[str, Field(pattern="^([A-Za-z_][A-Za-z0-9_]*)?$", max_length=64)] = ""
    """Put before each key. Default: nothing. Example: `SHOP_`."""

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if (self.secret_ref is None) == (self.config_map_ref is None):
            raise ValueError("name exactly one of secretRef and configMapRef")
        return self

    @property
    def kind(self) -> Literal["Secret", "ConfigMap"]:
        return "ConfigMap" if self.secret_ref is None else "Secret"

    @property
    def reads(self) -> str:
        """As a reconciler names what it reads: `Secret/name` or `ConfigMap/name`."""
        ref = self.secret_ref or self.config_map_ref
        return f"{self.kind}/{ref.name if ref else ''}"


class DatabaseRef(Model):
    """A Database of the same namespace whose credentials the App gets.

    They arrive as files in `/run/secrets/bindings/<name>/` (type, provider, host, port, username,
    password, database, uri), as the Service Binding specification has it.
    """

    name: DnsLabel
    """Name of the Database. Example: `shop-db`."""
    env_prefix: Annotated[str, Field(pattern="^[A-Z_][A-Z0-9_]*$", max_length=64)] | None = None
    """Also set `<PREFIX>_HOST`, `_PORT`, `_USERNAME` and `_DATABASE`, and `_PASSWORD_FILE` and
    `_URI_FILE` with the paths of those files. Default: none of them. Example: `DB`."""


class HealthCheck(Model):
    """How the platform finds out whether a replica serves."""

    path: HttpPath | None = None
    """GET this path; 200 to 399 is healthy. Default: a TCP connection is enough.
    Example: `/healthz`."""
    port: Port | None = None
    """Port to ask. Default: `spec.port`. Example: `8080`."""
    interval_seconds: Seconds = 30
    """Seconds between two checks of a replica that serves. Default: `30`."""
    timeout_seconds: Annotated[int, Strict(), Field(ge=1, le=30)] = 2
    """Seconds after which no answer is a failure. Default: `2`."""
    failure_threshold: Annotated[int, Strict(), Field(ge=1, le=10)] = 3
    """Failures in a row, a second apart, until a replica that served counts as one that doesn't.
    One that was stopped or died counts at once. Default: `3`."""


def _own(host: str, info: ValidationInfo) -> str:
    """Who had a public suffix would shut all others out of the names below it."""
    return host if info.context == STORED else registrable(host)


class Domain(Model):
    """A host name whose requests go to the App."""

    host: Annotated[PublicHost, AfterValidator(_own)]
    """The name, which no other record may have. Example: `shop.example.org`."""
    zone_ref: Ref | None = None
    """Zone of the same namespace that the name is in: its A record there is made, kept and removed
    with the domain. Default: none, and the name is made to lead to the ingress elsewhere.
    Example: `{name: example}`."""


def _unique(names: Iterable[str], field: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{field} has '{name}' twice; keep one of them")
        seen.add(name)


class AppSpec(BaseSpec):
    image: ImageReference
    """Image to run, by tag or digest. Example: `nginx:1.27`."""
    command: Annotated[tuple[Text, ...], Field(max_length=256)] = ()
    """Program and arguments, no shell. Default: the image's own.
    Example: `[gunicorn, "shop:app"]`."""
    port: Port | None = None
    """Port it listens on. Default: none; it serves nobody. Example: `8080`."""
    replicas: Annotated[int, Strict(), Field(ge=0, le=100)] = 1
    """How many run at once; 0 stops it. Default: `1`."""
    env: Annotated[tuple[EnvVar, ...], Field(max_length=256, json_schema_extra=MAP_BY_NAME)] = ()
    """Environment variables; they win over those of envFrom."""
    env_from: Annotated[tuple[EnvFromSource, ...], Field(max_length=32)] = ()
    """Secrets and ConfigMaps whose keys become environment variables; later ones win."""
    database_refs: Annotated[
        tuple[DatabaseRef, ...], Field(max_length=16, json_schema_extra=MAP_BY_NAME)
    ] = ()
    """Databases it uses. It first starts when all of them are ready."""
    health_check: HealthCheck | None = None
    """How to find out whether it serves. Default: a TCP connection to `port`; without a port,
    running is enough."""
    resources: Resources = Field(
        default=Resources.model_validate({"cpu": "250m", "memory": "256Mi"})
    )
    """CPU and memory of each replica. Default: `{cpu: 250m, memory: 256Mi}`."""
    publish: Publish | None = None
    """Also reachable on a port of the host; needs `port`, and at most one replica.
    Default: only inside the namespace's network."""
    domains: Annotated[
        tuple[Domain, ...],
        Field(
            max_length=32,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["host"],
            },
        ),
    ] = ()
    """Host names that lead to it from outside, over HTTP and HTTPS through the platform's ingress;
    needs `port`. Default: none. Example: `[{host: shop.example.org}]`."""
    ingress: DnsLabel = "ingress"
    """Which Platform record routes the domains. Default: `ingress`."""
    surge: Annotated[int, Strict(), Field(ge=0, le=10)] = 0
    """How many more than `replicas` may run while they are exchanged: with 1, the new one serves
    before the old one goes, and a single replica changes without a gap. It is charged all the time.
    Default: `0`. Example: `1`."""
    restarted_at: Moment | None = None
    """When a restart was last asked for, as `kubectl rollout restart deployment` writes it: another
    time replaces the replicas made for an earlier one, as any change does. Taking it out replaces
    nothing. Default: never. Example: `2026-01-31T12:00:00Z`."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _unique((item.name for item in self.env), "env")
        _unique((item.name for item in self.database_refs), "databaseRefs")
        _unique(
            (i.env_prefix for i in self.database_refs if i.env_prefix), "databaseRefs.envPrefix"
        )
        if self.publish is not None and self.port is None:
            raise ValueError("publish needs spec.port: the port the image listens on")
        if self.publish is not None and self.replicas > 1:
            raise ValueError(
                f"publish leads to one replica, and replicas is {self.replicas}; "
                "set replicas to 1 or leave publish out"
            )
        if self.publish is not None and self.surge:
            raise ValueError("publish leads to one replica; set surge to 0 or leave publish out")
        _unique((domain.host for domain in self.domains), "domains")
        if self.domains and self.port is None:
            raise ValueError("domains needs spec.port: the port the image listens on")
        check = self.health_check
        if check is not None and check.port is None and self.port is None:
            raise ValueError("healthCheck needs a port: set healthCheck.port or spec.port")
        return self

    @property
    def probe_port(self) -> int | None:
        """The port to ask whether it serves; None: running is enough."""
        own = None if self.health_check is None else self.health_check.port
        return own or self.port


class AppStatus(BaseStatus):
    agents_own: ClassVar[frozenset[str]] = BaseStatus.agents_own | {"backends"}

    replicas: int = 0
    """How many replicas exist."""
    ready_replicas: int = 0
    """How many of them serve."""
    updated_replicas: int = 0
    """How many of them are as the spec says."""
    serving: str | None = None
    """Replicas that serve, of those wanted. Example: `2/3`."""
    selector: str | None = None
    """Label selector of its replicas, for the scale subresource."""
    image: str | None = None
    """Image the replicas run from."""
    endpoint: str | None = None
    """Where the namespace's records reach it. Example: `shop:8080`."""
    published: str | None = None
    """Where the host reaches it, if published. Example: `127.0.0.1:30002`."""
    backends: tuple[str, ...] = ()
    """With domains: where the ingress shall send requests. Example: `[10.201.3.2:8080]`."""
    names: tuple[str, ...] = ()
    """The RecordSets that say in Zones where its domains are."""
    routed: bool | None = None
    """With domains: whether the ingress sends requests to exactly these."""


class App(Resource[AppSpec, AppStatus]):
    """A service from a container image: so many replicas, restarted when they die."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="App",
        plural="apps",
        singular="app",
        categories=("all",),
        columns=(
            Column(
                "Serving", ".status.serving", description="Replicas that serve, of those wanted"
            ),
            ready("Whether it serves"),
            REASON,
            Column("Endpoint", ".status.endpoint", description="Where it is reached"),
            AGE,
            Column("Image", ".spec.image", priority=1, description="Image it runs"),
            CPU,
            MEMORY,
            Column("Backends", ".status.backends", "integer", 1, "Replicas its domains lead to"),
            PUBLISHED,
        ),
        scalable=True,
        needs_namespace_network=True,
        refs=(("spec.databaseRefs[]", "Database"),),
    )
    spec: AppSpec
    status: AppStatus = Field(default_factory=AppStatus)

    @classmethod
    def prepare(cls) -> None:
        load_suffixes()
        super().prepare()

    @property
    def footprint(self) -> Footprint:
        more = self.spec.surge if self.spec.replicas else 0
        return self.spec.resources.footprint.times(self.spec.replicas + more)

    @property
    def services(self) -> tuple[str, ...]:
        return (self.spec.ingress,) if self.spec.domains else ()

    @property
    def claims(self) -> tuple[NameClaim, ...]:
        return (
            network_claim(self.metadata.name, self.metadata.namespace),
            *service_claims(self.services, self.metadata.namespace),
            *(NameClaim(scope="host", name=d.host, subtree=True) for d in self.spec.domains),
        )

    @property
    def host_ports(self) -> tuple[int | None, ...]:
        return () if self.spec.publish is None else (self.spec.publish.port,)
