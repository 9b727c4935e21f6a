"""What a write, a read and a watch cost with 1,000 records in the store, and with many more.

Rows: writes a second (64 writers updating, durable), one list of a namespace of 100, from write
acknowledged to watcher has it at 200 writes/s, one event to 1,000 watchers, memory a record.
"""

import argparse
import asyncio
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from uuid import uuid4

import uvloop
from bench_process import rss_mib

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from controlplane.engine.cache import Cache
from controlplane.records import Key, Stored, Write
from controlplane.store.connect import Database
from controlplane.store.embedded import EmbeddedPostgres
from controlplane.store.migrate import ensure_schema
from controlplane.store.service import PostgresStore

BODY = b'{"metadata":{"name":"%s"},"spec":{"text":"%s"}}'
PER_NAMESPACE = 100


def write_of(key: Key, base: Stored | None) -> Write:
    text = b"%d" % random.getrandbits(64) + b"x" * 700
    body = BODY % (key.name.encode(), text)
    if base is None:
        return Write("create", key, str(uuid4()), 1, body, b"[]", None, "bench", "bench")
    generation = base.generation + 1
    fields = (base.uid, generation, body, b"[]", base.revision, "bench", "bench")
    return Write("update", key, *fields)


async def fill(store: PostgresStore, cache: Cache, count: int) -> None:
    """Create records till there are `count`, 256 at a time."""
    numbers = iter(range(len(cache), count))

    async def one() -> None:
        for number in numbers:
            key = Key("Database", f"ns{number // PER_NAMESPACE:05}", f"db{number:07}")
            await store.write(write_of(key, None))

    async with asyncio.TaskGroup() as group:
        for _ in range(256):
            group.create_task(one())


async def updates_a_second(store: PostgresStore, cache: Cache, seconds: float) -> float:
    """64 writers, each on records of its own, spread over the whole store."""
    spaces = len(cache) // PER_NAMESPACE
    stop, done = time.monotonic() + seconds, 0

    async def one(index: int) -> None:
        nonlocal done
        rng = random.Random(index)
        while time.monotonic() < stop:
            number = rng.randrange(spaces) * PER_NAMESPACE + index
            key = Key("Database", f"ns{number // PER_NAMESPACE:05}", f"db{number:07}")
            await store.write(write_of(key, cache.get(key)))
            done += 1

    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for index in range(64):
            group.create_task(one(index))
    return done / (time.monotonic() - began)


async def watch_latency(
    store: PostgresStore, cache: Cache, other: Cache, writes: int
) -> list[float]:
    """Seconds from the acknowledgement to another process's watcher, at 200 writes/s. (This
    process's own watchers have it before the acknowledgement.)"""
    told: dict[int, float] = {}
    await other.wait_for(cache.revision, timeout_s=10)
    watcher = other.watch(frozenset({"Database"}), other.revision)

    async def read() -> None:
        for _ in range(writes):
            change = await anext(watcher)
            told[change.revision] = time.monotonic()

    async with asyncio.TaskGroup() as group:
        reading = group.create_task(read())
        acknowledged: dict[int, float] = {}
        for number in range(writes):
            key = Key("Database", "ns00000", f"db{number % PER_NAMESPACE:07}")
            made = await store.write(write_of(key, cache.get(key)))
            acknowledged[made.revision] = time.monotonic()
            await asyncio.sleep(0.005)
        await reading
    watcher.close()
    return [max(0.0, told[revision] - at) for revision, at in acknowledged.items()]


async def fan_out(store: PostgresStore, cache: Cache, watchers: int) -> float:
    """Seconds from the call of one write to the last of so many watchers having its event."""
    opened = [cache.watch(frozenset({"Database"}), cache.revision) for _ in range(watchers)]
    async with asyncio.TaskGroup() as group:
        for watcher in opened:
            group.create_task(anext(watcher))
        await asyncio.sleep(0)
        began = time.monotonic()
        key = Key("Database", "ns00000", "db0000000")
        await store.write(write_of(key, cache.get(key)))
    took = time.monotonic() - began
    for watcher in opened:
        watcher.close()
    return took


async def measure(store: PostgresStore, cache: Cache, options: argparse.Namespace) -> None:
    for count in (1000, options.records):
        empty, had = rss_mib(os.getpid()), len(cache)
        await fill(store, cache, count)
        grown = (rss_mib(os.getpid()) - empty) * 1024 / max(1, len(cache) - had)
        rate = await updates_a_second(store, cache, options.seconds)
        began = time.perf_counter()
        for _ in range(200):
            cache.list("Database", "ns00003")
        listing = (time.perf_counter() - began) / 200
        second, other = Database(store.database.dsn), Cache()
        async with PostgresStore(second, other).running():
            late = sorted(await watch_latency(store, cache, other, 400))
        fanned = statistics.median([await fan_out(store, cache, 1000) for _ in range(5)])
        print(
            f"{count:7} records: {rate:6.0f} updates/s, list of 100 {listing * 1e6:4.0f} us, "
            f"watcher p50 {late[len(late) // 2] * 1e3:.2f} ms p99 "
            f"{late[int(len(late) * 0.99)] * 1e3:.2f} ms, 1,000 watchers {fanned * 1e3:.0f} ms, "
            f"{grown:.1f} KiB a record"
        )


async def bench(cluster: EmbeddedPostgres, options: argparse.Namespace) -> None:
    database, cache = Database(cluster.dsn), Cache()
    await ensure_schema(database)
    async with PostgresStore(database, cache).running() as store:
        await measure(store, cache, options)
    began = time.monotonic()
    async with PostgresStore(Database(cluster.dsn), Cache()).running():
        print(f"first snapshot of {len(cache)} records: {time.monotonic() - began:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="bunker-bench-"))
    cluster = EmbeddedPostgres(home / "postgres")
    try:
        cluster.start()
        uvloop.run(bench(cluster, options))
    finally:
        cluster.destroy()
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
