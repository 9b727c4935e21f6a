"""What a write, a read and a watch cost with 1,000 records, with 10,000 and with 100,000.

Updates a second (64 writers, durable), one list of a namespace of 100, from write acknowledged to
watcher has it at 200 writes/s, one event to 1,000 watchers, memory a record, and the first snapshot
of them all; over the API, a page of 500 and a watch (bench_pages.py). What each costs with the most
is told beside what it costs with the fewest: they should be alike, as nothing but the snapshot goes
through all records.
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
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import uuid4

import uvloop
from bench_lib import Row, beside, quantile, tell, within
from bench_pages import PAGE, Pages
from bench_pages import measure as measure_pages
from bench_process import rss_mib

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from controlplane.engine.cache import Cache
from controlplane.records import Key, Stored, Write
from controlplane.store.connect import Database
from controlplane.store.embedded import EmbeddedPostgres
from controlplane.store.migrate import ensure_schema
from controlplane.store.service import PostgresStore

BODY = (
    b'{"metadata":{"name":"%s","namespace":"%s","annotations":{"text":"%s"}},'
    b'"apiVersion":"bunker.cloud/v1","kind":"Database","spec":{"engine":"redis","paused":true}}'
)
PER_NAMESPACE = 100
ROUNDS = 5
KIB_A_RECORD = 3.0
"""The body, its strings, the places that refer to it, what recent changes hold: measured 1.4."""
SNAPSHOT_S = 10.0
"""Of 100,000: a third of what a start with a tenth of that is allowed."""
FIRST_PAGE_MS = 50.0
"""Of 100,000: it takes the snapshot of them, in one go, and no callback may hold the loop for
longer than this; measured 17."""
LIST_S = 2.0
"""100,000 records, by page or as the beginning of a watch: measured 0.4 and 0.3."""


def write_of(key: Key, base: Stored | None) -> Write:
    text = b"%d" % random.getrandbits(64) + b"x" * 700
    body = BODY % (key.name.encode(), key.namespace.encode(), text)
    if base is None:
        return Write("create", key, str(uuid4()), 1, body, b"[]", None, "bench", "bench")
    generation = base.generation + 1
    fields = (base.uid, generation, body, b"[]", base.revision, "bench", "bench")
    return Write("update", key, *fields)


async def fill(store: PostgresStore, cache: Cache, count: int) -> None:
    """Create records till there are `count`, 256 at a time."""
    numbers = iter(range(len(cache.list("Database")), count))

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


@dataclass(frozen=True, slots=True)
class Costs:
    """With so many records, each measured ROUNDS times."""

    records: int
    updates_per_s: list[float]
    list_us: list[float]
    late_ms: list[float]
    """p99"""
    fan_out_ms: list[float]
    kib_a_record: float

    def told(self) -> str:
        updates, listing, late, fanned = (
            statistics.median(each)
            for each in (self.updates_per_s, self.list_us, self.late_ms, self.fan_out_ms)
        )
        return (
            f"{self.records:7} records: {updates:6.0f} updates/s, list of 100 {listing:4.0f} us, "
            f"watcher p99 {late:.2f} ms, 1,000 watchers {fanned:.1f} ms, "
            f"{self.kib_a_record:.1f} KiB a record"
        )


async def measure(
    store: PostgresStore, cache: Cache, count: int, seconds: float, empty_mib: float
) -> Costs:
    await fill(store, cache, count)
    kib = (rss_mib(os.getpid()) - empty_mib) * 1024 / count
    costs = Costs(count, [], [], [], [], kib)
    for _ in range(ROUNDS):
        costs.updates_per_s.append(await updates_a_second(store, cache, seconds / ROUNDS))
        costs.list_us.append(list_s(cache) * 1e6)
        other = Cache()
        async with PostgresStore(Database(store.database.dsn), other).running():
            late = await watch_latency(store, cache, other, 400)
        costs.late_ms.append(quantile(late, 0.99) * 1e3)
        costs.fan_out_ms.append(await fan_out(store, cache, 1000) * 1e3)
    return costs


def list_s(cache: Cache) -> float:
    """Seconds of one list of a namespace."""
    began = time.perf_counter()
    for _ in range(200):
        cache.list("Database", "ns00003")
    return (time.perf_counter() - began) / 200


def rows(few: Costs, many: Costs, snapshot_s: float) -> list[Row]:
    setup = f"{many.records:,} records of 0.8 KiB in namespaces of {PER_NAMESPACE}, no TLS"
    peer = f"with {few.records:,}"
    alike = partial(beside, peer_name=peer, goal=2.0, better="less", setup=setup)
    return [
        beside(f"updates, {many.records:,} records", "writes/s", many.updates_per_s, peer,
               few.updates_per_s, goal=0.5, better="more", setup=f"{setup}; 64 writers, durable"),
        alike("list of 100", "us", many.list_us, peers=few.list_us),
        alike("acknowledged -> watcher, p99", "ms", many.late_ms, peers=few.late_ms),
        alike("one event -> 1,000 watchers", "ms", many.fan_out_ms, peers=few.fan_out_ms),
        within("memory a record", "KiB", [many.kib_a_record], KIB_A_RECORD, setup=setup),
        within("first snapshot of all", "s", [snapshot_s], SNAPSHOT_S, setup=setup),
    ]  # fmt: skip


def page_rows(few: Pages, many: Pages) -> list[Row]:
    setup = f"{many.records:,} records of 0.8 KiB, TLS, the client in a process of its own"
    alike = partial(beside, peer_name=f"with {few.records:,}", goal=2.0, better="less")
    ours, peers = many.rounds, few.rounds
    return [
        alike(f"page of {PAGE}", "ms", [each["page_ms"] for each in ours],
              peers=[each["page_ms"] for each in peers], setup=setup),
        alike("a watch is open", "ms", [each["watch_ms"] for each in ours],
              peers=[each["watch_ms"] for each in peers], setup=setup),
        within("first page", "ms", [each["first_ms"] for each in ours], FIRST_PAGE_MS, setup=setup),
        within("list by page", "s", [each["list_s"] for each in ours], LIST_S, setup=setup),
        within("watch with all there is", "s", [each["stream_s"] for each in ours], LIST_S,
               setup=setup),
    ]  # fmt: skip


async def bench(cluster: EmbeddedPostgres, home: Path, options: argparse.Namespace) -> None:
    database, cache = Database(cluster.dsn), Cache()
    await ensure_schema(database)
    found, pages = [], []
    async with PostgresStore(database, cache).running() as store:
        empty_mib = rss_mib(os.getpid())
        for count in (1000, 10_000, options.records):
            found.append(await measure(store, cache, count, options.seconds, empty_mib))
            print(found[-1].told(), flush=True)
            if count != 10_000:
                before_mib = rss_mib(os.getpid())
                pages.append(await measure_pages(cluster.dsn, home / str(count), count, ROUNDS))
                # the API in this process isn't what a record takes
                empty_mib += rss_mib(os.getpid()) - before_mib
    began = time.monotonic()
    async with PostgresStore(Database(cluster.dsn), Cache()).running():
        snapshot_s = time.monotonic() - began
    tell([*rows(found[0], found[-1], snapshot_s), *page_rows(pages[0], pages[1])])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="bunker-bench-"))
    cluster = EmbeddedPostgres(home / "postgres")
    try:
        cluster.start()
        uvloop.run(bench(cluster, home, options))
    finally:
        cluster.destroy()
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
