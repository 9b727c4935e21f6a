"""The group-commit writer: all writes of this process, many to a transaction.

Callers hand over a write and wait; one task takes whatever waits (at most 256), has it decided and
committed at once under the counter row's lock (session.py), puts it into the local cache and
answers everyone. The lock orders the batches of several processes, so revisions are gapless and in
commit order.

When the reply to a COMMIT is lost, the batch's uuid at its revision tells whether it happened.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg

from controlplane.errors import StoreUnavailableError, TerminalError
from controlplane.records import Key, Stored, Write
from controlplane.store.batch import Accepted
from controlplane.store.connect import LOST, Connection, Database, Dedicated
from controlplane.store.feed import Feed, Tail
from controlplane.store.session import LOCK_SQL, SETTINGS, Attempt, Session

MAX_BATCH: Final = 256
_MAX_BATCH_BYTES: Final = 8 * 2**20
"""Keeps one transaction's parameters, and their copies, small."""
_MAX_WAITING: Final = 20_000
_DEADLINE_S: Final = 4.0
"""Longest a batch may take until it is ready to commit."""
_RESOLVE_DEADLINE_S: Final = 4.0


class _UnknownOutcomeError(Exception):
    """COMMIT was sent, no reply came, and nobody could be asked whether it happened."""


class _Pending(NamedTuple):
    """A write and its caller. A tuple, as one is made for every write."""

    write: Write
    done: asyncio.Future[Stored]


class Writer:
    """`write` from any task; `run` as one background task of the process."""

    def __init__(self, database: Database, tail: Tail, feed: Feed) -> None:
        self._database = database
        self._tail = tail
        self._feed = feed
        self._loop: asyncio.AbstractEventLoop
        """Since `run`; asking for it costs a system call, and every write needs it."""
        self._waiting: deque[_Pending] = deque()
        self._arrived = asyncio.Event()
        """Something waits, or the connection has ended."""
        self.connected = False
        self.served = asyncio.Event()
        """Set once there has been a connection."""

    async def write(self, write: Write) -> Stored:
        """Commit durably and return what was stored; see records.Store.write."""
        if not self.connected or len(self._waiting) >= _MAX_WAITING:
            why = "too many writes wait" if self.connected else "PostgreSQL does not answer"
            raise StoreUnavailableError(f"cannot {write.verb} {write.key}: {why}")
        done: asyncio.Future[Stored] = self._loop.create_future()
        self._waiting.append(_Pending(write, done))
        self._arrived.set()
        return await done

    async def run(self) -> None:
        """Serve writes for ever; while PostgreSQL is away they fail at once."""
        self._loop = asyncio.get_running_loop()
        try:
            while True:
                conn = await self._database.connect_patiently("writer", SETTINGS)
                # else nobody notices while nothing is written, and the next write pays for it
                conn.add_termination_listener(lambda _: self._arrived.set())
                try:
                    await self._serve(await self._ready(conn))
                except LOST:
                    continue
                finally:
                    self._disconnected(conn)
        finally:
            self._fail_waiting("the store is closing")

    async def _ready(self, conn: Dedicated) -> Session:
        session = Session(conn, self._tail)
        await session.prepare()
        # else a batch that ends beyond what the cache has would hide that the log is another one
        await self._tail.check(conn)
        self._feed.own_pids.add(conn.get_server_pid())
        self.connected = True
        self.served.set()
        return session

    def _disconnected(self, conn: Dedicated) -> None:
        self.connected = False
        self._feed.own_pids.discard(conn.get_server_pid())
        conn.terminate()
        self._fail_waiting("PostgreSQL does not answer")

    def _fail_waiting(self, why: str) -> None:
        waiting, self._waiting = self._waiting, deque()
        _fail(waiting, why)

    async def _serve(self, session: Session) -> None:
        while True:
            await self._arrived.wait()
            # those just answered may write again at once: one batch instead of two halves
            await asyncio.sleep(0)
            self._arrived.clear()
            if session.conn.is_closed():
                raise ConnectionError("the connection was lost")
            while batch := self._take():
                await self._settle(session, batch)
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

    async def _settle(self, session: Session, batch: Sequence[_Pending]) -> None:
        """Commit a batch and answer each of its callers; raises one of LOST to reconnect."""
        try:
            await self._commit(session, batch)
        except (asyncpg.SerializationError, asyncpg.DeadlockDetectedError):
            await self._settle(session, batch)
        except LOST:
            _fail(batch, "PostgreSQL does not answer")
            raise
        except _UnknownOutcomeError as exc:
            _fail(batch, "PostgreSQL does not answer; the outcome is unknown")
            raise ConnectionError("the reply to a commit was lost") from exc
        except Exception as exc:  # noqa: BLE001  # whatever one write cannot be stored for
            await self._isolate(session, batch, exc)
        except BaseException:
            _fail(batch, "the store is closing; the outcome is unknown")
            raise

    async def _isolate(self, session: Session, batch: Sequence[_Pending], cause: Exception) -> None:
        """One write that PostgreSQL can't take must not fail its neighbours: try them singly."""
        if len(batch) > 1:
            try:
                for pending in batch:
                    await self._settle(session, [pending])
            except BaseException:
                _fail(batch, "PostgreSQL does not answer")  # those whose turn never came
                raise
            return
        error = TerminalError(
            f"cannot {batch[0].write.verb} {batch[0].write.key}: it cannot be stored "
            f"({type(cause).__name__})",
            reason="NotStorable",
        )
        error.__cause__ = cause
        _answer(batch[0], error)

    async def _commit(self, session: Session, batch: Sequence[_Pending]) -> None:
        try:
            attempt = await self._store(session, [pending.write for pending in batch])
        except (*LOST, _UnknownOutcomeError):
            raise
        except Exception:
            await session.abandon()  # raises one of LOST where there is no session any more
            raise
        verdict = attempt.verdict
        for index, error in verdict.refused.items():
            _answer(batch[index], error)
        won = [p for index, p in enumerate(batch) if index not in verdict.refused]
        await self._acknowledge(session.conn, won, attempt)

    async def _store(self, session: Session, writes: Sequence[Write]) -> Attempt:
        async with asyncio.timeout(_DEADLINE_S):
            attempt = await session.stage(writes)
        if attempt.verdict.accepted:
            try:
                await session.commit(attempt)
            except LOST:
                await self._resolve(attempt)
        return attempt

    async def _resolve(self, attempt: Attempt) -> None:
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
            await conn.fetchrow(LOCK_SQL)
            sql = "SELECT batch FROM changes WHERE revision = $1"
            found: UUID | None = await conn.fetchval(sql, revision)
        finally:
            conn.terminate()
        return found

    async def _acknowledge(
        self, conn: Connection, won: Sequence[_Pending], attempt: Attempt
    ) -> None:
        """Into the cache first, then to the callers; reads what other processes wrote between, and
        what a dump that was restored meanwhile has."""
        verdict = attempt.verdict
        changes = [(item.write.verb, _stored(item)) for item in verdict.accepted]
        here = attempt.hash_at(self._tail.revision)
        if not self._tail.offer(changes, verdict.head, here=here):
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
                        await self._tail.check(again)
                        await self._tail.catch_up(again)
                    finally:
                        again.terminate()
            except LOST as exc:
                raise _UnknownOutcomeError from exc


def _stored(item: Accepted) -> Stored:
    write = item.write
    return Stored(
        *(write.key, write.uid, item.revision, write.generation),
        *(write.body, write.managed_fields),
    )


def _answer(pending: _Pending, error: Exception) -> None:
    if not pending.done.done():
        pending.done.set_exception(error)


def _fail(batch: Sequence[_Pending] | deque[_Pending], why: str) -> None:
    for pending in batch:
        write = pending.write
        _answer(pending, StoreUnavailableError(f"cannot {write.verb} {write.key}: {why}"))
