"""The core/v1 kinds: Namespace (a tenant project), Secret, ConfigMap and Event.

Fields and meanings are Kubernetes' own (https://kubernetes.io/docs/reference/kubernetes-api/);
what has no meaning on one host is left out. Namespace is reconciled (it owns a network); the
others are plain data.
"""

import base64
import binascii
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import AfterValidator, Field

from resources.columns import AGE, Column
from resources.meta import (
    PLATFORM_NAMESPACE,
    Bool,
    FieldError,
    Int,
    KindInfo,
    Model,
    Record,
    Resource,
)
from resources.meta import Spec as BaseSpec
from resources.meta import Status as BaseStatus
from resources.text import DataKey, MicroMoment, Moment

MAX_DATA_BYTES: Final = 1024 * 1024
"""Kubernetes' own limit on a Secret's or ConfigMap's data."""


def one_line(value: str) -> str:
    """Base64 without the line breaks that it may have, as for Kubernetes: many tools write them
    (https://pkg.go.dev/encoding/base64#Encoding.Decode)."""
    return value.replace("\r", "").replace("\n", "")


def _is_base64(value: str) -> str:
    value = one_line(value)
    try:
        base64.b64decode(value, validate=True)
    except binascii.Error as exc:
        # never echo the value: it may be the secret itself, written into the wrong field
        raise ValueError(
            "is not base64; encode it, or put the plain text under 'stringData'"
        ) from exc
    return value


Base64 = Annotated[str, AfterValidator(_is_base64), Field(json_schema_extra={"format": "byte"})]
Key = Annotated[str, DataKey]


def _check_size(*maps: dict[str, str]) -> None:
    size = sum(len(key) + len(value) for data in maps for key, value in data.items())
    if size > MAX_DATA_BYTES * 4 // 3:  # base64 writes 3 bytes as 4 characters
        raise ValueError("data is larger than 1 MiB; keep large files in a Volume or a Bucket")


def _check_immutable(new: Model, old: Model, fields: tuple[str, ...]) -> tuple[FieldError, ...]:
    if not getattr(old, "immutable", None):
        return ()
    changed = [name for name in (*fields, "immutable") if getattr(new, name) != getattr(old, name)]
    return tuple(
        FieldError(
            {"binary_data": "binaryData"}.get(name, name),
            "FieldValueForbidden",
            "the record is immutable; delete it and create it anew to change its data",
        )
        for name in changed
    )


class NamespaceSpec(BaseSpec):
    """A namespace needs no settings."""


class NamespaceStatus(BaseStatus):
    agents_own: ClassVar[frozenset[str]] = BaseStatus.agents_own | {"network"}

    phase: str = "Active"
    """`Active`, or `Terminating` while what is in it goes away."""
    network: str | None = None
    """Name of its network in the engine. Example: `namespace-shop-1f2e3d4c`."""
    subnet: str | None = None
    """IPv4 subnet of its network, from the platform's pool. Example: `10.201.3.0/24`."""


class Namespace(Resource[NamespaceSpec, NamespaceStatus]):
    """A tenant project: a network, a quota and secrets of its own."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="Namespace",
        plural="namespaces",
        singular="namespace",
        group="",
        short_names=("ns",),
        namespaced=False,
        lasting=("default", "kube-system"),
        needs_subnet=True,
        # as in Kubernetes: all tenants at once are nobody's to delete by one request
        verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
        columns=(
            Column("Status", ".status.phase", description="Active or Terminating"),
            AGE,
            Column("Network", ".status.network", priority=1, description="Its network"),
            Column("Subnet", ".status.subnet", priority=1, description="Its IPv4 subnet"),
        ),
    )
    spec: NamespaceSpec = Field(default_factory=NamespaceSpec)
    status: NamespaceStatus = Field(default_factory=NamespaceStatus)

    @property
    def owned_name(self) -> str:
        """Of its network: the one it has, else the one it shall have.

        The engine publishes a container's ports by the first of its networks by name. That must
        stay the services' own while they join the networks of tenants, or each joining of one that
        comes before cuts all connections from outside; so it comes before them all.
        """
        name = super().owned_name
        if self.metadata.name == PLATFORM_NAMESPACE:
            name = "home" + name.removeprefix(self.info.singular)
        return self.status.network or name


class Secret(Record):
    """Values that must not be read by everyone; encrypted wherever they are kept."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="Secret",
        plural="secrets",
        singular="secret",
        group="",
        columns=(
            Column("Type", ".type", description="What the values are for"),
            Column("Data", ".data", "integer", description="How many keys it has"),
            AGE,
        ),
        has_status=False,
        reconciled=False,
        selectable_fields=("type",),
        dns_name=False,
    )
    type: str = "Opaque"
    """What the values are for; may not change. Default: `Opaque`."""
    data: dict[Key, Base64] = Field(default_factory=dict)
    """Values by key, base64-encoded. Example: `{password: aHVudGVyMg==}`."""
    string_data: dict[Key, str] = Field(default_factory=dict)
    """Values by key as plain text: written into `data`, never read back."""
    immutable: Bool | None = None
    """True: data may never change again. Default: false."""

    def model_post_init(self, context: Any, /) -> None:
        _check_size(self.data, self.string_data)

    def check_update(self, old: Self, /) -> tuple[FieldError, ...]:
        if self.type != old.type:
            fix = f"is '{old.type}' and may not change; delete the Secret and create it anew"
            return (FieldError("type", "FieldValueInvalid", fix),)
        plain = {k: base64.b64encode(v.encode()).decode() for k, v in self.string_data.items()}
        merged = self.model_copy(update={"data": {**self.data, **plain}})
        return _check_immutable(merged, old, ("data",))


class ConfigMap(Record):
    """Settings by key, as plain text or bytes; not for secrets."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="ConfigMap",
        plural="configmaps",
        singular="configmap",
        group="",
        short_names=("cm",),
        columns=(
            Column("Data", ".data", "integer", description="How many keys it has"),
            AGE,
        ),
        has_status=False,
        reconciled=False,
        dns_name=False,
    )
    data: dict[Key, str] = Field(default_factory=dict)
    """Settings by key, plain text. Example: `{LOG_LEVEL: info}`."""
    binary_data: dict[Key, Base64] = Field(default_factory=dict)
    """Settings by key, base64-encoded bytes; no key may also be in `data`."""
    immutable: Bool | None = None
    """True: data may never change again. Default: false."""

    def model_post_init(self, context: Any, /) -> None:
        _check_size(self.data, self.binary_data)
        if both := sorted(self.data.keys() & self.binary_data.keys()):
            raise ValueError(f"key '{both[0]}' is in data and in binaryData; keep one of them")

    def check_update(self, old: Self, /) -> tuple[FieldError, ...]:
        return _check_immutable(self, old, ("data", "binary_data"))


class ObjectReference(Model):
    """Which record an event is about."""

    api_version: str = ""
    """API version of the record. Example: `bunker.cloud/v1`."""
    kind: str = ""
    """Kind of the record. Example: `Database`."""
    namespace: str = ""
    """Namespace of the record."""
    name: str = ""
    """Name of the record. Example: `shop-db`."""
    uid: str = ""
    """UID of the record."""
    resource_version: str = ""
    """resourceVersion of the record when it happened."""
    field_path: str = ""
    """Field of the record it is about, if one."""


# typed clients fail the list of a whole namespace over one number or time that they can't read
_Count = Annotated[Int, Field(ge=-(2**31), le=2**31 - 1)]


class EventSource(Model):
    component: str = ""
    """What reported it. Example: `database-controller`."""
    host: str = ""
    """Host it was reported from."""


class EventSeries(Model):
    count: _Count = 0
    """How many times it has happened in the series."""
    last_observed_time: MicroMoment | None = None
    """When it last happened, RFC 3339."""


class Event(Record):
    """Something that happened to a record, told once and counted when it repeats."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="Event",
        plural="events",
        singular="event",
        group="",
        short_names=("ev",),
        columns=(
            Column("Last Seen", ".lastTimestamp", "date", description="When it last happened"),
            Column("Type", ".type", description="Normal or Warning"),
            Column("Reason", ".reason", description="What happened, in one word"),
            Column("Kind", ".involvedObject.kind", description="Kind of the record"),
            Column("Object", ".involvedObject.name", description="Name of the record"),
            Column("Message", ".message", description="What happened, for a person"),
            Column("Count", ".count", "integer", 1, "How many times it happened"),
        ),
        has_status=False,
        reconciled=False,
        selectable_fields=(
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ),
        dns_name=False,
    )
    involved_object: ObjectReference
    """The record it is about."""
    reason: str = ""
    """What happened, in one CamelCase word. Example: `Started`."""
    message: str = ""
    """What happened, for a person, in the past tense."""
    type: str = "Normal"
    """`Normal`, or `Warning` when somebody should look. Default: `Normal`."""
    count: _Count = 1
    """How many times it happened."""
    first_timestamp: Moment | None = None
    """When it first happened, RFC 3339."""
    last_timestamp: Moment | None = None
    """When it last happened, RFC 3339."""
    event_time: MicroMoment | None = None
    """When it first happened, in microseconds, for newer clients."""
    source: EventSource = EventSource()
    """What reported it."""
    series: EventSeries | None = None
    """The series it belongs to, for newer clients."""
    action: str = ""
    """What was being done when it happened."""
    related: ObjectReference | None = None
    """A second record it is about, if any."""
    reporting_component: str = ""
    """What reported it, for newer clients."""
    reporting_instance: str = ""
    """Which instance reported it."""
