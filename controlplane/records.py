"""Records as the store keeps them, and the ports through which the rest of the system meets it.

Value types and Protocols only: SQL is in store/, the watch cache in engine/cache.py.

What is made anew for every write, and used as a key everywhere, is a tuple and no frozen
dataclass: that takes a third of the time to make, or less, and a tenth to hash.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol

import orjson

Verb = Literal["create", "update", "delete"]


class Key(NamedTuple):
    """Identity by name: kind, namespace ("" for cluster-scoped kinds), name."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace + '/' if self.namespace else ''}{self.name}"


@dataclass(frozen=True)
class Stored:
    """One record at one revision.

    `body` is the object's canonical JSON without metadata.resourceVersion and
    metadata.managedFields (both are spliced in on read); a Secret's body holds ciphertext.
    """

    key: Key
    uid: str
    revision: int
    generation: int
    body: bytes
    managed_fields: bytes = b"[]"

    @property
    def size_bytes(self) -> int:
        """What it is kept as: ownership may take more than the object."""
        return len(self.body) + len(self.managed_fields)

    @cached_property
    def obj(self) -> Mapping[str, Any]:
        """The parsed body. Shared: never modify it."""
        parsed: dict[str, Any] = orjson.loads(self.body)
        return parsed

    @property
    def meta(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.obj["metadata"]
        return found

    @property
    def labels(self) -> Mapping[str, str]:
        found: Mapping[str, str] = self.meta.get("labels") or {}
        return found

    @property
    def deleting(self) -> bool:
        return self.meta.get("deletionTimestamp") is not None

    @property
    def owner_uids(self) -> tuple[str, ...]:
        return tuple(ref["uid"] for ref in self.meta.get("ownerReferences") or ())


class Change(NamedTuple):
    """One committed change, in revision order. For a delete, `after` is the last state, carrying
    the deletion's revision."""

    revision: int
    verb: Verb
    after: Stored
    before: Stored | None
    """The state before, where the cache knew it: selectors need both."""
    memo: dict[str, Any]
    """What is made of this change once for all its watchers, its encodings for one; the cache
    empties it when the change gets old."""
    synthetic: bool = False
    """Made up when the cache had to list again: changes before it were missed. Fine for a level
    (requeue the key); an API watch ends with 410 Expired instead."""


class Write(NamedTuple):
    """One write for the group-commit writer."""

    verb: Verb
    key: Key
    uid: str
    generation: int
    body: bytes
    managed_fields: bytes
    expected_revision: int | None
    """The revision the record must still have; None for a create."""
    actor: str
    """Who, as authenticated."""
    manager: str
    """Field manager."""
    epoch: int | None = None
    """Set on every controller write: refused by the store when stale."""
    within: Key | None = None
    """For a create: a record (its namespace) that must exist and not be deleting at commit."""
    deleting: bool = False
    """The body carries a deletionTimestamp."""


class Store(Protocol):
    """The writer's face. All methods raise StoreUnavailableError when PostgreSQL is away."""

    async def write(self, write: Write, /) -> Stored:
        """Commit durably, in a batch with whatever else waits; returns once it is committed and
        in the local cache. Raises ConflictError, AlreadyExistsError, NotFoundError,
        StaleEpochError."""
        ...

    async def revision(self) -> int:
        """The store's newest committed revision (reads are coalesced)."""
        ...


class Subscription(Protocol):
    """A live, ordered stream of changes, from the moment `View.watch` returned.

    Iterating raises SlowReaderError once the reader is too far behind; after `close` it ends.
    Cancelling an await of it loses nothing.
    """

    def __aiter__(self) -> AsyncIterator[Change]: ...

    async def __anext__(self) -> Change: ...

    @property
    def position(self) -> int:
        """Every matching change up to this revision has been handed out: what a bookmark says."""
        ...

    def close(self) -> None: ...


class Held(NamedTuple):
    """What one namespace holds."""

    records: Mapping[str, int]
    """How many by kind."""
    bytes: int
    """Of all their bodies."""


class View(Protocol):
    """The watch cache's face: what is, at a revision, and what follows."""

    @property
    def revision(self) -> int: ...

    def get(self, key: Key, /) -> Stored | None: ...

    def list(self, kind: str, namespace: str | None = None, /) -> Sequence[Stored]:
        """Sorted by (namespace, name); None lists all namespaces."""
        ...

    def held(self, namespace: str, /) -> Held:
        """How much a namespace holds, at a cost that doesn't grow with it."""
        ...

    def namespaces(self, kind: str, /) -> Sequence[str]:
        """Those that have a record of this kind, sorted; "" where it is cluster-scoped."""
        ...

    def owned_by(self, uid: str, /) -> Sequence[Stored]:
        """Records with an ownerReference to `uid`."""
        ...

    def watch(self, kinds: frozenset[str] | None, since: int, /) -> Subscription:
        """Every change of these kinds with revision > since, then live. None: every kind.
        Raises CompactedError when `since` is older than the ring."""
        ...

    async def wait_for(self, revision: int, /, *, timeout_s: float) -> None:
        """Return once the cache has reached `revision`; raises TimeoutError."""
        ...


class Sealer(Protocol):
    """Encrypts what is secret in a record: the embedded backend now, Vault later."""

    async def seal(self, uid: str, plaintext: bytes, /, *, ephemeral: bool = False) -> bytes:
        """AES-GCM under a per-object key, AAD = uid. `ephemeral`: for a dry run, whose result is
        never stored; opens like any other, and leaves no key behind."""
        ...

    async def open(self, uid: str, blob: bytes, /) -> bytes:
        """Raises SecretLostError where the key is gone, SecretsUnavailableError."""
        ...

    def digest(self, plaintext: bytes, /) -> str:
        """Keyed HMAC, hex: equal content gives an equal digest; reveals nothing else."""
        ...

    async def destroy(self, uid: str, /) -> None:
        """Forget the object's key: its old bodies can never be read again."""
        ...
