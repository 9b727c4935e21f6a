"""What a reconciler decides: steps, waits, plans, and the contract between a kind and the engine.

Plans are comparable data. Nothing here does I/O; the one pass that drives a reconciler is in
engine/controller.py.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, TypeVar
from urllib.parse import quote

from resources.meta import Condition, Footprint, Record, Status


@dataclass(frozen=True, slots=True)
class Binding:
    """How to reach what a record provides, without any secret value.

    `secret_name` names a Secret in the Service Binding convention (keys type, host, port,
    username, password, uri, ...); `content_hmac` changes whenever its content does.
    """

    secret_name: str
    content_hmac: str


@dataclass(frozen=True, slots=True)
class Resolved:
    """What the engine found behind a Ref, before observe."""

    kind: str
    name: str
    uid: str | None
    """None if there is no such record."""
    ready: bool
    message: str
    """Why it isn't ready, for a person; empty when ready."""
    binding: Binding | None = None
    spec: Mapping[str, Any] = field(default_factory=dict)
    status: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Owned:
    """A child record as the engine sees it: owned by this record, or adoptable by it."""

    kind: str
    name: str
    uid: str
    ready: bool
    spec: Mapping[str, Any]
    status: Mapping[str, Any]
    content_hmac: str = ""
    """For a Secret: keyed HMAC of its content."""
    secret_keys: tuple[str, ...] = ()
    """For a Secret: the names of its keys."""
    owned: bool = True
    """False: it exists under that name but nobody (or somebody else) owns it yet."""
    deleting: bool = False
    created: str = ""
    """metadata.creationTimestamp, RFC 3339."""


@dataclass(frozen=True, slots=True)
class Dependent:
    """A record that names this one, by a Ref or as a platform service it works on."""

    kind: str
    namespace: str
    name: str
    uid: str
    created: str
    """metadata.creationTimestamp, RFC 3339: which of two was first."""
    spec: Mapping[str, Any]
    status: Mapping[str, Any]
    deleting: bool
    network: str
    """Docker name of its namespace's network."""
    network_ready: bool


R = TypeVar("R", bound=Record)


@dataclass(frozen=True, slots=True)
class Want(Generic[R]):
    """What the user asks for, with all that the engine resolved for the pass."""

    record: R
    namespace_uid: str = ""
    network: str = ""
    """Docker name of the namespace's network ("" for cluster-scoped kinds)."""
    network_ready: bool = True
    refs: Mapping[str, Resolved] = field(default_factory=dict)
    """Dotted field path of each Ref that is set -> what is behind it."""
    services: Mapping[str, Resolved] = field(default_factory=dict)
    """Name of each of record.services -> the Platform record behind it; its binding's Secret is
    in PLATFORM_NAMESPACE."""
    dependents: tuple[Dependent, ...] = ()
    """Who names this record, sorted by kind, namespace and name; only for kinds with
    info.sees_dependents."""
    secrets: Mapping[str, str | None] = field(default_factory=dict)
    """Secret and ConfigMap names this record reads, as "Secret/name" -> content HMAC; None if
    it does not exist."""
    children: Mapping[tuple[str, str], Owned] = field(default_factory=dict)
    """(kind, name) of each record named by Reconciler.children() that exists."""
    ports: tuple[int, ...] = ()
    """Host ports the engine allocated, in the order of record.host_ports."""
    subnet: str | None = None
    """Subnet the engine allocated (namespaces)."""
    held: Footprint = field(default_factory=Footprint)
    """CPU and memory the record holds of the budget: after an edit the larger of before and now,
    until a pass has converged."""

    @property
    def deleting(self) -> bool:
        return self.record.deleting


@dataclass(frozen=True, slots=True)
class EnsureChild:
    """Create or correct a child record; carried out by the engine under its epoch.

    The child gets an ownerReference to this record. One that exists and is unowned is adopted
    if its spec equals `spec` in the fields named by `adopt_if_equal`; else the step raises
    TerminalError naming who has it.
    """

    kind: str
    name: str
    spec: Mapping[str, Any]
    adopt_if_equal: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Generated:
    """A secret value made at apply: `length` random characters, URL-safe; in the form `rsa` a
    private key of `length` bits, in PEM (PKCS #8); in the form `x25519` a WireGuard private key."""

    length: int = 32
    form: Literal["text", "rsa", "x25519"] = "text"
    once: bool = False
    """Another value would open nothing: data that there is already waits for the one it had."""


@dataclass(frozen=True, slots=True)
class Template:
    """A secret value composed at apply from the other keys: "postgres://{username}:{password}@..."."""

    text: str
    uri: bool = False
    """Percent-encode the values (RFC 3986): a password may hold any character."""

    def composed(self, values: Mapping[str, str], /) -> str:
        """The value; a key that isn't there stays as it is written."""

        def value(found: re.Match[str]) -> str:
            given = values.get(found[1])
            if given is None:
                return found[0]
            return quote(given, safe="", errors="surrogateescape") if self.uri else given

        return re.sub(r"\{([A-Za-z0-9._-]+)\}", value, self.text)


@dataclass(frozen=True, slots=True)
class Derived:
    """A secret value computed at apply from the finished others: a public key, a QR code.

    `compute` is pure and of module level, so that equal plans are equal; it raises ValueError,
    with no value in its message, for what it can make nothing of. Values are text; other bytes
    stand in it as surrogates (`surrogateescape`).
    """

    compute: Callable[[Mapping[str, str]], str]


SecretValue = str | Generated | Template | Derived


@dataclass(frozen=True, slots=True)
class EnsureSecret:
    """Create or complete a Secret owned by this record.

    Generated values are made only when missing, so that a retry keeps them; plain strings,
    templates and derived values are corrected when they differ. An unowned Secret of that name is
    adopted only if it carries this record's volume claim (label bunker.cloud/claim: `claim`, or
    its beginning and its hash).
    """

    name: str
    keys: Mapping[str, SecretValue]
    claim: str = ""
    type: str = "servicebinding.io/database"
    renew_on: str = ""
    """A plain key: where its value changes, generated ones are made anew with it."""


@dataclass(frozen=True, slots=True)
class OrphanChild:
    """Take this record's ownerReference off a child, so that it outlives the record."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class RemoveChild:
    """Delete a child record; its own reconciler removes what it stands for."""

    kind: str
    name: str


RecordStep = EnsureChild | EnsureSecret | OrphanChild | RemoveChild
"""Steps the engine carries out itself; a reconciler's apply never sees them."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do now, and not ready. `recheck_after_s` None: an event will tell."""

    reason: str
    message: str
    recheck_after_s: float | None = None


StepT = TypeVar("StepT")
StepT_co = TypeVar("StepT_co", covariant=True)
SeenT = TypeVar("SeenT")


@dataclass(frozen=True, slots=True)
class Plan(Generic[StepT_co]):
    """steps: do these in order, stop at the first failure, observe again.
    wait: nothing to do, not ready. Plan(): converged."""

    steps: tuple[StepT_co | RecordStep, ...] = ()
    wait: Wait | None = None

    @property
    def converged(self) -> bool:
        return not self.steps and self.wait is None


@dataclass(frozen=True, slots=True)
class ChildRef:
    """A child record a reconciler wants to see in Want.children."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Report:
    """What a kind tells its user: the new status (conditions left alone) and readiness as seen."""

    status: Status
    ready: bool
    reason: str
    """CamelCase, e.g. Serving, Starting, NotServing."""
    message: str
    conditions: tuple[Condition, ...] = ()
    """At most two of the kind's own."""
    in_use: Footprint | None = None
    """What is observed to be held of the host now; None: as much as is allocated."""
    exchanged: bool = False
    """No container of an earlier spec is there any more, whatever else is waited for: none listens
    on a port of the host that is wanted no more. False: not before it converged, as far as is
    known."""
    recheck_after_s: float | None = None
    """Look again this soon even when converged (health checks); None: at the next resync."""


class SecretReader(Protocol):
    """Reads values for a reconciler's observe and apply; they end up in no Step, Seen or status."""

    async def read(
        self, kind: Literal["Secret", "ConfigMap"], namespace: str, name: str, /
    ) -> Mapping[str, bytes] | None:
        """Decoded values by key, as committed; None if there is no such record."""
        ...


class Usage(Protocol):
    """What is promised and held, for the kinds that tell it."""

    def allocated(self, namespace: str | None = None, /) -> Footprint:
        """The sum over one namespace's records, or over all."""
        ...

    def reserved(self) -> Footprint:
        """What is kept back for the host itself."""
        ...

    def records(self, namespace: str, /) -> int:
        """How many records a namespace holds, Events not counted."""
        ...


class Reconciler(Protocol[R, SeenT, StepT]):
    """Four methods, two of them pure; the engine owns everything else."""

    def children(self, want: R, namespace_uid: str, /) -> tuple[ChildRef, ...]:
        """Child records this kind plans with. Pure; default none."""
        return ()

    def reads(self, want: R, /) -> tuple[str, ...]:
        """Secrets and ConfigMaps this record reads, as "Secret/name". Pure; default none."""
        return ()

    async def observe(self, want: Want[R], /) -> SeenT:
        """Read the world. Absent is None, not an exception; raises only errors.py types."""
        ...

    def plan(self, want: Want[R], seen: SeenT, /) -> Plan[StepT]:
        """Decide. Pure: the same inputs give an equal Plan. While want.deleting, Plan() means
        nothing is left to do, and the engine then drops the finalizer."""
        ...

    def status(self, want: Want[R], seen: SeenT, /) -> Report:
        """What the user is told, from what was seen. Pure."""
        ...

    async def apply(self, step: StepT, /) -> None:
        """One idempotent effect. `match` + assert_never."""
        ...


Outcome = Literal["converged", "progressing", "waiting", "retry", "terminal", "conflict", "error"]
