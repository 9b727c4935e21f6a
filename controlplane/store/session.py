"""One connection of the writer: a batch is decided, logged and committed in three round trips.

What a batch does depends on the counter alone: the newest revision, its hash, the live epochs.
Right after a batch of our own those are known, so the next one is decided before PostgreSQL is
asked, and begins with a claim: an update of the counter that fails unless it is what it was taken
for. Where it fails, or nothing is known, the counter is locked and read first.

Deliberately no queue and no callers: those are the writer's.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID, uuid4

from controlplane.records import Key, Verb, Write
from controlplane.store.batch import Accepted, Lookup, Row, Verdict, decide
from controlplane.store.connect import Connection, Dedicated
from controlplane.store.feed import CHANNEL, Tail

_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""PostgreSQL's."""
LOCK_SQL: Final = "SELECT revision, head, epochs, clock_timestamp() AS at FROM counter FOR UPDATE"

_COMMIT_DEADLINE_S: Final = 2.0
_CLOCK_TRUSTED_S: Final = 10.0
"""How long the database's clock is reckoned by ours before it is read again: a clock that is being
slewed (500 ppm at most, adjtimex(2)) is 5 ms off by then."""
SETTINGS: Final = {
    "synchronous_commit": "on",
    # a frozen process must not hold the counter's lock for long
    "idle_in_transaction_session_timeout": "5s",
    # the planner sees batches of unknown length; every access here is by primary key
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    "plan_cache_mode": "force_generic_plan",
}
"""What a session's connection is opened with."""
# a statement of its own: its snapshot is taken after the lock was granted
_STATE_SQL: Final = """
SELECT o.kind, o.namespace, o.name, o.uid, o.revision, o.deleting
FROM objects o JOIN unnest($1::text[], $2::text[], $3::text[]) AS k (kind, namespace, name)
ON o.kind = k.kind AND o.namespace = k.namespace AND o.name = k.name
"""
_COLUMNS: Final = (
    *("revision", "at", "verb", "actor", "manager", "uid", "kind", "namespace", "name"),
    *("generation", "body", "body_sha256", "managed_fields", "hash", "batch", "epoch"),
    "previous",
)
# prepared by name, as several of them travel in one message, and none is planned again. The batch
# is in the log before any `apply_`: everything else follows from there, without sending it twice
_PREPARE_SQL: Final = """
PREPARE claim (bigint, bytea, bigint[], bigint, bytea) AS
-- no row where it is anything else than was expected: an error would be written to a log each time
UPDATE counter SET revision = $4, head = $5
WHERE revision = $1 AND head = $2 AND epochs = $3;

PREPARE apply_create (bigint) AS
INSERT INTO objects (kind, namespace, name, uid, revision, generation, deleting, body,
    managed_fields)
SELECT kind, namespace, name, uid, revision, generation, false, body, managed_fields
FROM changes WHERE revision > $1 AND verb = 'create';

PREPARE apply_update (bigint, bigint[]) AS
UPDATE objects o SET revision = c.revision, generation = c.generation,
    deleting = c.revision = ANY ($2), body = c.body, managed_fields = c.managed_fields
FROM changes c WHERE c.revision > $1 AND c.verb = 'update'
AND o.kind = c.kind AND o.namespace = c.namespace AND o.name = c.name;

PREPARE apply_delete (bigint) AS
WITH forgotten AS (
    DELETE FROM object_keys k USING changes c WHERE c.revision > $1 AND c.verb = 'delete'
    AND k.uid = c.uid
)
DELETE FROM objects o USING changes c WHERE c.revision > $1 AND c.verb = 'delete'
AND o.kind = c.kind AND o.namespace = c.namespace AND o.name = c.name;
"""


@dataclass(frozen=True, slots=True)
class _Known:
    """The counter row, as read or as our own batch left it."""

    revision: int
    head: bytes
    epochs: Sequence[int]
    at: datetime
    """The database's clock when it was read."""
    read_at: float
    """The loop's, then: seconds."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A batch on its way: what was decided, and how to recognise it in the log."""

    id: UUID
    verdict: Verdict
    base: _Known
    """The counter it was decided on."""
    claimed: bool
    """The counter already says what it will after this batch."""

    @property
    def first_revision(self) -> int:
        return self.verdict.accepted[0].revision

    def hash_at(self, revision: int) -> bytes | None:
        """That the log has there; None where this batch doesn't know."""
        accepted, after = self.verdict.accepted, revision - self.base.revision
        if after == 0:
            return self.base.head
        return accepted[after - 1].hash if 0 < after <= len(accepted) else None

    def claim(self) -> str:
        """The statement that moves the counter from what it was decided on to its end."""
        base, verdict = self.base, self.verdict
        return _call(
            "claim",
            *(base.revision, base.head, base.epochs),
            *(verdict.accepted[-1].revision, verdict.head),
        )


class Session:
    """`prepare` once; then for each batch `stage` and `commit`, or `abandon`."""

    def __init__(self, conn: Dedicated, tail: Tail) -> None:
        self.conn = conn
        self._tail = tail
        self._known: _Known | None = None

    async def prepare(self) -> None:
        """Name the statements; once, before anything else."""
        # every row of a batch has the same moment: turned into what PostgreSQL reads once, not for
        # each row, where it is half of what encoding a row costs (0.9 of 1.8 µs)
        await self.conn.set_type_codec(
            "timestamptz",
            schema="pg_catalog",
            format="tuple",
            encoder=lambda since: since,
            decoder=lambda since: _EPOCH + timedelta(microseconds=since[0]),
        )
        await self.conn.execute(_PREPARE_SQL)

    async def stage(self, writes: Sequence[Write]) -> Attempt:
        """Lock the counter, decide, and log what is accepted: all but committed. The transaction
        is over already if nothing is accepted."""
        attempt = self._guess(writes)
        self._known = None
        if attempt is None or not await self._claim(attempt):
            attempt = await self._decide(writes)
        if attempt.verdict.accepted:
            # COPY: half of what unnest() of as many arrays costs, on both sides
            await self.conn.copy_records_to_table(
                "changes",
                columns=_COLUMNS,
                records=_logged(attempt),
            )
        else:
            await self.conn.execute("ROLLBACK")
        return attempt

    async def commit(self, attempt: Attempt) -> None:
        """Make it so. Raises one of LOST when it is not known whether it is: the counter's lock is
        held until it is decided."""
        await self.conn.execute(_finish(attempt), timeout=_COMMIT_DEADLINE_S)
        base, verdict = attempt.base, attempt.verdict
        end = verdict.accepted[-1].revision
        self._known = _Known(end, verdict.head, base.epochs, base.at, base.read_at)

    async def abandon(self) -> None:
        """Leave the transaction, if there is one."""
        if self.conn.is_in_transaction():
            await self.conn.execute("ROLLBACK")

    def _guess(self, writes: Sequence[Write]) -> Attempt | None:
        """Decide on the counter as our last batch left it; None where that can't be relied on.

        Nor can a batch of which nothing is accepted: only what commits proves the guess right.
        """
        known = self._known
        if known is None or not self._tail.stands_at(known.revision, known.head):
            return None
        passed_s = asyncio.get_running_loop().time() - known.read_at
        if passed_s > _CLOCK_TRUSTED_S:
            return None
        at = known.at + timedelta(seconds=passed_s)
        verdict = _verdict(writes, self._tail.current, known, at)
        return Attempt(uuid4(), verdict, known, claimed=True) if verdict.accepted else None

    async def _claim(self, attempt: Attempt) -> bool:
        """Take the counter if it is what was guessed; its lock is ours from here on."""
        if await self.conn.execute(f"BEGIN; {attempt.claim()}") == "UPDATE 1":
            return True
        await self.conn.execute("ROLLBACK")
        return False

    async def _decide(self, writes: Sequence[Write]) -> Attempt:
        """Lock the counter and decide. Where the cache stands exactly where the counter does,
        it is the state; else another process wrote, and the database is asked."""
        await self.conn.execute("BEGIN")
        row = await self.conn.fetchrow(LOCK_SQL)
        assert row is not None
        known = _Known(
            *(row["revision"], row["head"], row["epochs"]),
            *(row["at"], asyncio.get_running_loop().time()),
        )
        current: Lookup = self._tail.current
        if not self._tail.stands_at(known.revision, known.head):
            current = await _read_state(self.conn, writes)
        return Attempt(uuid4(), _verdict(writes, current, known, known.at), known, claimed=False)


def _verdict(writes: Sequence[Write], current: Lookup, known: _Known, at: datetime) -> Verdict:
    return decide(
        *(writes, current, frozenset(known.epochs)),
        revision=known.revision,
        head=known.head,
        at=at,
    )


async def _read_state(conn: Connection, writes: Sequence[Write]) -> Lookup:
    keys = {write.key for write in writes} | {w.within for w in writes if w.within is not None}
    rows = await conn.fetch(
        _STATE_SQL,
        [key.kind for key in keys],
        [key.namespace for key in keys],
        [key.name for key in keys],
    )
    return {
        Key(row["kind"], row["namespace"], row["name"]): Row(
            row["uid"], row["revision"], row["deleting"]
        )
        for row in rows
    }.get


def _finish(attempt: Attempt) -> str:
    """All that is left of a batch once it is in the log, as one message."""
    after = attempt.first_revision - 1
    accepted = attempt.verdict.accepted
    deleting = [item.revision for item in accepted if item.write.deleting]
    applies: dict[Verb, str] = {
        "create": _call("apply_create", after),
        "update": _call("apply_update", after, deleting),
        "delete": _call("apply_delete", after),
    }
    verbs = {item.write.verb for item in accepted}
    return "; ".join(
        [
            *(() if attempt.claimed else (attempt.claim(),)),
            *(sql for verb, sql in applies.items() if verb in verbs),
            f"NOTIFY {CHANNEL}",
            "COMMIT",
        ]
    )


def _call(name: str, *args: int | bytes | Sequence[int]) -> str:
    """EXECUTE of a prepared statement; numbers and bytes alone, so there is nothing to quote."""
    return f"EXECUTE {name} ({', '.join(map(_literal, args))})"


def _literal(value: int | bytes | Sequence[int]) -> str:
    if isinstance(value, int):
        return str(value)
    if isinstance(value, bytes):
        return f"'\\x{value.hex()}'"
    return f"'{{{','.join(map(str, value))}}}'"


def _logged(attempt: Attempt) -> list[tuple[object, ...]]:
    """The rows of `changes`, in the order of _COLUMNS."""
    at = ((attempt.verdict.at - _EPOCH) // timedelta(microseconds=1),)
    return [_row(item, at, attempt.id) for item in attempt.verdict.accepted]


def _row(item: Accepted, at: tuple[int], batch: UUID) -> tuple[object, ...]:
    write, key = item.write, item.write.key
    return (
        item.revision,
        at,
        write.verb,
        write.actor,
        write.manager,
        write.uid,
        key.kind,
        key.namespace,
        key.name,
        write.generation,
        write.body,
        item.body_sha256,
        write.managed_fields,
        item.hash,
        batch,
        write.epoch,
        write.expected_revision,
    )
