"""The group-commit writer: all writes of this process, many to a transaction.

Callers hand over a write and wait; one task takes whatever waits (at most 256), decides it under
the counter row's lock, writes it as set-based statements, commits once, puts it into the local
cache and answers everyone. The lock orders the batches of several processes, so revisions are
gapless and in commit order.

When the reply to a COMMIT is lost, the batch's uuid at its revision tells whether it happened.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID, uuid4

import asyncpg

from controlplane.errors import StoreUnavailableError, TerminalError
from controlplane.records import Key, Stored, Write
from controlplane.store.batch import Accepted, Lookup, Row, Verdict, decide
from controlplane.store.connect import LOST, Connection, Database, Dedicated
from controlplane.store.feed import Feed, Tail

MAX_BATCH: Final = 256
_MAX_BATCH_BYTES: Final = 8 * 2**20
"""Keeps one transaction's parameters, and their copies, small."""
_MAX_WAITING: Final = 20_000
_DEADLINE_S: Final = 4.0
"""Longest a batch may take until it is ready to commit."""
_COMMIT_DEADLINE_S: Final = 2.0
_RESOLVE_DEADLINE_S: Final = 4.0
_SETTINGS: Final = {
    "synchronous_commit": "on",
    # a frozen process must not hold the counter's lock for long
    "idle_in_transaction_session_timeout": "5s",
    # the planner sees arrays of unknown length; every access here is by primary key
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
}

_LOCK_SQL: Final = "SELECT revision, head, epochs, clock_timestamp() AS at FROM counter FOR UPDATE"
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
# the batch is in the log by now: everything else follows from there, without sending it twice
_APPLY_SQL: Final = """
WITH created AS (
    INSERT INTO objects (kind, namespace, name, uid, revision, generation, deleting, body,
        managed_fields)
    SELECT kind, namespace, name, uid, revision, generation, false, body, managed_fields
    FROM changes WHERE revision > $1 AND verb = 'create'
), updated AS (
    UPDATE objects o SET revision = c.revision, generation = c.generation,
        deleting = c.revision = ANY ($4::bigint[]), body = c.body,
        managed_fields = c.managed_fields
    FROM changes c WHERE c.revision > $1 AND c.verb = 'update'
    AND o.kind = c.kind AND o.namespace = c.namespace AND o.name = c.name
), removed AS (
    DELETE FROM objects o USING changes c WHERE c.revision > $1 AND c.verb = 'delete'
    AND o.kind = c.kind AND o.namespace = c.namespace AND o.name = c.name
), forgotten AS (
    DELETE FROM object_keys k USING changes c WHERE c.revision > $1 AND c.verb = 'delete'
    AND k.uid = c.uid
), counted AS (
    UPDATE counter SET revision = $2, head = $3
)
SELECT pg_notify('bunker_changes', '')
"""


class _UnknownOutcomeError(Exception):
    """COMMIT was sent, no reply came, and nobody could be asked whether it happened."""


class _Pending(NamedTuple):
    """A write and its caller. A tuple, as one is made for every write."""

    write: Write
    done: asyncio.Future[Stored]


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A batch on its way: what was decided, and how to recognise it in the log."""

    id: UUID
    verdict: Verdict

    @property
    def first_revision(self) -> int:
        return self.verdict.accepted[0].revision


class Writer:
    """`write` from any task; `run` as one background task of the process."""

    def __init__(self, database: Database, tail: Tail, feed: Feed) -> None:
        self._database = database
        self._tail = tail
        self._feed = feed
        self._waiting: deque[_Pending] = deque()
        self._arrived = asyncio.Event()
        self.connected = False
        self.served = asyncio.Event()
        """Set once there has been a connection."""

    async def write(self, write: Write) -> Stored:
        """Commit durably and return what was stored; see records.Store.write."""
        if not self.connected or len(self._waiting) >= _MAX_WAITING:
            why = "too many writes wait" if self.connected else "PostgreSQL does not answer"
            raise StoreUnavailableError(f"cannot {write.verb} {write.key}: {why}")
        done: asyncio.Future[Stored] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Pending(write, done))
        self._arrived.set()
        return await done

    async def run(self) -> None:
        """Serve writes for ever; while PostgreSQL is away they fail at once."""
        try:
            while True:
                conn = await self._connect()
                try:
                    await self._serve(conn)
                except LOST:
                    continue
                finally:
                    self._disconnected(conn)
        finally:
            self._fail_waiting("the store is closing")

    async def _connect(self) -> Dedicated:
        conn = await self._database.connect_patiently("writer", _SETTINGS)
        self._feed.own_pids.add(conn.get_server_pid())
        self.connected = True
        self.served.set()
        return conn

    def _disconnected(self, conn: Dedicated) -> None:
        self.connected = False
        self._feed.own_pids.discard(conn.get_server_pid())
        conn.terminate()
        self._fail_waiting("PostgreSQL does not answer")

    def _fail_waiting(self, why: str) -> None:
        waiting, self._waiting = self._waiting, deque()
        _fail(waiting, why)

    async def _serve(self, conn: Dedicated) -> None:
        while True:
            await self._arrived.wait()
            # those just answered may write again at once: one batch instead of two halves
            await asyncio.sleep(0)
            self._arrived.clear()
            while batch := self._take():
                await self._settle(conn, batch)
                await asyncio.sleep(0)

    def _take(self) -> list[_Pending]:
        """The next batch: in order, each key at most once, bounded in number and bytes."""
        batch: list[_Pending] = []
        later: list[_Pending] = []
        keys: set[Key] = set()
        size = 0
        while self._waiting and len(batch) < MAX_BATCH and len(later) < MAX_BATCH:
            pending = self._waiting.popleft()
            if pending.done.done():
                continue  # its caller was cancelled before anything happened
            size += len(pending.write.body) + len(pending.write.managed_fields)
            fits = pending.write.key not in keys and (not batch or size <= _MAX_BATCH_BYTES)
            (batch if fits else later).append(pending)
            keys.add(pending.write.key)
        self._waiting.extendleft(reversed(later))
        return batch

    async def _settle(self, conn: Dedicated, batch: Sequence[_Pending]) -> None:
        """Commit a batch and answer each of its callers; raises one of LOST to reconnect."""
        try:
            await self._commit(conn, batch)
        except (asyncpg.SerializationError, asyncpg.DeadlockDetectedError):
            await self._settle(conn, batch)
        except LOST:
            _fail(batch, "PostgreSQL does not answer")
            raise
        except _UnknownOutcomeError as exc:
            _fail(batch, "PostgreSQL does not answer; the outcome is unknown")
            raise ConnectionError("the reply to a commit was lost") from exc
        except Exception as exc:  # noqa: BLE001  # whatever one write cannot be stored for
            await self._isolate(conn, batch, exc)
        except BaseException:
            _fail(batch, "the store is closing; the outcome is unknown")
            raise

    async def _isolate(self, conn: Dedicated, batch: Sequence[_Pending], cause: Exception) -> None:
        """One write that PostgreSQL can't take must not fail its neighbours: try them singly."""
        if conn.is_in_transaction():
            await conn.execute("ROLLBACK")
        if len(batch) > 1:
            for pending in batch:
                await self._settle(conn, [pending])
            return
        error = TerminalError(
            f"cannot {batch[0].write.verb} {batch[0].write.key}: it cannot be stored "
            f"({type(cause).__name__})",
            reason="NotStorable",
        )
        error.__cause__ = cause
        _answer(batch[0], error)

    async def _commit(self, conn: Dedicated, batch: Sequence[_Pending]) -> None:
        async with asyncio.timeout(_DEADLINE_S):
            await conn.execute("BEGIN")
            verdict = await self._decide(conn, [pending.write for pending in batch])
            attempt = _Attempt(uuid4(), verdict)
            if verdict.accepted:
                await _apply(conn, attempt)
        if verdict.accepted:
            try:
                await conn.execute("COMMIT", timeout=_COMMIT_DEADLINE_S)
            except LOST:
                await self._resolve(attempt)
        else:
            await conn.execute("ROLLBACK")
        for index, error in verdict.refused.items():
            _answer(batch[index], error)
        won = [p for index, p in enumerate(batch) if index not in verdict.refused]
        await self._acknowledge(conn, won, verdict)

    async def _decide(self, conn: Connection, writes: Sequence[Write]) -> Verdict:
        """Lock the counter and decide. Where the cache stands exactly where the counter does,
        it is the state; else another process wrote, and the database is asked."""
        counter = await conn.fetchrow(_LOCK_SQL)
        assert counter is not None
        revision, head = counter["revision"], counter["head"]
        current: Lookup = self._tail.current
        if not self._tail.stands_at(revision, head):
            current = await _read_state(conn, writes)
        epochs = frozenset(counter["epochs"])
        return decide(writes, current, epochs, revision=revision, head=head, at=counter["at"])

    async def _resolve(self, attempt: _Attempt) -> None:
        """Find out on a new connection whether a COMMIT without reply happened.

        Returns if it did; raises ConnectionError if it did not, _UnknownOutcomeError if
        PostgreSQL stays away.
        """
        try:
            async with asyncio.timeout(_RESOLVE_DEADLINE_S):
                found = await self._batch_at(attempt.first_revision)
        except LOST as exc:
            raise _UnknownOutcomeError from exc
        if found != attempt.id:
            raise ConnectionError("the connection was lost before the commit")

    async def _batch_at(self, revision: int) -> UUID | None:
        conn = await self._database.connect_patiently("resolve")
        try:
            # the lock is granted only when the old transaction has ended, one way or the other
            await conn.execute("BEGIN")
            await conn.fetchrow(_LOCK_SQL)
            sql = "SELECT batch FROM changes WHERE revision = $1"
            found: UUID | None = await conn.fetchval(sql, revision)
        finally:
            conn.terminate()
        return found

    async def _acknowledge(
        self, conn: Connection, won: Sequence[_Pending], verdict: Verdict
    ) -> None:
        """Into the cache first, then to the callers; reads what other processes wrote between."""
        changes = [(item.write.verb, _stored(item)) for item in verdict.accepted]
        if not self._tail.offer(changes, verdict.head):
            await self._read_gap(conn)
        for pending, (_, after) in zip(won, changes, strict=True):
            if not pending.done.done():
                pending.done.set_result(after)

    async def _read_gap(self, conn: Connection) -> None:
        """Read what is missing before our own changes, on a new connection if this one goes.

        Nobody may hear of a write that the cache doesn't show: what is decided from the cache
        next (an allocation, say) would not know of it. So _UnknownOutcomeError in the end.
        """
        try:
            await self._tail.catch_up(conn)
        except LOST:
            try:
                async with asyncio.timeout(_RESOLVE_DEADLINE_S):
                    again = await self._database.connect_patiently("resolve")
                    try:
                        await self._tail.catch_up(again)
                    finally:
                        again.terminate()
            except LOST as exc:
                raise _UnknownOutcomeError from exc


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


async def _apply(conn: Dedicated, attempt: _Attempt) -> None:
    verdict = attempt.verdict
    accepted = verdict.accepted
    # COPY: half of what unnest() of as many arrays costs, on both sides
    await conn.copy_records_to_table(
        "changes",
        columns=_COLUMNS,
        records=[_logged(item, verdict.at, attempt.id) for item in accepted],
    )
    await conn.fetchval(
        _APPLY_SQL,
        attempt.first_revision - 1,
        accepted[-1].revision,
        verdict.head,
        [item.revision for item in accepted if item.write.deleting],
    )


def _logged(item: Accepted, at: datetime, batch: UUID) -> tuple[object, ...]:
    """The row of `changes`, in the order of _COLUMNS."""
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


def _stored(item: Accepted) -> Stored:
    write = item.write
    return Stored(
        key=write.key,
        uid=write.uid,
        revision=item.revision,
        generation=write.generation,
        body=write.body,
        managed_fields=write.managed_fields,
    )


def _answer(pending: _Pending, error: Exception) -> None:
    if not pending.done.done():
        pending.done.set_exception(error)


def _fail(batch: Sequence[_Pending] | deque[_Pending], why: str) -> None:
    for pending in batch:
        write = pending.write
        _answer(pending, StoreUnavailableError(f"cannot {write.verb} {write.key}: {why}"))
