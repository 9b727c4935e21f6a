"""What a batch may take for granted after the one before it, and how it finds out otherwise."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest

from controlplane.engine.cache import Cache
from controlplane.errors import AlreadyExistsError, StaleEpochError
from controlplane.records import Stored, Write
from controlplane.store.connect import Database
from controlplane.store.embedded import EmbeddedPostgres
from controlplane.store.feed import Tail
from controlplane.store.history import History
from controlplane.store.leases import Holder, Leases
from controlplane.store.session import SETTINGS, Attempt, Session
from tests.integration.store.writing import create, delete, key_of, update

pytestmark = pytest.mark.postgres


@dataclass(frozen=True, slots=True)
class Process:
    """A writer's session whose cache hears of nothing but its own batches."""

    session: Session
    tail: Tail
    cache: Cache

    async def batch(self, *writes: Write) -> Attempt:
        attempt = await self.session.stage(writes)
        if attempt.verdict.accepted:
            await self.session.commit(attempt)
            await self.tail.catch_up(self.session.conn)
        return attempt

    def record(self, name: str) -> Stored:
        found = self.cache.get(key_of(name))
        assert found is not None
        return found


@pytest.fixture
async def process(database: Database) -> AsyncIterator[Callable[[], Awaitable[Process]]]:
    """Makes a process, up to date with the log."""
    async with AsyncExitStack() as stack:

        async def make() -> Process:
            conn = await database.connect("test", SETTINGS)
            stack.callback(conn.terminate)
            cache = Cache()
            tail = Tail(cache)
            await tail.catch_up(conn)
            session = Session(conn, tail)
            await session.prepare()
            return Process(session, tail, cache)

        yield make


async def test_a_batch_after_our_own_begins_with_a_claim(
    process: Callable[[], Awaitable[Process]], database: Database
) -> None:
    mine = await process()
    first = await mine.batch(create("a"), create("b"))
    second = await mine.batch(update(mine.record("a"), "x"), delete(mine.record("b")), create("c"))
    third = await mine.batch(create("d"))
    assert [each.claimed for each in (first, second, third)] == [False, True, True]
    assert [each.first_revision for each in (first, second, third)] == [1000, 1002, 1005]
    async with database.reading("cannot read") as conn:
        now = await conn.fetchval("SELECT clock_timestamp()")
    assert first.verdict.at <= second.verdict.at <= third.verdict.at <= now
    assert (await History(database).verify()).problem is None


async def test_a_claim_fails_when_another_process_wrote(
    process: Callable[[], Awaitable[Process]], database: Database
) -> None:
    mine = await process()
    await mine.batch(create("a"))
    other = await process()
    await other.batch(create("b"))
    # as far as this process knows, there is no b
    late = await mine.batch(create("b"), create("c"))
    assert not late.claimed
    assert isinstance(late.verdict.refused[0], AlreadyExistsError)
    assert late.first_revision == 1002
    again = await mine.batch(create("d"))
    assert again.claimed
    assert (await History(database).verify()).problem is None


async def test_a_claim_that_fails_leaves_nothing_in_the_servers_log(
    process: Callable[[], Awaitable[Process]], postgres_cluster: EmbeddedPostgres
) -> None:
    """With two processes that write in turn it is one a batch, and nobody empties that log."""
    mine = await process()
    await mine.batch(create("a"))
    await (await process()).batch(create("b"))
    before = postgres_cluster.log_path.read_text()
    late = await mine.batch(create("c"))
    assert not late.claimed
    assert "counter" not in postgres_cluster.log_path.read_text().removeprefix(before)


async def test_a_claim_fails_when_an_epoch_ended(
    process: Callable[[], Awaitable[Process]], database: Database
) -> None:
    leases = Leases(database)
    old = await leases.try_acquire("agent", Holder("h", "b", 1, 1), 30)
    assert old is not None
    mine = await process()
    await mine.batch(create("a", epoch=old.epoch))
    assert await leases.try_acquire("agent", Holder("h", "b", 2, 2), 30, replacing=old.epoch)
    late = await mine.batch(update(mine.record("a"), "late", epoch=old.epoch), create("b"))
    assert not late.claimed
    assert isinstance(late.verdict.refused[0], StaleEpochError)
    assert late.first_revision == 1001


async def test_nothing_is_refused_on_what_was_only_guessed(
    process: Callable[[], Awaitable[Process]],
) -> None:
    mine = await process()
    await mine.batch(create("a"))
    other = await process()
    await other.batch(update(other.record("a"), "newer"))
    # by a caller who has read it elsewhere: here it would be a conflict
    known = await mine.batch(update(other.record("a"), "newest"))
    assert known.verdict.refused == {}
    assert known.first_revision == 1002


async def test_a_check_of_the_log_is_no_relist_when_a_batch_ends_meanwhile(
    process: Callable[[], Awaitable[Process]], database: Database
) -> None:
    mine = await process()
    await mine.batch(create("a"))
    attempt = await mine.session.stage([create("b")])
    await mine.session.commit(attempt)
    async with database.reading("cannot hold") as holding, database.reading("") as checking:
        hold = holding.transaction()
        await hold.start()
        await holding.execute("LOCK TABLE changes IN ACCESS EXCLUSIVE MODE")
        async with asyncio.TaskGroup() as tasks:
            checked = tasks.create_task(mine.tail.check(checking))
            while not await holding.fetchval(  # noqa: ASYNC110  # another server's queue
                "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"
            ):
                await asyncio.sleep(0.01)
            item = attempt.verdict.accepted[0]
            write = item.write
            after = Stored(write.key, write.uid, item.revision, 1, write.body, b"[]")
            assert mine.tail.offer([("create", after)], attempt.verdict.head)
            await hold.rollback()
        await checked
    # listing anew would have forgotten how the cache came here
    watcher = mine.cache.watch(None, 1000)
    assert (await anext(watcher)).after == after


async def test_an_abandoned_batch_leaves_nothing(
    process: Callable[[], Awaitable[Process]], database: Database
) -> None:
    mine = await process()
    await mine.batch(create("a"))
    staged = await mine.session.stage([create("b")])
    assert staged.claimed
    await mine.session.abandon()
    again = await mine.batch(create("b"))
    assert again.first_revision == staged.first_revision
    assert (await History(database).verify()).problem is None
