"""Database: what a user may ask of a database, and the plans it comes in. No I/O."""

from typing import Annotated, ClassVar, Final, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from resources.changes import fixed, only_grows, size_to_keep
from resources.columns import AGE, CPU, MEMORY, PUBLISHED, REASON, Column, ready
from resources.meta import (
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
from resources.network import network_claim
from resources.quantity import Bytes, at_least
from resources.text import DnsSubdomain, SqlName

Engine = Literal["postgres", "redis"]
PlanName = Literal["starter", "basic", "pro", "enterprise"]

VERSIONS: Final[dict[Engine, tuple[str, ...]]] = {
    "postgres": ("14", "15", "16", "17", "18"),
    "redis": ("7",),
}
"""Majors on offer, oldest first; the last one is the default."""
PORTS: Final[dict[Engine, int]] = {"postgres": 5432, "redis": 6379}
LEAST_BYTES: Final = 64 * 2**20
"""An empty PostgreSQL 18 cluster takes 40 MB, and one WAL segment 16 MiB."""


class PlanSize(NamedTuple):
    """What a plan gives."""

    resources: Resources
    storage_bytes: int


def _plan(cpu: str, memory: str, storage_gib: int) -> PlanSize:
    resources = Resources.model_validate({"cpu": cpu, "memory": memory})
    return PlanSize(resources, storage_gib * 2**30)


PLANS: Final[dict[PlanName, PlanSize]] = {
    "starter": _plan("250m", "256Mi", 1),
    "basic": _plan("500m", "512Mi", 10),
    "pro": _plan("1", "2Gi", 50),
    "enterprise": _plan("4", "8Gi", 200),
}


class VolumeRef(Model):
    """A Volume (cluster-scoped) by name."""

    name: DnsSubdomain
    """Name of the Volume. Example: `database-shop-shop-db-postgres-1f2e3d4c`."""


class DatabaseSpec(BaseSpec):
    engine: Engine
    """What kind of database: `postgres` or `redis`. May not change. Example: `postgres`."""
    version: str | None = None
    """Major version: postgres `14` to `18`, redis `7`; a string, so quote it. Default: the major
    that wrote the data, else the newest on offer. May not change. Example: `17`."""
    plan: PlanName = "starter"
    """Size: `starter` (250m, 256Mi, 1Gi), `basic` (500m, 512Mi, 10Gi), `pro` (1, 2Gi, 50Gi) or
    `enterprise` (4, 8Gi, 200Gi): CPU, memory, storage. Default: `starter`."""
    resources: Resources | None = None
    """CPU and memory instead of the plan's. Default: the plan's."""
    storage: Annotated[Bytes, at_least(LEAST_BYTES, "storage")] | None = None
    """Disk in bytes with a unit, instead of the plan's; may only grow, but for what there was no
    room for. Default: the plan's. Example: `20Gi`."""
    database: SqlName | None = None
    """Name of the database inside a postgres engine. May not change. Default: `app`."""
    username: SqlName | None = None
    """Name of its user inside a postgres engine. May not change. Default: `app`."""
    deletion_policy: Literal["Retain", "Delete"] = "Retain"
    """What becomes of the data and the password when the record is deleted: `Retain` keeps both
    for the next record of the same name, `Delete` destroys both. Default: `Retain`."""
    volume_ref: VolumeRef | None = None
    """A retained Volume whose claim an administrator has set to this record. Default: the
    record's own Volume. May not change."""
    publish: Publish | None = None
    """Also reachable on a port of the host. Default: only inside the namespace's network."""

    @model_validator(mode="after")
    def _fits_engine(self) -> Self:
        offered = VERSIONS[self.engine]
        if self.version is not None and self.version not in offered:
            raise ValueError(
                f"version '{self.version}' of {self.engine} is not on offer; "
                f"write one of: {', '.join(repr(v) for v in offered)}"
            )
        if self.engine == "redis" and (self.database or self.username):
            raise ValueError("redis has no database and username fields; leave them out")
        return self

    @property
    def limits(self) -> Resources:
        """CPU and memory it runs with."""
        return self.resources or PLANS[self.plan].resources

    @property
    def storage_bytes(self) -> int:
        """Disk it is charged for."""
        return PLANS[self.plan].storage_bytes if self.storage is None else self.storage

    @property
    def database_name(self) -> str:
        """Name inside the engine: redis numbers its databases."""
        return self.database or ("app" if self.engine == "postgres" else "0")

    @property
    def user_name(self) -> str:
        """User inside the engine: redis calls the one with `requirepass` default."""
        return self.username or ("app" if self.engine == "postgres" else "default")


class DatabaseStatus(BaseStatus):
    agents_own: ClassVar[frozenset[str]] = BaseStatus.agents_own | {"storage"}

    version: str | None = None
    """Major version that runs. Example: `17`."""
    image: str | None = None
    """Image it runs from."""
    endpoint: str | None = None
    """Where the namespace's Apps reach it. Example: `shop-db:5432`."""
    published: str | None = None
    """Where the host reaches it, if published. Example: `127.0.0.1:30001`."""
    secret_ref: SecretRef | None = None
    """The Secret with host, port, username, password, database and uri."""
    volume: str | None = None
    """The Volume record that holds the data."""
    storage: Bytes | None = None
    """Disk that its Volume has; less than is asked for while there is no room for that, and as
    little may `spec.storage` be until there is. Example: `20Gi`."""
    container: str | None = None
    """Name of the container it runs in."""


class Database(Resource[DatabaseSpec, DatabaseStatus]):
    """A database server of its own, with its data on a Volume and its password in a Secret."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="Database",
        plural="databases",
        singular="database",
        short_names=("db",),
        categories=("all",),
        columns=(
            Column("Engine", ".spec.engine", description="Kind of database"),
            Column("Version", ".status.version", description="Major version that runs"),
            ready("Whether it serves"),
            REASON,
            Column("Endpoint", ".status.endpoint", description="Where Apps reach it"),
            AGE,
            Column("Plan", ".spec.plan", priority=1, description="Its size by name"),
            CPU,
            MEMORY,
            Column("Volume", ".status.volume", priority=1, description="Where its data is"),
            PUBLISHED,
        ),
        needs_namespace_network=True,
    )
    spec: DatabaseSpec
    status: DatabaseStatus = Field(default_factory=DatabaseStatus)

    @property
    def port(self) -> int:
        """The port it listens on inside the network."""
        return PORTS[self.spec.engine]

    @property
    def secret_name(self) -> str:
        """Name of the Secret with its credentials."""
        return f"{self.metadata.name}-credentials"

    @property
    def footprint(self) -> Footprint:
        """CPU and memory; its disk is charged to its Volume."""
        return self.spec.limits.footprint

    @property
    def claims(self) -> tuple[NameClaim, ...]:
        return (network_claim(self.metadata.name, self.metadata.namespace),)

    @property
    def host_ports(self) -> tuple[int | None, ...]:
        return () if self.spec.publish is None else (self.spec.publish.port,)

    def check_update(self, old: Self, /) -> tuple[FieldError, ...]:
        errors = list(
            fixed(
                "make a new Database and move the data",
                ("engine", old.spec.engine, self.spec.engine),
                ("database", old.spec.database or "app", self.spec.database or "app"),
                ("username", old.spec.username or "app", self.spec.username or "app"),
                ("volumeRef", _name(old.spec.volume_ref), _name(self.spec.volume_ref)),
            )
        )
        running = old.spec.version or old.status.version
        if self.spec.version and running and self.spec.version != running:
            fix = (
                f"may not change from '{running}' to '{self.spec.version}': a data folder belongs "
                "to one major; make a new Database of that version and move the data (pg_dump)"
            )
            errors.append(FieldError("spec.version", "FieldValueForbidden", fix))
        least = size_to_keep(old, lambda spec: spec.storage_bytes, old.status.storage)
        errors += only_grows("storage", least, self.spec.storage_bytes)
        return tuple(errors)


def _name(ref: VolumeRef | None) -> str | None:
    return None if ref is None else ref.name
