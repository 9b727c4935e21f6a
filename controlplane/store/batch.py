"""What a batch of writes comes to: who wins, the revisions, and the hash chain. Pure.

Writes are decided one after another against the state the database showed under the counter's
lock, so a batch means exactly what its writes would have meant one by one.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NamedTuple, Protocol

import orjson

from controlplane.errors import (
    AlreadyExistsError,
    ConflictError,
    ControlPlaneError,
    ForbiddenError,
    NotFoundError,
    StaleEpochError,
)
from controlplane.records import Key, Write

EMPTY_HEAD: Final = hashlib.sha256(b"").digest()
"""Head of a log without changes."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Current(Protocol):
    """What compare-and-set needs of a current record; records.Stored is one."""

    @property
    def uid(self) -> str: ...
    @property
    def revision(self) -> int: ...
    @property
    def deleting(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Row:
    """A Current read from the database."""

    uid: str
    revision: int
    deleting: bool


Lookup = Callable[[Key], Current | None]


class Accepted(NamedTuple):
    """A write with the place it gets in the log; the Current of those after it in the batch."""

    write: Write
    revision: int
    body_sha256: bytes
    hash: bytes

    @property
    def uid(self) -> str:
        return self.write.uid

    @property
    def deleting(self) -> bool:
        return self.write.deleting


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of a batch before it is written; `refused` is by index into the batch."""

    at: datetime
    accepted: tuple[Accepted, ...]
    refused: Mapping[int, ControlPlaneError]
    head: bytes


def refusal(write: Write, current: Lookup, epochs: frozenset[int]) -> ControlPlaneError | None:
    """Why this write may not be made now, or None."""
    if write.epoch is not None and write.epoch not in epochs:
        return StaleEpochError(f"cannot {write.verb} {write.key}: epoch {write.epoch} is over")
    row = current(write.key)
    if write.verb == "create":
        if row is not None:
            return AlreadyExistsError(f"cannot create {write.key}: it already exists")
        return None if write.within is None else _outside(write, current(write.within))
    if row is None or row.uid != write.uid:
        return NotFoundError(f"cannot {write.verb} {write.key}: not found")
    if row.revision != write.expected_revision:
        return ConflictError(
            f"cannot {write.verb} {write.key}: the object has been modified; please apply "
            "your changes to the latest version and try again"
        )
    return None


def _outside(write: Write, home: Current | None) -> ControlPlaneError | None:
    """Why the record this one must live in (its namespace) doesn't take it, or None."""
    if home is None:
        return NotFoundError(f"cannot create {write.key}: {write.within} not found")
    if home.deleting:
        return ForbiddenError(
            f"cannot create {write.key}: {write.within} is being terminated",
            reason="NamespaceTerminating",
        )
    return None


def decide(
    batch: Sequence[Write],
    current: Lookup,
    epochs: frozenset[int],
    *,
    revision: int,
    head: bytes,
    at: datetime,
) -> Verdict:
    """Accept or refuse each write in order, after `revision` and its hash `head`."""
    changed: dict[Key, Current | None] = {}

    def now(key: Key) -> Current | None:
        return changed[key] if key in changed else current(key)

    accepted: list[Accepted] = []
    refused: dict[int, ControlPlaneError] = {}
    at_us = microseconds(at)
    for index, write in enumerate(batch):
        if (error := refusal(write, now, epochs)) is not None:
            refused[index] = error
            continue
        revision += 1
        digest = content_digest(write.body, write.managed_fields)
        head = chain(head, revision, at_us, write, digest)
        done = Accepted(write, revision, digest, head)
        accepted.append(done)
        changed[write.key] = None if write.verb == "delete" else done
    return Verdict(at, tuple(accepted), refused, head)


def content_digest(body: bytes, managed_fields: bytes) -> bytes:
    """sha256 of the body's length (8 bytes, big-endian), the body, and its managedFields."""
    return hashlib.sha256(b"%b%b%b" % (len(body).to_bytes(8), body, managed_fields)).digest()


def chain(previous: bytes, revision: int, at_us: int, write: Write, digest: bytes) -> bytes:
    """Hash of a change: sha256(previous hash, content digest, metadata as a JSON array)."""
    key = write.key
    fields = (
        revision,
        at_us,
        write.verb,
        write.actor,
        write.manager,
        write.uid,
        key.kind,
        key.namespace,
        key.name,
        write.generation,
        write.epoch,
        write.expected_revision,
    )
    return hashlib.sha256(b"%b%b%b" % (previous, digest, orjson.dumps(fields))).digest()


def microseconds(at: datetime) -> int:
    """Microseconds since 1970, exactly: PostgreSQL's resolution, without a float on the way."""
    since = at - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
