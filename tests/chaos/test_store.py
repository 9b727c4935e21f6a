"""The store under fire for half a minute: writers, watchers, compaction, and a PostgreSQL that is
killed and stopped again and again. Nothing acknowledged is lost, and every watch is right.

A run that wrote less than RATE a second while PostgreSQL was there shows nothing, and is void.
"""

import asyncio
import contextlib
import os
import random
import signal
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from controlplane.clock import SystemClock
from controlplane.engine.cache import Cache
from controlplane.errors import ControlPlaneError
from controlplane.store.connect import Database
from controlplane.store.embedded import EmbeddedPostgres
from controlplane.store.history import History
from controlplane.store.keeper import kept_up
from controlplane.store.migrate import ensure_schema
from controlplane.store.service import PostgresStore
from tests.property.test_watch import disturb, read_log, validate, watch_randomly, write_randomly
from tests.support.figures import tell

pytestmark = [pytest.mark.postgres, pytest.mark.chaos, pytest.mark.timeout(400)]
RATE = 200
"""Writes a second; the bar of etcd's robustness tests."""
LASTS_S = 30.0
WRITERS, WATCHERS = 64, 16


@pytest.fixture
async def server() -> AsyncIterator[EmbeddedPostgres]:
    # short: a Unix socket's path has at most 107 characters
    made = EmbeddedPostgres(Path(tempfile.mkdtemp(prefix="store-", dir="/tmp")) / "postgres")
    await asyncio.to_thread(made.start)
    async with kept_up(made, SystemClock()):
        yield made
    await asyncio.to_thread(made.destroy)


async def harm(server: EmbeddedPostgres, done: asyncio.Event) -> float:
    """Kill it, stop it in order, three times each; returns the seconds it was away."""
    away_s = 0.0
    for number in range(6):
        await asyncio.sleep(LASTS_S / 7)
        began_s = time.monotonic()
        pid = server.pid()
        if number % 2 and pid is not None:
            os.kill(pid, signal.SIGKILL)
        else:
            await asyncio.to_thread(server.stop)
            await asyncio.to_thread(server.start)
        database = Database(server.dsn)
        while True:
            with contextlib.suppress(ControlPlaneError):
                async with database.reading("cannot look") as conn:
                    await conn.fetchval("SELECT revision FROM counter")
                    break
            await asyncio.sleep(0.1)
        database.close()
        away_s += time.monotonic() - began_s
    done.set()
    return away_s


async def write_on(
    store: PostgresStore, cache: Cache, rng: random.Random, end: asyncio.Event
) -> int:
    count = 0
    while not end.is_set():
        count += await write_randomly(store, cache, rng, 20)
    return count


async def compact(database: Database, rng: random.Random, done: asyncio.Event) -> None:
    while not done.is_set():
        with contextlib.suppress(ControlPlaneError):
            await disturb(database, rng, done)


async def test_nothing_acknowledged_is_lost_while_the_server_dies(server: EmbeddedPostgres) -> None:
    database = Database(server.dsn)
    await ensure_schema(database)
    rngs = [random.Random(number) for number in range(WRITERS + WATCHERS + 1)]
    done = asyncio.Event()
    async with AsyncExitStack() as stack:
        pairs = []
        for ring in (16_384, 64):
            cache = Cache(ring_changes=ring)
            store = PostgresStore(Database(server.dsn), cache)
            pairs.append((await stack.enter_async_context(store.running()), cache))
        began_s = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            harming = tasks.create_task(harm(server, done))
            tasks.create_task(compact(database, rngs[-1], done))
            writing = [
                tasks.create_task(write_on(*pairs[n % 2], rngs[n], done)) for n in range(WRITERS)
            ]
            watching = [
                tasks.create_task(watch_randomly(pairs[n % 2][1], rngs[WRITERS + n], done))
                for n in range(WATCHERS)
            ]
        took_s = time.monotonic() - began_s - harming.result()
        log = await read_log(database)
        acknowledged = sum(task.result() for task in writing)
        watches = [watch for task in watching for watch in task.result()]
        for watch in watches:
            validate(watch, log)
        assert (await History(database).verify()).problem is None
    assert list(log) == list(range(1000, 1000 + len(log))), "gapless"
    assert len(log) >= acknowledged, "acknowledged writes are lost"
    rate = acknowledged / took_s
    events = sum(len(watch.changes) for watch in watches)
    tell("watch events checked", events)
    tell("acknowledged writes, none lost", acknowledged)
    assert rate >= RATE, f"void: {rate:.0f} writes/s are too few to show anything"
