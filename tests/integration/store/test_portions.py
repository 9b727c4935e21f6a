"""Large records are read in portions that a busy disk gives in time, too."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from controlplane.engine.cache import Cache
from controlplane.store.connect import Database
from controlplane.store.embedded import EmbeddedPostgres
from controlplane.store.feed import Tail
from controlplane.store.history import History
from controlplane.store.portions import READ_BYTES
from controlplane.store.service import PostgresStore
from tests.integration.store.writing import Proxy, create

pytestmark = pytest.mark.postgres

SOCKET = ".s.PGSQL.5432"
RECORDS, RECORD_BYTES = 24, 2**20
MOST = READ_BYTES + 2 * RECORD_BYTES
"""The record that a portion ends with is read whole."""


@pytest.fixture
async def through(
    postgres_cluster: EmbeddedPostgres, database: Database
) -> AsyncIterator[tuple[Database, Proxy]]:
    """The database by way of a proxy that knows how much it gives at once."""
    run = str(postgres_cluster.home / "run")
    proxy = Proxy(f"{run}/{SOCKET}")
    with tempfile.TemporaryDirectory(prefix="bunker-px-") as folder:
        async with proxy.listening(str(Path(folder) / SOCKET)):
            with closing(Database(database.dsn.replace(run, folder))) as opened:
                yield opened, proxy


async def write_large(store: PostgresStore) -> None:
    writes = (create(f"c-{n}", "x" * RECORD_BYTES) for n in range(RECORDS))
    await asyncio.gather(*map(store.write, writes))


async def test_large_records_are_read_in_portions(
    store: PostgresStore, cache: Cache, through: tuple[Database, Proxy]
) -> None:
    database, proxy = through
    behind, anew = Cache(), Cache()
    conn = await database.connect("feed")
    try:
        tail = Tail(behind)
        await tail.catch_up(conn)
        await write_large(store)
        await tail.catch_up(conn)
        changes, proxy.largest_reply = proxy.largest_reply, 0
        await Tail(anew).catch_up(conn)
        snapshot, proxy.largest_reply = proxy.largest_reply, 0
    finally:
        conn.terminate()
    assert (await History(database).verify()).problem is None
    assert max(changes, snapshot, proxy.largest_reply) <= MOST
    assert len(cache.list("ConfigMap")) == RECORDS
    for other in (behind, anew):
        assert other.revision == cache.revision
        assert {r.key: r for r in other.list("ConfigMap")} == {
            r.key: r for r in cache.list("ConfigMap")
        }


async def test_a_record_larger_than_a_portion_is_read(
    store: PostgresStore, cache: Cache, database: Database
) -> None:
    behind = Cache()
    tail = Tail(behind)
    async with database.reading("cannot read") as conn:
        await tail.catch_up(conn)
        for n in range(3):
            await store.write(create(f"c-{n}", "x" * (READ_BYTES + 1)))
        await tail.catch_up(conn)
    assert behind.revision == cache.revision
    assert (await History(database).verify()).problem is None
