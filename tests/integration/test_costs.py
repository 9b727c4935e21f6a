"""What writes, reads and watches cost, on the real PostgreSQL and over the real API."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from math import ceil

import asyncpg
import pytest

from controlplane.engine.cache import Cache
from controlplane.store.connect import Database
from controlplane.store.service import PostgresStore
from tests.integration.api.client import Client
from tests.integration.api.conftest import (  # noqa: F401  # fixtures
    CONFIGS,
    admin,
    config,
    http,
    served,
)
from tests.integration.store.writing import create
from tests.support.costs import hold, kept_memory, python_calls

pytestmark = pytest.mark.postgres
WRITERS, ROUNDS = 64, 20
LISTED, LISTS = 500, 50


@dataclass(frozen=True, slots=True)
class Did:
    """What PostgreSQL did, all connections together."""

    transactions: int
    wal_bytes: int
    at_s: float

    def since(self, before: "Did") -> "Did":
        return Did(
            self.transactions - before.transactions,
            self.wal_bytes - before.wal_bytes,
            self.at_s - before.at_s,
        )


async def _server_did(database: Database, work: Callable[[], Awaitable[object]]) -> Did:
    """What the work took, without what is done anyway while time goes by."""

    async def look() -> Did:
        # statistics of other sessions arrive when these are idle for a moment
        await asyncio.sleep(1.5)
        row = await conn.fetchrow(
            "SELECT xact_commit + xact_rollback, pg_current_wal_insert_lsn() - '0/0'::pg_lsn"
            " FROM pg_stat_database WHERE datname = current_database()"
        )
        assert row is not None
        return Did(int(row[0]), int(row[1]), time.monotonic())

    conn = await asyncpg.connect(database.dsn)
    try:
        first, before = await look(), await look()
        await work()
        did, idle = (await look()).since(before), before.since(first)
    finally:
        await conn.close()
    share = did.at_s / idle.at_s
    return Did(did.transactions - int(idle.transactions * share), did.wal_bytes, did.at_s)


async def test_writes(database: Database, store: PostgresStore) -> None:
    """64 writers at once, 20 times: that they share transactions is what makes them fast."""

    async def work() -> None:
        for number in range(ROUNDS):
            writes = (create(f"c-{number}-{each}", "x" * 200) for each in range(WRITERS))
            await asyncio.gather(*(store.write(write) for write in writes))

    await store.write(create("first"))
    with python_calls() as took:
        did = await _server_did(database, work)
    total = WRITERS * ROUNDS
    hold(
        "writes of 64 writers",
        {
            # the last round may have needed one more than the others
            "transactions, each round": ceil(did.transactions / ROUNDS),
            "bytes of log, each write": did.wal_bytes / total,
            "calls of Python functions, each write": took.calls / total,
        },
    )


async def test_creates_over_the_api(admin: Client) -> None:  # noqa: F811  # a fixture
    """Client and server in one thread: both are counted."""
    await admin("POST", CONFIGS, config("first", a="1"))
    with python_calls() as took:
        for number in range(100):
            answer = await admin("POST", CONFIGS, config(f"c-{number}", text="x" * 200))
            assert answer.code == 201
    hold("a create over the API", {"calls of Python functions": took.calls / 100})


async def test_lists_come_from_memory(admin: Client) -> None:  # noqa: F811  # a fixture
    """Encoded once: 500 records cost no call each. (Transactions aren't counted: looking whether
    anything newer was committed took one to three of them, by the machine's load.)"""
    for number in range(0, LISTED, 50):
        await asyncio.gather(
            *(
                admin("POST", CONFIGS, config(f"c-{each}", text="x" * 200))
                for each in range(number, number + 50)
            )
        )
    assert len((await admin("GET", CONFIGS)).body["items"]) == LISTED
    with python_calls() as took:
        for _ in range(LISTS):
            await admin("GET", CONFIGS)
    hold("a list of 500 ConfigMaps", {"calls of Python functions": took.calls / LISTS})


async def test_memory_of_a_record(store: PostgresStore, cache: Cache) -> None:
    """In the cache, with its place in every index."""
    await store.write(create("first"))
    before = cache.revision
    with kept_memory() as kept:
        for number in range(0, 1000, 50):
            await asyncio.gather(
                *(
                    store.write(create(f"c-{each}", "x" * 200))
                    for each in range(number, number + 50)
                )
            )
        await cache.wait_for(before + 1000, timeout_s=10)
    hold("a record in memory", {"bytes": kept.kept_bytes / 1000})
