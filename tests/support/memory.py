"""A store in memory that keeps the writer's promises: compare-and-set, epochs, gapless revisions,
in the cache before it is acknowledged. For engine tests; SQL has its own.
"""

import asyncio
import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from controlplane.engine.cache import Cache
from controlplane.errors import (
    AlreadyExistsError,
    ConflictError,
    NotFoundError,
    SecretLostError,
    StaleEpochError,
    StoreUnavailableError,
)
from controlplane.records import Key, Stored, Verb, Write


@dataclass(slots=True)
class MemoryStore:
    """Implements records.Store."""

    cache: Cache = field(default_factory=Cache)
    epoch: int | None = None
    """Writes of another epoch are refused; None: any epoch may write."""
    away: bool = False
    writes: list[Write] = field(default_factory=list)
    latency_s: float = 0.0
    on_write: Callable[[Write], None] | None = None
    """Called after each commit: invariants are checked here."""

    async def write(self, write: Write, /) -> Stored:
        await asyncio.sleep(self.latency_s)
        if self.away:
            raise StoreUnavailableError("cannot write: the store is away")
        if write.epoch is not None and self.epoch is not None and write.epoch != self.epoch:
            raise StaleEpochError(f"cannot write: epoch {write.epoch} is over")
        self._check(write, self._current(write.key))
        revision = self._newest() + 1
        body, generation = write.body, write.generation
        after = Stored(write.key, write.uid, revision, generation, body, write.managed_fields)
        self._commit(write, after)
        self.writes.append(write)
        if self.on_write is not None:
            self.on_write(write)
        return after

    def _current(self, key: Key) -> Stored | None:
        return self.cache.get(key)

    def _newest(self) -> int:
        return self.cache.revision

    def _commit(self, write: Write, after: Stored) -> None:
        self.cache.apply([(write.verb, after)])

    async def revision(self) -> int:
        if self.away:
            raise StoreUnavailableError("cannot read: the store is away")
        return self._newest()

    def _check(self, write: Write, current: Stored | None) -> None:
        if write.verb == "create":
            if current is not None:
                raise AlreadyExistsError(f"cannot create {write.key}: it exists")
            return
        if current is None or current.uid != write.uid:
            raise NotFoundError(f"cannot {write.verb} {write.key}: not found")
        if current.revision != write.expected_revision:
            raise ConflictError(f"cannot {write.verb} {write.key}: it has changed")

    def writes_to(self, key: Key) -> int:
        return sum(write.key == key for write in self.writes)


@dataclass(slots=True)
class LaggingStore(MemoryStore):
    """What others write reaches this process late, as through the feed: its view is stale. Its
    own writes are in its view before they are acknowledged, and so is all that came before."""

    rng: random.Random = field(default_factory=random.Random)
    lag_s: float = 3.0
    _truth: dict[Key, Stored] = field(default_factory=dict)
    _revision: int = 0
    _late: list[tuple[Verb, Stored]] = field(default_factory=list)

    def _current(self, key: Key) -> Stored | None:
        return self._truth.get(key)

    def _newest(self) -> int:
        return self._revision

    def _commit(self, write: Write, after: Stored) -> None:
        self._revision = after.revision
        if write.verb == "delete":
            del self._truth[write.key]
        else:
            self._truth[write.key] = after
        self._late.append((write.verb, after))
        if write.epoch is not None:
            self._deliver(after.revision)
        else:
            delay_s = self.rng.choice((0.0, 0.05, self.lag_s))
            asyncio.get_running_loop().call_later(delay_s, self._deliver, after.revision)

    def _deliver(self, revision: int) -> None:
        due = [change for change in self._late if change[1].revision <= revision]
        self._late = self._late[len(due) :]
        if due:
            self.cache.apply(due)


class PlainSealer:
    """Implements records.Sealer without any secrecy: reversible, so tests can look."""

    def __init__(self) -> None:
        self.lost: set[str] = set()
        """UIDs of Secrets whose key is gone: a new one is made when it is sealed again."""
        self.refused = 0
        """How often one of those was to be opened."""

    async def seal(self, uid: str, plaintext: bytes, /, *, ephemeral: bool = False) -> bytes:
        if not ephemeral:
            self.lost.discard(uid)
        return plaintext[::-1]

    async def open(self, uid: str, blob: bytes, /) -> bytes:
        if uid in self.lost:
            self.refused += 1
            raise SecretLostError(f"cannot open the data of '{uid}': its key is gone")
        return blob[::-1]

    def digest(self, plaintext: bytes, /) -> str:
        return hashlib.sha256(plaintext).hexdigest()

    async def destroy(self, uid: str, /) -> None:
        del uid
