"""Watches under fire: a hundred conflicting writers on two processes, lost connections, compaction.

Checked by the nine watch validators of etcd's robustness tests
(https://github.com/etcd-io/etcd/tree/main/tests/robustness/validate), against the change log read
at the end: the revision is the witness order, so no search is needed.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest

from controlplane.clock import SystemClock
from controlplane.engine.cache import Cache
from controlplane.errors import CompactedError, ControlPlaneError
from controlplane.records import Change, Key
from controlplane.store.batch import content_digest
from controlplane.store.compaction import Compactor, Retention
from controlplane.store.connect import Database
from controlplane.store.history import History
from controlplane.store.service import PostgresStore
from tests.integration.store.writing import create, delete, key_of, update

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(90)]

WRITERS = 100
WATCHERS = 16
NAMES = [f"n{index}" for index in range(12)]
KINDS = ("ConfigMap", "Database", "App")


@dataclass(slots=True)
class Watch:
    """What one watcher was told, from `start` to `end`, and the bookmarks it took."""

    kinds: frozenset[str] | None
    start: int
    resumed: bool = False
    changes: list[Change] = field(default_factory=list)
    bookmarks: list[tuple[int, int]] = field(default_factory=list)
    """(how many changes it had, position) each time it looked."""


@dataclass(frozen=True, slots=True)
class Logged:
    verb: str
    key: Key
    uid: str
    previous: int | None
    digest: bytes


async def write_randomly(store: PostgresStore, cache: Cache, rng: random.Random, n: int) -> int:
    """Whatever the cache suggests, refused or not; returns how many were acknowledged."""
    acknowledged = 0
    for step in range(n):
        kind, name = rng.choice(KINDS), rng.choice(NAMES)
        base = cache.get(key_of(name, kind))
        if base is None:
            write = create(name, str(step), kind=kind)
        elif rng.random() < 0.2:
            write = delete(base)
        else:
            write = update(base, str(step))
        try:
            made = await store.write(write)
        except ControlPlaneError:
            await asyncio.sleep(rng.random() * 0.01)
            continue
        acknowledged += 1
        assert cache.revision >= made.revision, "acknowledged before it was in the cache"
    return acknowledged


async def watch_randomly(cache: Cache, rng: random.Random, done: asyncio.Event) -> list[Watch]:
    """Watch, stop anywhere, resume from the position; a new start when that is compacted."""
    kinds = rng.choice([None, frozenset(rng.sample(KINDS, 1)), frozenset(rng.sample(KINDS, 2))])
    found: list[Watch] = []
    resume: int | None = None
    while True:
        last = done.is_set()
        start = cache.revision if resume is None else resume
        watch = Watch(kinds, start, resumed=resume is not None)
        try:
            await _watch_once(cache, watch, rng, last=last)
        except CompactedError:
            resume = None
            continue
        found.append(watch)
        broken = any(change.synthetic for change in watch.changes)
        resume = None if broken else watch.bookmarks[-1][1]
        if last:
            return found


async def _watch_once(cache: Cache, watch: Watch, rng: random.Random, *, last: bool) -> None:
    subscription = cache.watch(watch.kinds, watch.start)
    pause = 0.3 if last else rng.random() * 0.2
    try:
        async with asyncio.timeout(pause):
            while True:
                watch.changes.append(await anext(subscription))
                if rng.random() < 0.3:
                    watch.bookmarks.append((len(watch.changes), subscription.position))
    except TimeoutError:
        watch.bookmarks.append((len(watch.changes), subscription.position))
    finally:
        subscription.close()


async def disturb(database: Database, rng: random.Random, done: asyncio.Event) -> None:
    """Compact at once whatever can be, and cut connections of writers and feeds."""
    retention = Retention(watch_window_s=0.05, history_days=0, history_versions=1)
    compactor = Compactor(database, SystemClock(), retention)
    while not done.is_set():
        await asyncio.sleep(0.1 + rng.random() * 0.2)
        await compactor.once()
        which = rng.choice(["bunker feed", "bunker writer", "nobody"])
        async with database.reading("cannot cut connections") as conn:
            await conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND application_name = $1",
                which,
            )


async def read_log(database: Database) -> dict[int, Logged]:
    async with database.reading("cannot read the log") as conn:
        rows = await conn.fetch(
            "SELECT revision, verb, kind, namespace, name, uid, previous, body_sha256 "
            "FROM changes ORDER BY revision"
        )
    return {
        row["revision"]: Logged(
            row["verb"],
            Key(row["kind"], row["namespace"], row["name"]),
            row["uid"],
            row["previous"],
            row["body_sha256"],
        )
        for row in rows
    }


def validate(watch: Watch, log: Mapping[int, Logged]) -> None:
    """The nine validators; a watch that met a relist is checked up to there."""
    told = watch.changes
    cut = next((index for index, change in enumerate(told) if change.synthetic), len(told))
    told = told[:cut]
    revisions = [change.revision for change in told]
    assert revisions == sorted(revisions), "Ordered"
    assert len(set(revisions)) == len(revisions), "Unique, and Atomic: a revision is one change"
    expected = [
        revision
        for revision, logged in log.items()
        if revision > watch.start and (watch.kinds is None or logged.key.kind in watch.kinds)
    ]
    if cut == len(watch.changes):
        end = watch.bookmarks[-1][1]
        assert revisions == [r for r in expected if r <= end], "Reliable, Filter, Resumable"
    assert revisions == expected[: len(revisions)], "Reliable, Filter, Resumable"
    for count, position in watch.bookmarks:
        if count <= cut and cut == len(watch.changes):
            assert all(r <= position for r in revisions[:count]), "Bookmarkable"
            assert all(r > position for r in revisions[count:]), "Bookmarkable"
    for change in told:
        validate_change(change, log)


def validate_change(change: Change, log: Mapping[int, Logged]) -> None:
    logged = log[change.revision]
    after, before = change.after, change.before
    assert (logged.verb, logged.key, logged.uid) == (change.verb, after.key, after.uid)
    assert content_digest(after.body, after.managed_fields) == logged.digest
    assert (change.verb == "create") == (before is None), "IsCreate"
    if before is not None:
        assert before.revision == logged.previous, "PrevKV"
        digest = content_digest(before.body, before.managed_fields)
        assert digest == log[before.revision].digest, "PrevKV"


@pytest.fixture
async def processes(database: Database) -> AsyncIterator[list[tuple[PostgresStore, Cache]]]:
    """Two processes' stores; the second has a small ring, so that resuming often fails."""
    async with AsyncExitStack() as stack:
        pairs = []
        for ring in (16_384, 64):
            cache = Cache(ring_changes=ring)
            opened = PostgresStore(Database(database.dsn), cache)
            pairs.append((await stack.enter_async_context(opened.running()), cache))
        yield pairs


@pytest.mark.parametrize("seed", range(3))
async def test_watchers_see_every_change_in_order(
    processes: list[tuple[PostgresStore, Cache]], database: Database, seed: int
) -> None:
    done = asyncio.Event()
    rngs = [random.Random(f"{seed}/{index}") for index in range(WRITERS + WATCHERS + 1)]
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(disturb(database, rngs[-1], done))
        watching = [
            tasks.create_task(watch_randomly(processes[index % 2][1], rngs[WRITERS + index], done))
            for index in range(WATCHERS)
        ]
        writing = [
            tasks.create_task(write_randomly(*processes[index % 2], rngs[index], 40))
            for index in range(WRITERS)
        ]
        await asyncio.wait(writing)
        done.set()
    acknowledged = sum(task.result() for task in writing)
    watches = [watch for task in watching for watch in task.result()]
    log = await read_log(database)
    assert list(log) == list(range(1000, 1000 + len(log))), "gapless"
    assert len(log) >= acknowledged > 500, "acknowledged writes lost, or the run is void"
    for watch in watches:
        validate(watch, log)
    assert sum(len(watch.changes) for watch in watches) > len(log), "the run is void"
    assert any(watch.resumed for watch in watches)
    newest = max(log)
    for _, cache in processes:
        await cache.wait_for(newest, timeout_s=5)
    first, second = (cache for _, cache in processes)
    assert all(first.list(kind) == second.list(kind) for kind in KINDS)
    assert (await History(database).verify()).problem is None
