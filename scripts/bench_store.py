"""Store writes a second: the real writer beside bare group-commit loops on the same server, and
beside etcd.

Durable commits everywhere. The bare loops do the least that could be called the same work:
  bare        one task, one transaction a batch: bump the counter, insert change and object
  bare+cas    that, and compare-and-set under the counter's lock, a hash chain, and NOTIFY
etcd gets creates of the same bytes (a transaction that asks that the key is new) over gRPC.
"""

import argparse
import asyncio
import hashlib
import shutil
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import uvloop
from bench_etcd import etcd_writes
from bench_lib import Row, beside, tell

from controlplane.engine.cache import Cache
from controlplane.records import Key, Write
from controlplane.store.connect import Database
from controlplane.store.embedded import EmbeddedPostgres
from controlplane.store.migrate import ensure_schema
from controlplane.store.service import PostgresStore

BODY = b'{"metadata":{"name":"%s"},"spec":{"text":"' + b"x" * 700 + b'"}}'
BARE_TABLES = """
CREATE TABLE bare_counter (revision bigint, head bytea);
INSERT INTO bare_counter VALUES (0, '');
CREATE TABLE bare_objects (name text COLLATE "C" PRIMARY KEY, revision bigint, body bytea);
CREATE TABLE bare_changes (revision bigint PRIMARY KEY, name text, body bytea, hash bytea);
"""
SLICE_S = 0.25
"""About 20 batches on busy cores; the neighbours' bursts are longer."""
WriteOne = Callable[[str], Awaitable[object]]


class Bare:
    """The least group-commit loop; `checked` adds compare-and-set, hash and NOTIFY."""

    def __init__(self, conn: asyncpg.Connection, *, checked: bool) -> None:
        self.conn = conn
        self.checked = checked
        self.waiting: list[tuple[str, asyncio.Future[int]]] = []
        self.arrived = asyncio.Event()

    async def write(self, name: str) -> int:
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.waiting.append((name, done))
        self.arrived.set()
        return await done

    async def run(self) -> None:
        while True:
            await self.arrived.wait()
            await asyncio.sleep(0)
            self.arrived.clear()
            batch, self.waiting = self.waiting[:256], self.waiting[256:]
            if self.waiting:
                self.arrived.set()
            last = await self.commit([name for name, _ in batch])
            for offset, (_, done) in enumerate(batch):
                done.set_result(last - len(batch) + 1 + offset)

    async def commit(self, names: list[str]) -> int:
        conn, count = self.conn, len(names)
        bodies = [BODY % name.encode() for name in names]
        hashes = [b""] * count
        await conn.execute("BEGIN")
        if self.checked:
            row = await conn.fetchrow("SELECT revision, head FROM bare_counter FOR UPDATE")
            taken = await conn.fetch(
                "SELECT name, revision FROM bare_objects WHERE name = ANY($1)", names
            )
            assert not taken
            head = row["head"]
            for index, body in enumerate(bodies):
                head = hashes[index] = hashlib.sha256(head + hashlib.sha256(body).digest()).digest()
            last = row["revision"] + count
            await conn.execute("UPDATE bare_counter SET revision = $1, head = $2", last, head)
        else:
            last = await conn.fetchval(
                "UPDATE bare_counter SET revision = revision + $1 RETURNING revision", count
            )
        revisions = list(range(last - count + 1, last + 1))
        await conn.execute(
            "INSERT INTO bare_changes SELECT * FROM "
            "unnest($1::bigint[], $2::text[], $3::bytea[], $4::bytea[])",
            *(revisions, names, bodies, hashes),
        )
        await conn.execute(
            "INSERT INTO bare_objects SELECT * FROM unnest($1::text[], $2::bigint[], $3::bytea[])",
            *(names, revisions, bodies),
        )
        if self.checked:
            await conn.execute("NOTIFY bare")
        await conn.execute("COMMIT")
        return last


@dataclass(slots=True)
class Taken:
    """What one contender did in one round."""

    writes: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    """Of this process, client and loop together; the servers' own is not in it."""

    @property
    def per_s(self) -> float:
        return self.writes / self.wall_s

    @property
    def cpu_us(self) -> float:
        return self.cpu_s / self.writes * 1e6


async def measure(write: WriteOne, prefix: str, writers: int, seconds: float, into: Taken) -> None:
    """Creates by `writers` closed loops for so long."""
    stop = time.monotonic() + seconds
    counts = [0] * writers

    async def one(index: int) -> None:
        while time.monotonic() < stop:
            await write(f"{prefix}-{index}-{counts[index]}")
            counts[index] += 1

    began, busy = time.monotonic(), time.process_time()
    async with asyncio.TaskGroup() as group:
        for index in range(writers):
            group.create_task(one(index))
    into.writes += sum(counts)
    into.wall_s += time.monotonic() - began
    into.cpu_s += time.process_time() - busy


async def play(
    writes: Mapping[str, WriteOne], turn: int, writers: int, seconds: float
) -> dict[str, Taken]:
    """One round: each contender for `seconds`, in slices that alternate, forth and back, so that
    a neighbour's burst hits all alike."""
    taken = {name: Taken() for name in writes}
    slices = max(1, round(seconds / SLICE_S))
    for number in range(slices):
        order = list(writes) if number % 2 == 0 else list(reversed(writes))
        for name in order:
            prefix = f"{name}{turn}.{number}"
            await measure(writes[name], prefix, writers, seconds / slices, taken[name])
    return taken


def real(store: PostgresStore) -> WriteOne:
    async def write(name: str) -> object:
        key = Key("Database", "bench", name)
        uid = "8e0f8a6e-0000-4000-8000-" + name[-12:].rjust(12, "0")
        body = BODY % name.encode()
        return await store.write(Write("create", key, uid, 1, body, b"[]", None, "bench", "bench"))

    return write


async def bench(cluster: EmbeddedPostgres, home: Path, options: argparse.Namespace) -> list[Row]:
    database = Database(cluster.dsn)
    await ensure_schema(database)
    conns = [await asyncpg.connect(cluster.dsn) for _ in range(2)]
    await conns[0].execute(BARE_TABLES)
    bares = {"bare": Bare(conns[0], checked=False), "bare+cas": Bare(conns[1], checked=True)}
    async with (
        PostgresStore(database, Cache()).running() as store,
        etcd_writes(home / "etcd") as etcd,
        asyncio.TaskGroup() as group,
    ):
        loops = [group.create_task(bare.run()) for bare in bares.values()]
        writes = {"store": real(store), **{name: bare.write for name, bare in bares.items()}}
        if etcd is not None:
            writes["etcd"] = etcd
        await play(writes, 0, options.writers, SLICE_S)  # warms plans and pages
        rounds = [
            await play(writes, turn, options.writers, options.seconds)
            for turn in range(1, options.rounds + 1)
        ]
        for task in loops:
            task.cancel()
    return rows_of(rounds, options.writers)


def rows_of(rounds: list[dict[str, Taken]], writers: int) -> list[Row]:
    rates = {name: [each[name].per_s for each in rounds] for name in rounds[0]}
    for name, found in rates.items():
        cpu_us = statistics.median(each[name].cpu_us for each in rounds)
        print(
            f"      {name:8} {statistics.median(found):7.0f} writes/s   client CPU {cpu_us:4.1f} us"
        )
    setup = f"{writers} writers, durable commits, creates of 0.8 KiB"
    peers = [
        ("store writes / bare loop", "bare+cas", "bare loop, cas+hash+notify", 0.8),
        ("store writes / barest loop", "bare", "bare loop, insert only", 0.0),
        ("store writes / etcd", "etcd", "etcd create", 1.5),
    ]
    return [
        beside(name, "writes/s", rates["store"], peer, rates[key], goal=goal, better="more",
               setup=setup)
        for name, key, peer, goal in peers
        if key in rates
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--writers", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="bunker-bench-"))
    cluster = EmbeddedPostgres(home / "postgres")
    try:
        cluster.start()
        tell(uvloop.run(bench(cluster, home, options)))
    finally:
        cluster.destroy()
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
