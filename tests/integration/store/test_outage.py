"""PostgreSQL stopped and started again, or frozen, under load: nothing acknowledged is lost."""

import asyncio
import os
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest

from controlplane.engine.cache import Cache
from controlplane.errors import StoreUnavailableError
from controlplane.records import Stored
from controlplane.store.connect import Database
from controlplane.store.embedded import EmbeddedPostgres
from controlplane.store.history import History
from controlplane.store.migrate import ensure_schema
from controlplane.store.service import PostgresStore
from tests.integration.store.writing import create, eventually, update

pytestmark = pytest.mark.postgres

_numbers = count()


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[EmbeddedPostgres]:
    """A server of these tests' own, to be ill-treated."""
    home = Path(tempfile.mkdtemp(prefix="bunker-pg-"))
    cluster = EmbeddedPostgres(home / "postgres")
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.destroy()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
async def own_database(own_cluster: EmbeddedPostgres) -> AsyncIterator[Database]:
    await asyncio.to_thread(own_cluster.start)
    name = f"outage_{next(_numbers)}"
    with closing(Database(own_cluster.dsn.replace("/bunker?", f"/{name}?"))) as opened:
        await ensure_schema(opened)
        yield opened


async def write_on(
    store: PostgresStore, prefix: str, done: asyncio.Event, kept: list[Stored]
) -> float:
    """Create and update till told to stop; returns the longest any call took."""
    longest = 0.0
    base: Stored | None = None
    for n in range(100_000):
        if done.is_set():
            break
        began = time.monotonic()
        try:
            base = await store.write(
                create(f"{prefix}-{n}") if base is None or n % 3 == 0 else update(base, str(n))
            )
            kept.append(base)
        except StoreUnavailableError:
            base = None
            await asyncio.sleep(0.05)
        longest = max(longest, time.monotonic() - began)
    return longest


@pytest.mark.parametrize("how", ["stop", "kill", "freeze", "standby"])
async def test_no_acknowledged_write_is_lost(
    own_cluster: EmbeddedPostgres, own_database: Database, how: str
) -> None:
    database, cache, done = own_database, Cache(), asyncio.Event()
    kept: list[Stored] = []
    async with PostgresStore(database, cache).running() as store:
        async with asyncio.TaskGroup() as tasks:
            writing = [tasks.create_task(write_on(store, f"w{n}", done, kept)) for n in range(16)]
            await eventually(lambda: len(kept) > 50)
            await break_and_mend(own_cluster, how)
            before = len(kept)
            await eventually(lambda: store.healthy and len(kept) > before + 50, timeout_s=20)
            done.set()
        assert max(task.result() for task in writing) < 12, "a write hung"
        await cache.wait_for(await store.revision(), timeout_s=5)
    found = {}
    async with database.reading("cannot read") as conn:
        for row in await conn.fetch("SELECT revision, body FROM changes ORDER BY revision"):
            found[row["revision"]] = row["body"]
    assert list(found) == list(range(1000, 1000 + len(found)))
    assert all(found[stored.revision] == stored.body for stored in kept)
    assert len(found) == cache.revision - 999
    assert (await History(database).verify()).problem is None


async def break_and_mend(cluster: EmbeddedPostgres, how: str) -> None:
    pid = cluster.pid()
    assert pid is not None
    if how == "freeze":
        backends = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for process in (pid, *map(int, backends)):
            os.kill(process, signal.SIGSTOP)
        await asyncio.sleep(3)
        for process in (pid, *map(int, backends)):
            os.kill(process, signal.SIGCONT)
        return
    if how == "kill":
        os.kill(pid, signal.SIGKILL)
        await eventually(lambda: cluster.pid() is None)
    else:
        await asyncio.to_thread(cluster.stop)
    if how == "standby":
        await stand_by(cluster)
    await asyncio.sleep(0.5)
    await asyncio.to_thread(cluster.start)


async def stand_by(cluster: EmbeddedPostgres) -> None:
    """For a while it is what a name may lead to in a failover: up, and it takes no writes."""
    data = cluster.home / "data"
    sign = data / "standby.signal"
    sign.touch()
    shutil.chown(sign, data.owner(), data.group())
    try:
        await asyncio.to_thread(cluster.start)
        await asyncio.sleep(3)
    finally:
        cluster.stop()
        sign.unlink()


async def test_a_server_that_takes_no_writes_for_now_is_waited_for(
    own_cluster: EmbeddedPostgres, own_database: Database
) -> None:
    """As managed ones do while their disk is nearly full."""
    async with PostgresStore(own_database, Cache()).running() as store:
        base = await store.write(create("a"))
        await set_for_all(own_database, "default_transaction_read_only = on")
        try:
            for _ in range(2):
                with pytest.raises(StoreUnavailableError):
                    await store.write(update(base, "b"))
                await eventually(lambda: store.healthy)
        finally:
            await set_for_all(own_database, "default_transaction_read_only = off")
        await eventually(lambda: store.healthy)
        assert (await store.write(update(base, "b"))).revision == base.revision + 1


async def set_for_all(database: Database, setting: str) -> None:
    """For all sessions there are; returns once new ones have it."""
    name, _, value = setting.partition(" = ")
    conn = await database.connect("test", {"default_transaction_read_only": "off"})
    try:
        await conn.execute(f"ALTER SYSTEM SET {setting}")
        await conn.execute("SELECT pg_reload_conf()")
        sql = "SELECT reset_val FROM pg_settings WHERE name = $1"
        async with asyncio.timeout(5):
            while True:
                async with database.reading("cannot look") as reader:
                    if await reader.fetchval(sql, name) == value:
                        return
                await asyncio.sleep(0.01)
    finally:
        conn.terminate()


@pytest.mark.parametrize("limit", ["lock_timeout", "statement_timeout"])
async def test_a_limit_of_the_server_makes_no_write_impossible(
    own_database: Database, limit: str
) -> None:
    with closing(Database(f"{own_database.dsn}&{limit}=500")) as limited:
        async with PostgresStore(limited, Cache()).running() as store:
            base = await store.write(create("a"))
            async with own_database.reading("cannot hold") as conn, conn.transaction():
                await conn.execute("SELECT FROM counter FOR UPDATE")
                with pytest.raises(StoreUnavailableError):
                    await store.write(update(base, "b"))
            await eventually(lambda: store.healthy)
            assert (await store.write(update(base, "b"))).revision == base.revision + 1


async def test_callers_fail_fast_while_it_is_away(
    own_cluster: EmbeddedPostgres, own_database: Database
) -> None:
    async with PostgresStore(own_database, Cache()).running() as store:
        base = await store.write(create("a"))
        await asyncio.to_thread(own_cluster.stop)
        await eventually(lambda: not store.healthy)
        # it is away for as long as we like: who waited for it would never be answered
        async with asyncio.timeout(20):
            for call in (store.write(update(base, "b")), store.revision()):
                with pytest.raises(StoreUnavailableError):
                    await call
        await asyncio.to_thread(own_cluster.start)
        await eventually(lambda: store.healthy)
        assert (await store.write(update(base, "b"))).revision == base.revision + 1


async def test_the_first_write_after_a_quiet_restart_is_stored(
    own_cluster: EmbeddedPostgres, own_database: Database
) -> None:
    """Nobody wrote meanwhile, and so nobody ran into the connection that is gone."""
    async with PostgresStore(own_database, Cache()).running() as store:
        base = await store.write(create("a"))
        await asyncio.to_thread(own_cluster.stop)
        await eventually(lambda: not store.healthy)
        await asyncio.to_thread(own_cluster.start)
        await eventually(lambda: store.healthy)
        assert (await store.write(update(base, "b"))).revision == base.revision + 1


async def test_another_log_behind_the_same_revisions_is_noticed(
    own_database: Database,
) -> None:
    """As after restoring a backup: revision 1001 is another change than the one we know."""
    database, cache = own_database, Cache()
    async with PostgresStore(database, cache).running() as store:
        base = await store.write(create("a", "old"))
        watcher = cache.watch(None, cache.revision)
        async with database.reading("cannot rewrite") as conn:
            await conn.execute(
                "UPDATE changes SET hash = 'other'; UPDATE counter SET head = 'other';"
                "UPDATE objects SET name = 'b';"
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'bunker feed'"
            )
        async with asyncio.timeout(5):
            told = [await anext(watcher), await anext(watcher)]
        assert all(change.synthetic for change in told)
        assert {(c.verb, c.after.key.name) for c in told} == {("delete", "a"), ("create", "b")}
        assert cache.get(base.key) is None
