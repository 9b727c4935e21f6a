"""The store of one process, put together: writer, feed, and the shared read of the revision.

This is what the rest of the system holds as `records.Store`; the SQL is in the parts.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from controlplane.errors import StoreUnavailableError
from controlplane.records import Stored, Write
from controlplane.store.connect import CALL_TIMEOUT_S, Database, unavailable_when_lost
from controlplane.store.feed import Feed, Sink, Tail
from controlplane.store.writer import Writer


class PostgresStore:
    """Implements records.Store. `run` must be running (in a TaskGroup) for anything to answer."""

    def __init__(self, database: Database, sink: Sink) -> None:
        self.database = database
        self._sink = sink
        self._tail = Tail(sink)
        self._feed = Feed(database, self._tail)
        self._writer = Writer(database, self._tail, self._feed)
        self._asked: list[asyncio.Future[int]] = []
        self._asking = asyncio.Event()

    @property
    def healthy(self) -> bool:
        """True while writes and the feed both have their connection."""
        return self._writer.connected and self._feed.connected

    async def wait_ready(self, *, timeout_s: float = 30.0) -> None:
        """Return once the cache has its first snapshot and writes are served.

        Raises StoreUnavailableError after `timeout_s`.
        """
        with unavailable_when_lost("cannot open the store"):
            async with asyncio.timeout(timeout_s):
                await self._tail.synced.wait()
                await self._writer.served.wait()

    async def write(self, write: Write, /) -> Stored:
        """See records.Store.write."""
        return await self._writer.write(write)

    async def revision(self) -> int:
        """The newest committed revision; all who ask at once share one read begun after they
        asked."""
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._asked.append(answer)
        self._asking.set()
        with unavailable_when_lost("cannot read the revision"):
            async with asyncio.timeout(CALL_TIMEOUT_S * 2):
                return await answer

    async def run(self) -> None:
        """Serve until cancelled, reconnecting as often as needed."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._feed.run(), name="store feed")
                tasks.create_task(self._writer.run(), name="store writer")
                tasks.create_task(self._answer_revisions(), name="store revision")
        finally:
            self.database.close()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["PostgresStore"]:
        """Run it for the length of a block: opened when ready, closed on leaving."""
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(self.run(), name="store")
            try:
                await self.wait_ready()
                yield self
            finally:
                serving.cancel()

    async def _answer_revisions(self) -> None:
        while True:
            await self._asking.wait()
            self._asking.clear()
            asked, self._asked = self._asked, []
            try:
                revision = await self._read_revision()
            except StoreUnavailableError as exc:
                for answer in asked:
                    if not answer.done():
                        answer.set_exception(StoreUnavailableError(str(exc)))
                continue
            for answer in asked:
                if not answer.done():
                    answer.set_result(revision)

    async def _read_revision(self) -> int:
        async with self.database.reading("cannot read the revision") as conn:
            revision: int = await conn.fetchval("SELECT revision FROM counter")
        if revision > self._sink.revision:
            self._feed.nudge()
        return revision
