"""What every record has: metadata, conditions, references, footprint, and what a kind declares.

The meaning of each word is Kubernetes' own
(https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md).
No I/O and no defaults that depend on a machine. Over 400 lines, because these words are read
together.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv4Address
from typing import Annotated, Any, ClassVar, Final, Generic, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict
from pydantic.alias_generators import to_camel, to_snake

from resources.columns import Column
from resources.docstrings import describe
from resources.quantity import Bytes, Millicores, at_least, format_millicores
from resources.text import DnsLabel, DnsSubdomain

GROUP: Final = "bunker.cloud"
VERSION: Final = "v1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
PLATFORM_NAMESPACE: Final = "platform"
"""Where the platform's own services live; no tenant's."""
RESTARTED_AT: Final = "kubectl.kubernetes.io/restartedAt"
"""Annotation of Deployments and Pods that tells spec.restartedAt; `kubectl rollout restart`
writes it."""
FINALIZER: Final = "bunker.cloud/outside"
"""Held while anything of a record exists outside the store; only the engine adds or drops it."""

Int = Annotated[int, Strict()]
"""A JSON integer; "80" and 80.0 are refused, as Kubernetes does."""
Bool = Annotated[bool, Strict()]
"""A JSON boolean; "yes" and 1 are refused."""
Port = Annotated[int, Strict(), Field(ge=1, le=65535)]
"""A TCP port."""
MAP_BY_NAME: Final[dict[str, Any]] = {
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["name"],
}
"""Schema of a list whose items are merged by `name`."""
LEAST_MEMORY_BYTES: Final = 16 * 2**20
"""Docker refuses less than 6 MiB, and then nothing useful starts."""


def _enough_cpu(value: int) -> int:
    if value < 10:  # 10m: the smallest --cpus Docker takes is 0.01
        raise ValueError(f"{format_millicores(value)} is too little CPU; write at least '10m'")
    return value


def _ipv4(value: str) -> str:
    try:
        return str(IPv4Address(value))
    except ValueError as exc:
        raise ValueError(
            f"{value!r} is not an IPv4 address; write one of the host's, such as '127.0.0.1'"
        ) from exc


STORED: Final = {"stored": True}
"""Validation context of what the store has: it was judged when it was written, and what takes long
to judge and is read again anyway need not be, nor by a rule that came later if it serves."""


class Model(BaseModel):
    """Frozen, strict, camelCase on the wire; unknown fields were pruned and reported before."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        # a model is built when it is first used, with the descriptions it has by then
        defer_build=True,
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        describe(cls)


class Ref(Model):
    """A reference by name to another record of the same namespace."""

    name: DnsLabel
    """Name of the record in the same namespace. Example: `shop-db`."""


class SecretRef(Model):
    """A reference by name to a Secret of the same namespace."""

    name: DnsSubdomain
    """Name of the Secret in the same namespace. Example: `shop-db-credentials`."""


class ConfigMapRef(Model):
    """A reference by name to a ConfigMap of the same namespace."""

    name: DnsSubdomain
    """Name of the ConfigMap in the same namespace. Example: `shop-settings`."""


class Publish(Model):
    """A port of the host that leads to the record's own port."""

    port: Port | None = None
    """Port on the host. Default: the one it has, at first one of the pool; told in status.
    Example: `15432`."""
    address: Annotated[str, AfterValidator(_ipv4)] = "127.0.0.1"
    """IPv4 address of the host to bind. Default: `127.0.0.1`, which only the host itself reaches;
    `0.0.0.0` is every address. Example: `0.0.0.0`."""


class Resources(Model):
    """What one container gets, exactly; also what the budget is charged."""

    cpu: Annotated[Millicores, AfterValidator(_enough_cpu)]
    """CPU limit in millicores or whole cores. Example: `500m`."""
    memory: Annotated[Bytes, at_least(LEAST_MEMORY_BYTES, "memory")]
    """Memory limit in bytes with a unit. Example: `512Mi`."""

    @property
    def footprint(self) -> "Footprint":
        return Footprint(self.cpu, self.memory)


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a record takes of the host: an exact sum, known from the spec alone."""

    cpu_millicores: int = 0
    memory_bytes: int = 0
    disk_bytes: int = 0

    def __add__(self, other: "Footprint") -> "Footprint":
        return Footprint(
            self.cpu_millicores + other.cpu_millicores,
            self.memory_bytes + other.memory_bytes,
            self.disk_bytes + other.disk_bytes,
        )

    def __sub__(self, other: "Footprint") -> "Footprint":
        return Footprint(
            self.cpu_millicores - other.cpu_millicores,
            self.memory_bytes - other.memory_bytes,
            self.disk_bytes - other.disk_bytes,
        )

    def times(self, count: int) -> "Footprint":
        """The footprint of `count` equal things."""
        return Footprint(
            self.cpu_millicores * count, self.memory_bytes * count, self.disk_bytes * count
        )

    def at_least(self, other: "Footprint") -> "Footprint":
        """Component-wise maximum: what is held while one size becomes another."""
        return Footprint(
            max(self.cpu_millicores, other.cpu_millicores),
            max(self.memory_bytes, other.memory_bytes),
            max(self.disk_bytes, other.disk_bytes),
        )

    def at_most(self, other: "Footprint") -> "Footprint":
        """Component-wise minimum."""
        return Footprint(
            min(self.cpu_millicores, other.cpu_millicores),
            min(self.memory_bytes, other.memory_bytes),
            min(self.disk_bytes, other.disk_bytes),
        )

    def fits(self, room: "Footprint") -> bool:
        """True if no component exceeds that of `room`."""
        return (
            self.cpu_millicores <= room.cpu_millicores
            and self.memory_bytes <= room.memory_bytes
            and self.disk_bytes <= room.disk_bytes
        )


class Amounts(Model):
    """CPU, memory and disk of the host, exactly."""

    cpu: Millicores = 0
    """CPU in millicores or whole cores. Example: `1500m`."""
    memory: Bytes = 0
    """Memory in bytes with a unit. Example: `4Gi`."""
    disk: Bytes = 0
    """Disk in bytes with a unit. Example: `100Gi`."""

    @property
    def footprint(self) -> Footprint:
        return Footprint(self.cpu, self.memory, self.disk)

    @staticmethod
    def of(footprint: Footprint) -> "Amounts":
        """The same amounts as a footprint, to be told in a status."""
        return Amounts.model_construct(
            cpu=footprint.cpu_millicores,
            memory=footprint.memory_bytes,
            disk=footprint.disk_bytes,
        )


class OwnerReference(Model):
    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class ObjectMeta(Model):
    """Kubernetes' ObjectMeta; managedFields live beside the object in the store, not here."""

    name: str = ""
    generate_name: str | None = None
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    finalizers: tuple[str, ...] = ()
    owner_references: tuple[OwnerReference, ...] = ()
    managed_fields: tuple[dict[str, Any], ...] = ()


class Condition(Model):
    """One observed fact about a record, as Kubernetes' metav1.Condition."""

    type: str
    """Ready, Synced, Stalled, Admitted, or a kind's own (at most two)."""
    status: Literal["True", "False", "Unknown"]
    """True, False or Unknown."""
    reason: str
    """One CamelCase word from an enum, for programs."""
    message: str = ""
    """One line for a person: what is so, and what to do about it."""
    observed_generation: int = 0
    """The metadata.generation this was observed at."""
    last_transition_time: str = ""
    """When `status` last changed, RFC 3339."""


class NameClaim(Model):
    """A name outside that stands for one thing, whoever's it is: a bucket, a domain."""

    scope: str
    """What kind of name it is. Example: `bucket`."""
    name: str
    """The name itself, in its canonical form. Example: `shop-assets`."""
    subtree: bool = False
    """A DNS name: other namespaces may have neither it, nor a name above or below it, in any
    scope."""
    of: str | None = None
    """Whose name it is, where that is another record's: all that say the same hold it together.
    Example: `Platform/mail`."""


class Allocation(Model):
    """What the engine has committed of the host to this record; only the engine writes it."""

    cpu: Millicores = 0
    """CPU held, in millicores."""
    memory: Bytes = 0
    """Memory held, in bytes."""
    disk: Bytes = 0
    """Disk held, in bytes."""
    subnet: str | None = None
    """IPv4 network held, in CIDR form (namespaces)."""
    ports: tuple[int, ...] = ()
    """Host ports held."""
    names: tuple[NameClaim, ...] = ()
    """Names held that nobody else may have."""
    spec: dict[str, Any] | None = None
    """The spec that this was committed for, from an edit of it until the edit is admitted."""

    @property
    def footprint(self) -> Footprint:
        return Footprint(self.cpu, self.memory, self.disk)


class Status(Model):
    """What every kind's status has; written by reconcilers alone, from what was observed."""

    agents_own: ClassVar[frozenset[str]] = frozenset({"allocation"})
    """Fields by their names on the wire that the API leaves as they are, whoever writes the
    status: the agent believes them of other records."""

    observed_generation: int = 0
    """The metadata.generation the last finished pass saw."""
    conditions: Annotated[
        tuple[Condition, ...],
        Field(
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
            }
        ),
    ] = ()
    """Ready, Synced, Stalled, Admitted and the kind's own."""
    allocation: Allocation | None = None
    """What the engine has committed of the host to this record."""


class Spec(Model):
    """What every reconciled kind's spec may say."""

    paused: Bool = False
    """Stop reconciling this record; deletion still works. Default: false."""
    priority: Annotated[int, Strict(), Field(ge=-1000, le=1000)] = 0
    """Who is admitted first when room is short: higher first, then older. Default: 0."""


class ConditionType(StrEnum):
    READY = "Ready"
    SYNCED = "Synced"
    STALLED = "Stalled"
    ADMITTED = "Admitted"


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong with a record: the field, what is wrong, and the fix in `message`."""

    field: str
    """Dotted path, e.g. `spec.engine`."""
    reason: Literal[
        "FieldValueRequired",
        "FieldValueInvalid",
        "FieldValueNotSupported",
        "FieldValueForbidden",
        "FieldValueTypeInvalid",
        "FieldValueTooLong",
        "FieldValueTooMany",
        "FieldValueDuplicate",
    ]
    message: str


@dataclass(frozen=True, slots=True)
class Reference:
    """One reference a record has set, in its own namespace."""

    path: str
    """`spec.databaseRef`, or `spec.databaseRefs[shop-db]` for an item of a list."""
    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class KindInfo:
    """What the API and the store need to know of a kind; models make the routes."""

    kind: str
    plural: str
    singular: str
    group: str = GROUP
    version: str = VERSION
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    namespaced: bool = True
    columns: tuple[Column, ...] = ()
    has_status: bool = True
    scalable: bool = False
    """Has spec.replicas, spec.restartedAt and status.replicas: it has the scale subresource, and is
    shown as a Deployment, which can be restarted."""
    reconciled: bool = True
    """A reconciler converges it; false for plain data (Secret, ConfigMap, Event)."""
    verbs: tuple[str, ...] = (
        "create",
        "delete",
        "deletecollection",
        "get",
        "list",
        "patch",
        "update",
        "watch",
    )
    selectable_fields: tuple[str, ...] = ()
    """Field selectors beyond metadata.name and metadata.namespace."""
    slow_bytes: int = 32 * 1024
    """Size from which judging a record takes so long, 2 ms, that it is better done on a thread."""
    bulk: tuple[str, ...] = ()
    """Fields of the spec that may be large, and say nothing of whom it names or works on, nor of
    what becomes of that when the record is deleted."""
    dns_name: bool = True
    """metadata.name must be a DNS label (it becomes a host name), not just a subdomain."""
    lasting: tuple[str, ...] = ()
    """Names of records that can't be deleted: what is made at the first start and always needed."""
    holds_data: bool = False
    """Garbage collection never deletes it: when its owner is gone it stays, owned by nobody."""
    needs_subnet: bool = False
    """The engine allocates a subnet to each record (namespaces)."""
    needs_namespace_network: bool = False
    """Waits for its namespace to be Ready before its first step."""
    sees_dependents: bool = False
    """Its reconciler is given the records that name it, and it is woken when one of them
    changes."""
    refs: tuple[tuple[str, str], ...] = field(default=())
    """(dotted field path, kind) of each Ref in the spec, resolved by the engine before observe.
    A path that ends in `[]` is a list of Refs; Record.references gives the references set."""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


ANY_FREE: Final = 0
"""As a host port: one of the pool that the record doesn't have yet, for something else."""


@lru_cache(maxsize=1024)
def _snake(name: str) -> str:
    """Field paths are few and asked for in every pass."""
    return to_snake(name)


class Record(Model):
    """Any record: metadata and identity. Plain-data kinds derive from this directly."""

    info: ClassVar[KindInfo]

    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta

    @classmethod
    def prepare(cls) -> None:
        """Build the model (1 to 5 ms), and load what else judging the first record loads: tens of
        milliseconds for some kinds. May be called on a thread, and more than once."""
        cls.model_rebuild()

    @property
    def deleting(self) -> bool:
        return self.metadata.deletion_timestamp is not None

    @property
    def owned_name(self) -> str:
        """The name of what this record owns outside: a function of the record alone."""
        meta = self.metadata
        parts = (self.info.singular, meta.namespace, meta.name, meta.uid[:8])
        return "-".join(part for part in parts if part)

    @property
    def footprint(self) -> Footprint:
        """What this record takes of the host when it runs. Zero unless a kind says otherwise."""
        return Footprint()

    @property
    def charged_to(self) -> tuple[str, str]:
        """The namespace whose Quotas limit that, and the uid it must have; "": whichever has that
        name. What a namespace of that name and another uid was given is no part of its quota."""
        return self.metadata.namespace, ""

    @property
    def host_ports(self) -> tuple[int | None, ...]:
        """Host ports wanted on 127.0.0.1 or wider: a number; None for the one that it has in that
        place, else one of the pool; or ANY_FREE."""
        return ()

    @property
    def claims(self) -> tuple[NameClaim, ...]:
        """Names outside that it needs for itself alone. None unless a kind says otherwise."""
        return ()

    @property
    def services(self) -> tuple[str, ...]:
        """Names of the Platform records it works on. None unless a kind says otherwise."""
        return ()

    @property
    def references(self) -> tuple[Reference, ...]:
        """Every Ref that is set, by `info.refs`, in the order of the paths."""
        found: list[Reference] = []
        for path, kind in self.info.refs:
            value: Any = self
            for part in path.removesuffix("[]").split("."):
                value = getattr(value, _snake(part), None)
            if path.endswith("[]"):
                bare = path.removesuffix("[]")
                found += [Reference(f"{bare}[{ref.name}]", kind, ref.name) for ref in value or ()]
            elif value is not None:
                found.append(Reference(path, kind, value.name))
        return tuple(found)

    def check_update(self, old: Self, /) -> tuple[FieldError, ...]:
        """What of `old` may not change into this (immutable fields). Pure."""
        del old
        return ()

    def check_new(self, stored: Mapping[str, Any], /) -> tuple[FieldError, ...]:
        """What is wrong with what is new in this, by rules that spare what is `stored` just so: the
        record's JSON, which older rules judged; empty where there is none. Pure."""
        del stored
        return ()


SpecT = TypeVar("SpecT", bound=Spec)
StatusT = TypeVar("StatusT", bound=Status)


class Resource(Record, Generic[SpecT, StatusT]):
    """A reconciled kind: desired state in `spec`, observed state in `status`."""

    spec: SpecT
    status: StatusT
