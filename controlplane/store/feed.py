"""Follows the change log: every committed change reaches the local cache once, in order.

NOTIFY only wakes it; the truth is the log, read by revision at least once a second. A read that
does not continue exactly where the last one ended makes it list everything again. Several
readers (the feed itself, and the writer before it acknowledges) share one `Tail`: whatever both
deliver is taken once.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from controlplane.records import Key, Stored, Verb
from controlplane.store.batch import EMPTY_HEAD
from controlplane.store.connect import LOST, Connection, Database, Row
from controlplane.store.portions import OF_SIZE, log_sql, of_every_size

CHANNEL: Final = "bunker_changes"
_POLL_S: Final = 1.0

_CHANGES_SQL: Final = log_sql(
    "revision, verb, uid, kind, namespace, name, generation, body, managed_fields, hash"
)
_OBJECTS_SQL: Final = f"""
SELECT revision, uid, kind, namespace, name, generation, body, managed_fields
FROM objects o WHERE {OF_SIZE}
"""  # noqa: S608  # a constant
# the hash of the change the tail stands at: NULL when that change is gone or never was
_POSITION_SQL: Final = """
SELECT revision, head, (SELECT hash FROM changes WHERE revision = $1) AS hash,
    anchor, anchor_hash FROM counter
"""


class Sink(Protocol):
    """What the log is followed for: the watch cache."""

    @property
    def revision(self) -> int: ...

    def get(self, key: Key, /) -> Stored | None: ...

    def apply(self, changes: Sequence[tuple[Verb, Stored]], /) -> None:
        """Take changes that continue exactly at `revision`; each is at its Stored's revision."""
        ...

    def reset(self, snapshot: Iterable[Stored], revision: int, /) -> None:
        """Become this snapshot, telling watchers what differs."""
        ...


class Tail:
    """Where the sink stands in the log, and the one way to move it forward."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._head = EMPTY_HEAD
        self.synced = asyncio.Event()
        """Set once the sink has had its first snapshot."""

    @property
    def revision(self) -> int:
        return self._sink.revision

    def stands_at(self, revision: int, head: bytes) -> bool:
        """True if the sink has exactly what a database with this counter has."""
        return self._sink.revision == revision and self._head == head and self.synced.is_set()

    def current(self, key: Key) -> Stored | None:
        """The record as the sink has it."""
        return self._sink.get(key)

    def offer(
        self, changes: Sequence[tuple[Verb, Stored]], head: bytes, *, here: bytes | None = None
    ) -> bool:
        """Apply those that are new; False if something between is missing, or `here`, the hash
        that their log has where we stand, is not ours (nothing applied)."""
        known = self._sink.revision
        if not changes:
            return True
        if here is not None and here != self._head:
            return False
        if changes[-1][1].revision <= known:
            return True
        first = changes[0][1].revision
        if first > known + 1 or not self.synced.is_set():
            return False
        self._sink.apply(changes[known + 1 - first :])
        self._head = head
        return True

    async def catch_up(self, conn: Connection) -> None:
        """Bring the sink to the log's end, by changes where they continue, else by a snapshot.

        Where it stands is compared each time: a dump may be restored while we are connected.
        """
        if not self.synced.is_set():
            await self._relist(conn)
        while True:
            after, head = self._sink.revision, self._head
            found = await conn.fetch(_CHANGES_SQL, after)
            rows = [row for row in found if row["revision"] > after]
            # that change is gone from a log that begins after it; `check` knows such a one
            stands = len(rows) < len(found) and found[0]["hash"] == head
            if not stands and not await self.check(conn):
                return  # listed again, and so at the end
            if not rows:
                return
            whole = rows[0]["revision"] == after + 1 and all(r["body"] is not None for r in rows)
            if not whole or not self.offer([_change(row) for row in rows], rows[-1]["hash"]):
                await self._relist(conn)

    async def check(self, conn: Connection) -> bool:
        """List again unless the log still continues what we have; True if it does.

        A database restored from a backup may have another history behind the same revisions.
        """
        if not self.synced.is_set():
            return True
        # the writer may move both while PostgreSQL is asked
        revision, head = self._sink.revision, self._head
        row = await conn.fetchrow(_POSITION_SQL, revision)
        assert row is not None
        if (row["anchor_hash"] if row["anchor"] == revision else row["hash"]) == head:
            return True
        await self._relist(conn, not_from=head)
        return False

    async def _relist(self, conn: Connection, *, not_from: bytes | None = None) -> None:
        """Objects and revision from one snapshot; an older one than we have is dropped, unless
        we still stand at `not_from`, which is not in this log."""
        async with conn.transaction(isolation="repeatable_read", readonly=True):
            counter = await conn.fetchrow("SELECT revision, head FROM counter")
            assert counter is not None
            snapshot = [_stored(row) async for row in of_every_size(conn, _OBJECTS_SQL)]
        force = self._head == not_from  # else the other reader was here first
        if force or not self.synced.is_set() or counter["revision"] > self._sink.revision:
            self._sink.reset(snapshot, counter["revision"])
            self._head = counter["head"]
            self.synced.set()


class Feed:
    """The background reader; `run` never returns by itself."""

    def __init__(self, database: Database, tail: Tail) -> None:
        self._database = database
        self._tail = tail
        self._hint = asyncio.Event()
        self.own_pids: set[int] = set()
        """Backends whose hints are old news here: their batches were applied by the writer."""
        self.connected = False

    def nudge(self) -> None:
        """Read the log soon: somebody knows that there is more."""
        self._hint.set()

    async def run(self) -> None:
        """Follow the log for ever, reconnecting as often as needed."""
        while True:
            conn = await self._database.connect_patiently("feed")
            try:
                await self._follow(conn)
            except LOST:
                continue
            finally:
                self.connected = False
                conn.terminate()

    async def _follow(self, conn: Connection) -> None:
        await conn.add_listener(CHANNEL, self._heard)
        await self._tail.check(conn)
        while True:
            self._hint.clear()
            await self._tail.catch_up(conn)
            self.connected = True
            try:
                async with asyncio.timeout(_POLL_S):
                    await self._hint.wait()
            except TimeoutError:
                pass  # the poll is also the heartbeat: a dead socket fails the next read

    def _heard(self, _conn: object, pid: int, _channel: str, _payload: object) -> None:
        if pid not in self.own_pids:
            self._hint.set()


def _stored(row: Row) -> Stored:
    return Stored(
        key=Key(row["kind"], row["namespace"], row["name"]),
        uid=row["uid"],
        revision=row["revision"],
        generation=row["generation"],
        body=row["body"],
        managed_fields=row["managed_fields"],
    )


def _change(row: Row) -> tuple[Verb, Stored]:
    return row["verb"], _stored(row)
