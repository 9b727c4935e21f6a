"""What every record has: metadata, conditions, references, footprint, and what a kind declares.

The meaning of each word is Kubernetes' own
(https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md).
No I/O and no defaults that depend on a machine.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final, Generic, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from resources.quantity import Bytes, Millicores

GROUP: Final = "bunker.cloud"
VERSION: Final = "v1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
FINALIZER: Final = "bunker.cloud/outside"
"""Held while anything of a record exists outside the store; only the engine adds or drops it."""

DnsLabel = Annotated[
    str, StringConstraints(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", min_length=1, max_length=63)
]
"""RFC 1035 label: names that become host names inside a namespace's network."""


class Model(BaseModel):
    """Frozen, strict, camelCase on the wire; unknown fields were pruned and reported before."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        use_attribute_docstrings=True,
    )


class Ref(Model):
    """A reference by name to another record of the same namespace."""

    name: DnsLabel
    """Name of the record in the same namespace. Example: `shop-db`."""


class SecretRef(Model):
    """A reference by name to a Secret of the same namespace."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=253)]
    """Name of the Secret in the same namespace. Example: `shop-db-credentials`."""


class Resources(Model):
    """What one container gets, exactly; also what the budget is charged."""

    cpu: Millicores
    """CPU limit in millicores or whole cores. Example: `500m`."""
    memory: Bytes
    """Memory limit in bytes with a unit. Example: `512Mi`."""


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

    def fits(self, room: "Footprint") -> bool:
        """True if no component exceeds that of `room`."""
        return (
            self.cpu_millicores <= room.cpu_millicores
            and self.memory_bytes <= room.memory_bytes
            and self.disk_bytes <= room.disk_bytes
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

    @property
    def footprint(self) -> Footprint:
        return Footprint(self.cpu, self.memory, self.disk)


class Status(Model):
    """What every kind's status has; written by reconcilers alone, from what was observed."""

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

    paused: bool = False
    """Stop reconciling this record; deletion still works. Default: false."""
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0
    """Who is admitted first when room is short: higher first, then older. Default: 0."""


class ConditionType(StrEnum):
    READY = "Ready"
    SYNCED = "Synced"
    STALLED = "Stalled"
    ADMITTED = "Admitted"


@dataclass(frozen=True, slots=True)
class Column:
    """A printer column of `kubectl get`.

    `path` is a JSONPath such as `.spec.engine` or
    `.status.conditions[?(@.type=="Ready")].status`; `type` is string, integer, date or quantity;
    priority > 0 shows with `-o wide` only.
    """

    name: str
    path: str
    type: str = "string"
    priority: int = 0
    description: str = ""


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
    ]
    message: str


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
    """Has spec.replicas and status.replicas, and so the scale subresource."""
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
    dns_name: bool = True
    """metadata.name must be a DNS label (it becomes a host name), not just a subdomain."""
    needs_subnet: bool = False
    """The engine allocates a subnet to each record (namespaces)."""
    needs_namespace_network: bool = False
    """Waits for its namespace to be Ready before its first step."""
    refs: tuple[tuple[str, str], ...] = field(default=())
    """(dotted field path, kind) of each Ref in the spec, resolved by the engine before observe."""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


class Record(Model):
    """Any record: metadata and identity. Plain-data kinds derive from this directly."""

    info: ClassVar[KindInfo]

    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta

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
    def host_ports(self) -> tuple[int | None, ...]:
        """Host ports wanted on 127.0.0.1 or wider: a number, or None for one of the pool."""
        return ()

    def check_update(self, old: Self, /) -> tuple[FieldError, ...]:
        """What of `old` may not change into this (immutable fields). Pure."""
        del old
        return ()


SpecT = TypeVar("SpecT", bound=Spec)
StatusT = TypeVar("StatusT", bound=Status)


class Resource(Record, Generic[SpecT, StatusT]):
    """A reconciled kind: desired state in `spec`, observed state in `status`."""

    spec: SpecT
    status: StatusT
