"""The group-commit writer on a real server: races, several processes, lost replies, bad data."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from controlplane.engine.cache import Cache
from controlplane.errors import (
    AlreadyExistsError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    StaleEpochError,
    StoreUnavailableError,
    TerminalError,
)
from controlplane.records import Key, Stored, Write
from controlplane.store.connect import Database
from controlplane.store.embedded import EmbeddedPostgres
from controlplane.store.feed import Feed, Tail
from controlplane.store.history import History
from controlplane.store.leases import Holder, Leases
from controlplane.store.service import PostgresStore
from controlplane.store.writer import Writer
from tests.integration.store.writing import (
    Proxy,
    body_of,
    create,
    delete,
    eventually,
    key_of,
    update,
)

pytestmark = pytest.mark.postgres
SOCKET = ".s.PGSQL.5432"


@pytest.fixture
async def other_cache() -> Cache:
    return Cache()


@pytest.fixture
async def other(database: Database, other_cache: Cache) -> AsyncIterator[PostgresStore]:
    """A second process's store on the same database."""
    mine = Database(database.dsn)
    async with PostgresStore(mine, other_cache).running() as running:
        yield running


@pytest.fixture
def short_folder() -> Iterator[str]:
    """pytest's own is too long for a socket's path."""
    with tempfile.TemporaryDirectory(prefix="bunker-px-") as folder:
        yield folder


async def revisions(database: Database) -> list[int]:
    async with database.reading("cannot read") as conn:
        rows = await conn.fetch("SELECT revision FROM changes ORDER BY revision")
    return [row["revision"] for row in rows]


async def test_a_lost_race_fails_that_write_alone(store: PostgresStore) -> None:
    base = await store.write(create("a"))
    outcomes = await asyncio.gather(
        *(store.write(update(base, str(n))) for n in range(20)),
        *(store.write(create(f"b{n}")) for n in range(20)),
        return_exceptions=True,
    )
    won = [outcome for outcome in outcomes[:20] if isinstance(outcome, Stored)]
    lost = [outcome for outcome in outcomes[:20] if isinstance(outcome, ConflictError)]
    assert len(won) == 1
    assert len(lost) == 19
    assert all(isinstance(outcome, Stored) for outcome in outcomes[20:])


async def test_create_update_and_delete_say_what_is_wrong(store: PostgresStore) -> None:
    base = await store.write(create("a"))
    with pytest.raises(AlreadyExistsError):
        await store.write(create("a"))
    gone = await store.write(delete(base))
    assert gone.revision == base.revision + 1
    for late in (update(base, "x"), delete(base)):
        with pytest.raises(NotFoundError):
            await store.write(late)
    again = await store.write(create("a"))
    with pytest.raises(NotFoundError):
        await store.write(update(base, "of another uid"))
    assert again.uid != base.uid


async def test_a_create_needs_the_record_it_lives_in(store: PostgresStore) -> None:
    home = Key("Namespace", "", "shop")
    write = create("a")
    inside = Write(
        *(write.verb, write.key, write.uid, 1, write.body, b"[]", None, "alice", "test"),
        within=home,
    )
    with pytest.raises(NotFoundError):
        await store.write(inside)
    body = b'{"metadata":{"name":"shop","deletionTimestamp":"2026-01-01T00:00:00Z"},"kind":"x"}'
    made = await store.write(Write("create", home, "u", 1, b'{"metadata":{}}', b"[]", None, "", ""))
    marked = Write(
        *("update", home, "u", 2, body, b"[]", made.revision, "alice", "test"), deleting=True
    )
    # in one batch, in this order: the create comes after its namespace began to go
    outcomes = await asyncio.gather(
        store.write(marked), store.write(inside), return_exceptions=True
    )
    assert isinstance(outcomes[0], Stored)
    assert isinstance(outcomes[1], ForbiddenError)


async def test_two_processes_share_one_gapless_log(
    store: PostgresStore, other: PostgresStore, cache: Cache, other_cache: Cache, database: Database
) -> None:
    async def many(target: PostgresStore, mine: Cache, prefix: str) -> None:
        for n in range(50):
            made = await target.write(create(f"{prefix}{n}"))
            assert mine.get(made.key) == made
            shared = mine.get(key_of("shared"))
            with contextlib.suppress(ConflictError, AlreadyExistsError):
                await target.write(
                    create("shared") if shared is None else update(shared, f"{prefix}{n}")
                )

    async with asyncio.TaskGroup() as tasks:
        for n in range(4):
            tasks.create_task(many(store, cache, f"a{n}-"))
            tasks.create_task(many(other, other_cache, f"b{n}-"))
    newest = await store.revision()
    for each in (cache, other_cache):
        await each.wait_for(newest, timeout_s=3)
    assert await revisions(database) == list(range(1000, newest + 1))
    assert cache.list("ConfigMap") == other_cache.list("ConfigMap")
    assert len(cache) == 401
    assert (await History(database).verify()).problem is None


async def test_a_change_of_another_process_arrives_at_once(
    store: PostgresStore, other: PostgresStore, cache: Cache
) -> None:
    watcher = cache.watch(None, cache.revision)
    made = await other.write(create("a"))
    async with asyncio.timeout(0.5):  # by its hint: the poll alone would take up to a second
        change = await anext(watcher)
    assert change.after == made


async def test_a_stale_epoch_is_refused(store: PostgresStore, database: Database) -> None:
    leases = Leases(database)
    old = await leases.try_acquire("agent", Holder("h", "b", 1, 1), 30)
    assert old is not None
    base = await store.write(create("a", epoch=old.epoch))
    new = await leases.try_acquire("agent", Holder("h", "b", 2, 2), 30, replacing=old.epoch)
    assert new is not None
    assert new.epoch > old.epoch
    with pytest.raises(StaleEpochError):
        await store.write(update(base, "late", epoch=old.epoch))
    kept = await store.write(update(base, "now", epoch=new.epoch))
    await leases.release(new)
    with pytest.raises(StaleEpochError):
        await store.write(update(kept, "after release", epoch=new.epoch))


@pytest.mark.parametrize("already", [0, 1])
async def test_what_cannot_be_stored_fails_alone(store: PostgresStore, already: int) -> None:
    for n in range(already):
        await store.write(create(f"already{n}"))
    outcomes = await asyncio.gather(
        store.write(create("before")),
        store.write(create("nul\0")),
        store.write(create("after")),
        return_exceptions=True,
    )
    assert isinstance(outcomes[0], Stored)
    assert isinstance(outcomes[1], TerminalError)
    assert isinstance(outcomes[2], Stored)


async def test_a_cancelled_write_is_not_made_or_is_made_whole(
    store: PostgresStore, cache: Cache
) -> None:
    tasks = [asyncio.ensure_future(store.write(create(f"c{n}"))) for n in range(20)]
    for task in tasks[::2]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    newest = await store.revision()
    await cache.wait_for(newest, timeout_s=2)
    assert newest == 999 + len(cache)
    for n in range(1, 20, 2):
        assert cache.get(key_of(f"c{n}")) is not None


@pytest.mark.parametrize("lose", ["reply", "commit"])
async def test_a_lost_commit_is_resolved(
    postgres_cluster: EmbeddedPostgres, database: Database, short_folder: str, lose: str
) -> None:
    proxy = Proxy(str(postgres_cluster.home / "run" / SOCKET))
    through = Database(database.dsn.replace(str(postgres_cluster.home / "run"), short_folder))
    cache = Cache()
    async with (
        proxy.listening(str(Path(short_folder) / SOCKET)),
        PostgresStore(through, cache).running() as store,
    ):
        base = await store.write(create("a"))
        proxy.lose = lose
        outcome = await asyncio.gather(store.write(update(base, "b")), return_exceptions=True)
        assert proxy.lost == 1
        if lose == "reply":
            assert isinstance(outcome[0], Stored)
            assert cache.get(base.key) == outcome[0]
        else:
            assert isinstance(outcome[0], StoreUnavailableError)
            await eventually(lambda: store.healthy)
            assert cache.get(base.key) == base
        newest = await revisions(database)
        assert newest == [1000, 1001] if lose == "reply" else [1000]


async def test_a_connection_lost_in_undoing_a_batch_fails_it(
    postgres_cluster: EmbeddedPostgres, database: Database, short_folder: str
) -> None:
    proxy = Proxy(str(postgres_cluster.home / "run" / SOCKET), b"ROLLBACK")
    through = Database(database.dsn.replace(str(postgres_cluster.home / "run"), short_folder))
    async with (
        proxy.listening(str(Path(short_folder) / SOCKET)),
        PostgresStore(through, Cache()).running() as store,
        asyncio.timeout(30),  # its callers were never answered
    ):
        proxy.lose = "rollback"
        with pytest.raises(StoreUnavailableError):
            await store.write(create("nul\0"))
        assert proxy.lost == 1
        await eventually(lambda: store.healthy)
        await store.write(create("a"))


async def test_a_connection_lost_while_writes_are_tried_singly_fails_all_of_them(
    postgres_cluster: EmbeddedPostgres, database: Database, short_folder: str
) -> None:
    proxy = Proxy(str(postgres_cluster.home / "run" / SOCKET))
    through = Database(database.dsn.replace(str(postgres_cluster.home / "run"), short_folder))
    async with (
        proxy.listening(str(Path(short_folder) / SOCKET)),
        PostgresStore(through, Cache()).running() as store,
        asyncio.timeout(30),  # those after the first were never answered
    ):
        proxy.lose = "commit"
        writes = (create("before"), create("nul\0"), create("after"))
        outcomes = await asyncio.gather(*map(store.write, writes), return_exceptions=True)
        assert proxy.lost == 1
        assert [type(outcome) for outcome in outcomes] == [StoreUnavailableError] * 3
        await eventually(lambda: store.healthy)
        await store.write(create("after"))


async def test_many_writes_of_one_key_keep_their_order(store: PostgresStore, cache: Cache) -> None:
    base = await store.write(create("a"))
    watcher = cache.watch(None, base.revision)
    for n in range(50):
        base = await store.write(update(base, str(n)))
    texts = [(await anext(watcher)).after.body for _ in range(50)]
    assert texts == [body_of(base.key, str(n)) for n in range(50)]


async def test_a_server_that_has_lost_changes_is_noticed_before_another_is_made(
    database: Database,
) -> None:
    """As after a failover to a replica that was behind: here the writer is back before the feed,
    and a batch of its own ends beyond what the cache had."""
    cache = Cache()
    tail = Tail(cache)
    writer = Writer(database, tail, Feed(database, tail))
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(writer.run())
        await writer.served.wait()
        kept = await writer.write(create("kept"))
        lost = await writer.write(create("lost"))
        async with database.reading("cannot rewind") as conn:
            await conn.execute(
                "DELETE FROM objects WHERE revision = 1001; DELETE FROM changes "
                "WHERE revision = 1001; UPDATE counter SET revision = 1000, "
                "head = (SELECT hash FROM changes WHERE revision = 1000);"
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'bunker writer' AND datname = current_database()"
            )
        with pytest.raises(StoreUnavailableError):
            await writer.write(update(kept, "by a dead connection"))
        await eventually(lambda: writer.connected)
        made = await asyncio.gather(writer.write(create("c")), writer.write(create("d")))
        running.cancel()
    assert [each.revision for each in made] == [1001, 1002]
    assert cache.get(lost.key) is None
    assert [cache.get(each.key) for each in (kept, *made)] == [kept, *made]


RESTORED = pytest.mark.parametrize(
    "restore",
    [
        pytest.param(
            "DELETE FROM objects WHERE revision = 1001; DELETE FROM changes WHERE revision = 1001;"
            "UPDATE counter SET revision = 1000, "
            "head = (SELECT hash FROM changes WHERE revision = 1000)",
            id="older",
        ),
        pytest.param(
            "DELETE FROM objects WHERE revision = 1001;"
            "UPDATE changes SET hash = 'other' WHERE revision = 1001;"
            "UPDATE counter SET head = 'other'",
            id="another of the same length",
        ),
    ],
)


@RESTORED
async def test_a_dump_restored_under_open_connections_is_noticed(
    store: PostgresStore, cache: Cache, database: Database, restore: str
) -> None:
    kept = await store.write(create("kept"))
    lost = await store.write(create("lost"))
    async with database.reading("cannot restore") as conn:
        await conn.execute(f"BEGIN; {restore}; COMMIT")
    await eventually(lambda: cache.get(lost.key) is None)
    made = await store.write(create("made"))
    assert [cache.get(each.key) for each in (kept, made)] == [kept, made]
    assert cache.revision == made.revision


@RESTORED
async def test_a_dump_is_noticed_when_a_batch_is_written_onto_it_first(
    database: Database, restore: str
) -> None:
    """Before the feed has looked: the batch continues where the cache is, or passes it."""
    cache = Cache()
    tail = Tail(cache)
    writer = Writer(database, tail, Feed(database, tail))
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(writer.run())
        await writer.served.wait()
        kept, lost = [await writer.write(create(name)) for name in ("kept", "lost")]
        async with database.reading("cannot restore") as conn:
            await conn.execute(f"BEGIN; {restore}; COMMIT")
        made = await asyncio.gather(writer.write(create("c")), writer.write(create("d")))
        running.cancel()
    assert cache.get(lost.key) is None
    assert [cache.get(each.key) for each in (kept, *made)] == [kept, *made]
