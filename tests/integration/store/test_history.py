"""History, tamper detection and retention, on a real server."""

import asyncio
from contextlib import closing

import pytest

from controlplane.clock import SystemClock
from controlplane.errors import CompactedError, StoreUnavailableError
from controlplane.records import Stored
from controlplane.store.compaction import Compactor, Retention
from controlplane.store.connect import Database
from controlplane.store.history import Head, History
from controlplane.store.service import PostgresStore
from tests.integration.store.writing import body_of, create, delete, key_of, update

pytestmark = pytest.mark.postgres

NOTHING_KEPT = Retention(watch_window_s=0, history_days=0, history_versions=1, audit_days=400)


async def write_some(store: PostgresStore) -> Stored:
    """Revisions 1000..1004: a created, updated twice, b created and deleted."""
    base = await store.write(create("a", "0"))
    base = await store.write(update(base, "1"))
    last = await store.write(update(base, "2"))
    await store.write(delete(await store.write(create("b", "x"))))
    return last


async def execute(database: Database, sql: str) -> None:
    async with database.reading("cannot execute") as conn:
        await conn.execute(sql)


async def head_at(database: Database, revision: int) -> Head:
    """As it was exported when that was the newest."""
    async with database.reading("cannot read") as conn:
        sql = "SELECT hash FROM changes WHERE revision = $1"
        return Head(revision, (await conn.fetchval(sql, revision)).hex())


async def test_versions_of_a_record_newest_first(store: PostgresStore, database: Database) -> None:
    await write_some(store)
    history = History(database)
    assert [(v.revision, v.verb, v.generation) for v in await history.versions(key_of("a"))] == [
        (1002, "update", 3),
        (1001, "update", 2),
        (1000, "create", 1),
    ]
    gone = await history.versions(key_of("b"))
    assert [version.verb for version in gone] == ["delete", "create"]
    assert gone[0].actor == "alice"
    assert await history.versions(key_of("never")) == ()


async def test_a_record_as_it_was(store: PostgresStore, database: Database) -> None:
    await write_some(store)
    history = History(database)
    key = key_of("a")
    old = await history.at(key, 1001)
    assert old is not None
    assert (old.revision, old.body) == (1001, body_of(key, "1"))
    assert await history.at(key, 999) is None
    assert await history.at(key_of("b"), 1004) is None
    alive = await history.at(key_of("b"), 1003)
    assert alive is not None
    again = await store.write(create("b", "anew"))
    assert await history.at(key_of("b"), 1003) == alive
    assert await history.at(key_of("b"), again.revision) == again


async def test_an_untouched_log_verifies(store: PostgresStore, database: Database) -> None:
    history = History(database)
    assert (await history.verify()).problem is None
    await write_some(store)
    exported = await history.head()
    await store.write(create("c"))
    audit = await history.verify(exported)
    assert audit.problem is None
    assert (audit.first, audit.changes, audit.head.revision) == (1000, 6, 1005)


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE changes SET actor = 'mallory' WHERE revision = 1001",
        "UPDATE changes SET at = at + interval '1 s' WHERE revision = 1001",
        "UPDATE changes SET body = 'x' WHERE revision = 1001",
        "UPDATE changes SET managed_fields = 'x' WHERE revision = 1001",
        "UPDATE changes SET body_sha256 = 'x' WHERE revision = 1001",
        "UPDATE changes SET previous = 1003 WHERE revision = 1001",
        "UPDATE changes SET hash = 'x' WHERE revision = 1001",
        "DELETE FROM changes WHERE revision = 1001",
        "DELETE FROM changes WHERE revision = 1004",
        "UPDATE objects SET body = 'x'",
        "UPDATE objects SET revision = 1001",
        "DELETE FROM objects",
        "UPDATE counter SET head = 'x'",
    ],
)
async def test_tampering_is_found(store: PostgresStore, database: Database, tampering: str) -> None:
    await write_some(store)
    await execute(database, tampering)
    assert (await History(database).verify()).problem is not None


async def test_a_log_rewritten_whole_is_found_by_an_exported_head(
    store: PostgresStore, database: Database
) -> None:
    await write_some(store)
    history = History(database)
    head = await history.head()
    assert (await history.verify(Head(1002, "00" * 32))).problem is not None
    assert (await history.verify(Head(head.revision + 1, head.hash))).problem is not None
    assert (await history.verify(head)).problem is None


async def test_compaction_drops_bodies_and_the_chain_still_verifies(
    store: PostgresStore, database: Database
) -> None:
    base = await write_some(store)
    exported = await History(database).head()
    history = History(database)
    assert await Compactor(database, SystemClock(), NOTHING_KEPT).once()
    assert (await history.verify(exported)).problem is None
    whole = {version.revision: version.whole for version in await history.versions(base.key)}
    assert whole == {1002: True, 1001: False, 1000: False}
    with pytest.raises(CompactedError):
        await history.at(base.key, 1001)
    assert await history.at(base.key, 1002) == base


async def test_compaction_keeps_the_change_that_made_a_generation(
    store: PostgresStore, database: Database
) -> None:
    base = await store.write(create("a", "0"))
    write = update(base, "status only")
    same = type(write)(
        *(write.verb, write.key, write.uid, base.generation, write.body, b"[]"),
        *(base.revision, "alice", "test"),
    )
    later = await store.write(same)
    retention = Retention(watch_window_s=0)
    assert await Compactor(database, SystemClock(), retention).once()
    found = await History(database).at(base.key, later.revision)
    assert found is not None
    assert (found.revision, found.generation, found.body) == (1000, 1, base.body)


async def test_what_a_compaction_that_was_cut_off_left_goes_later(
    store: PostgresStore, database: Database
) -> None:
    base = await store.write(create("a"))
    write = update(base, "status only")
    later = await store.write(write._replace(generation=base.generation))
    retention = Retention(watch_window_s=0)
    with closing(Database(f"{database.dsn}&lock_timeout=200")) as hasty:
        async with database.reading("cannot hold") as conn, conn.transaction():
            await conn.execute("SELECT FROM changes WHERE revision = $1 FOR UPDATE", later.revision)
            with pytest.raises(StoreUnavailableError):
                await Compactor(hasty, SystemClock(), retention).once()
    assert await Compactor(database, SystemClock(), retention).once()
    versions = await History(database).versions(base.key)
    assert [(version.revision, version.whole) for version in versions] == [
        (later.revision, False),
        (base.revision, True),
    ]


async def test_the_audit_retention_moves_the_anchor(
    store: PostgresStore, database: Database
) -> None:
    await write_some(store)
    exported = await History(database).head()
    older, begins = await head_at(database, 1001), await head_at(database, 1002)
    await execute(database, "UPDATE changes SET at = at - interval '2 days' WHERE revision < 1003")
    retention = Retention(watch_window_s=0, history_days=1, history_versions=1, audit_days=1)
    assert await Compactor(database, SystemClock(), retention).once()
    async with database.reading("cannot read") as conn:
        assert await conn.fetchval("SELECT anchor FROM counter") == 1002
        assert await conn.fetchval("SELECT min(revision) FROM changes") == 1003
    # the first changes were altered above (their time), and so it must not verify from there;
    # from the anchor on nothing was
    audit = await History(database).verify(exported)
    assert audit.problem is None
    assert audit.first == 1003
    # a head of what is no longer there proves nothing; the one where the log begins does
    assert (await History(database).verify(older)).problem is not None
    assert (await History(database).verify(Head(1001, "00" * 32))).problem is not None
    assert (await History(database).verify(Head(1002, "00" * 32))).problem is not None
    assert (await History(database).verify(begins)).problem is None
    made = await store.write(create("after"))
    assert made.revision == 1005


async def test_compaction_sweeps_keys_without_a_record(
    store: PostgresStore, database: Database
) -> None:
    await execute(
        database,
        "INSERT INTO object_keys VALUES ('young', 'x', now()), "
        "('old', 'x', now() - interval '2 hours')",
    )
    assert await Compactor(database, SystemClock()).once()
    async with database.reading("cannot read") as conn:
        assert [row["uid"] for row in await conn.fetch("SELECT uid FROM object_keys")] == ["young"]


async def test_one_process_compacts_at_a_time(database: Database, store: PostgresStore) -> None:
    async with database.reading("cannot lock") as conn:
        await conn.execute("SELECT pg_advisory_lock(x'434F4D50'::int)")
        assert not await Compactor(database, SystemClock()).once()
    assert await Compactor(database, SystemClock()).once()


class Turns(SystemClock):
    """Three turns at once; the third one does not end."""

    def __init__(self) -> None:
        self.left = 3
        self.over = asyncio.Event()

    async def sleep(self, seconds: float, /) -> None:
        self.left -= 1
        if not self.left:
            self.over.set()
            await asyncio.Event().wait()


async def test_compaction_that_is_refused_ends_nothing(database: Database) -> None:
    """As by a server that is read-only since a failover."""
    await execute(
        database,
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', "
        "current_database()); END $$",
    )
    database.close()  # it counts for new connections
    clock = Turns()
    running = asyncio.ensure_future(Compactor(database, clock).run())
    over = asyncio.ensure_future(clock.over.wait())
    await asyncio.wait((running, over), return_when=asyncio.FIRST_COMPLETED)
    over.cancel()
    assert not running.done(), running.exception()
    running.cancel()


async def test_steps_that_take_too_long_are_made_smaller(
    store: PostgresStore, database: Database
) -> None:
    """As with large bodies on a busy disk: forgetting 40 takes longer than PostgreSQL is given."""
    base = await store.write(create("a"))
    for number in range(40):
        base = await store.write(update(base, str(number)))
    await execute(
        database,
        "CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql "
        "AS 'BEGIN PERFORM pg_sleep(0.05); RETURN NEW; END';"
        "CREATE TRIGGER slowly BEFORE UPDATE ON changes FOR EACH ROW EXECUTE FUNCTION slowly()",
    )
    async with database.reading("cannot ask") as conn:
        name = await conn.fetchval("SELECT current_database()")
        await conn.execute(f"ALTER DATABASE {name} SET statement_timeout = '1s'")
    with closing(Database(database.dsn)) as limited:
        assert await Compactor(limited, SystemClock(), NOTHING_KEPT).once()
    async with database.reading("cannot count") as conn:
        left = await conn.fetchval("SELECT count(*) FROM changes WHERE body IS NOT NULL")
    assert left == 1
    assert (await History(database).verify()).problem is None
