"""Volume: what holds data, as a record of its own, so that data outlives what uses it.

Cluster-scoped on purpose: a retained volume must survive its namespace. No I/O.
"""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field

from resources.changes import fixed, never_had_room, only_grows
from resources.columns import AGE, Column
from resources.meta import (
    FieldError,
    Footprint,
    KindInfo,
    Model,
    Resource,
)
from resources.meta import Spec as BaseSpec
from resources.meta import Status as BaseStatus
from resources.quantity import Bytes
from resources.text import DnsLabel, DnsSubdomain


class Claim(Model):
    """Who may use a volume: a record of this namespace (by UID), kind, name and engine."""

    namespace: DnsLabel
    """Namespace of the record. Example: `shop`."""
    namespace_uid: str
    """UID of that namespace: a re-made namespace of the same name is another tenant."""
    kind: str = "Database"
    """Kind of the record. Default: `Database`."""
    name: DnsLabel
    """Name of the record. Example: `shop-db`."""
    engine: str = ""
    """What wrote the data. Example: `postgres`."""


class VolumeSecretRef(Model):
    """The Secret that goes with the data (a password lives inside a database, too)."""

    namespace: DnsLabel
    """Namespace of the Secret. Example: `shop`."""
    name: DnsSubdomain
    """Name of the Secret. Example: `shop-db-credentials`."""


class VolumeSpec(BaseSpec):
    claim: Claim
    """Who may use it. An administrator hands a retained volume on by changing this."""
    major: str = ""
    """Major version of the engine that wrote the data. Example: `18`."""
    username: str = ""
    """User inside the engine that the data was made with. Example: `app`."""
    database: str = ""
    """Database inside the engine that was made for it. Example: `app`."""
    size: Annotated[Bytes, Field(ge=0)]
    """Disk it is charged for, in bytes with a unit; may only grow, but for what there was no room
    for. Example: `10Gi`."""
    secret_ref: VolumeSecretRef | None = None
    """The Secret that goes with the data."""
    docker_name: DnsSubdomain | None = None
    """Name of the engine's volume. Default: made from this record's name and UID."""


class VolumeStatus(BaseStatus):
    phase: Literal["Pending", "Bound", "Retained"] = "Pending"
    """`Bound` while a record owns it, `Retained` when only this record keeps the data."""
    docker_name: str | None = None
    """Name of the volume in the engine."""
    used_by: tuple[str, ...] = ()
    """The record that owns it, and so mounts it. Example: `[Database/shop-db]`."""


class Volume(Resource[VolumeSpec, VolumeStatus]):
    """A data volume. Deleting this record is the only thing that ever deletes its data."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="Volume",
        plural="volumes",
        singular="volume",
        short_names=("vol",),
        categories=("all",),
        namespaced=False,
        dns_name=False,
        holds_data=True,
        columns=(
            Column("Namespace", ".spec.claim.namespace", description="Namespace it belongs to"),
            Column("Claim", ".spec.claim.name", description="Record it belongs to"),
            Column("Engine", ".spec.claim.engine", description="What wrote the data"),
            Column("Major", ".spec.major", description="Major version that wrote the data"),
            Column("Size", ".spec.size", description="Disk it is charged for"),
            Column("Phase", ".status.phase", description="Bound or Retained"),
            AGE,
            Column("Volume", ".status.dockerName", priority=1, description="Name in the engine"),
        ),
    )
    spec: VolumeSpec
    status: VolumeStatus = Field(default_factory=VolumeStatus)

    @property
    def docker_name(self) -> str:
        """Name of the volume in the engine."""
        return self.spec.docker_name or self.owned_name

    @property
    def footprint(self) -> Footprint:
        return Footprint(disk_bytes=self.spec.size)

    @property
    def least_bytes(self) -> int:
        """What no edit may go below: its size, or what it was given where that has no room yet."""
        held = self.status.allocation
        if held is not None:
            return min(self.spec.size, held.disk)
        data = self.spec.docker_name or self.status.docker_name
        return 0 if never_had_room(self.status) and not data else self.spec.size

    @property
    def charged_to(self) -> tuple[str, str]:
        """Its claim's: it is in no namespace itself, and would else escape every Quota."""
        return self.spec.claim.namespace, self.spec.claim.namespace_uid

    def check_update(self, old: Self, /) -> tuple[FieldError, ...]:
        errors = list(only_grows("size", old.least_bytes, self.spec.size))
        if self.spec.claim != old.spec.claim and self.metadata.owner_references:
            fix = "is in use; delete the record that owns the volume first (its data is kept)"
            errors.append(FieldError("spec.claim", "FieldValueForbidden", fix))
        another = "make a second Volume for another volume of the engine"
        errors += fixed(another, ("dockerName", old.spec.docker_name, self.spec.docker_name))
        return tuple(errors)
