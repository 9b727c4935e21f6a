"""From an acknowledged write to its watchers, over TLS; etcd's watch beside it.

One API process, 200 writes a second by one client, one watcher in another process; then one event
to 1,000 watchers. Latencies are of the monotonic clock, which processes of one host share.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import uvloop
from bench_etcd import etcd_client
from bench_lib import Row, beside, tell, within

from controlplane.store.connect import Database
from controlplane.store.embedded import EmbeddedPostgres
from controlplane.store.migrate import ensure_schema

PATH = "/api/v1/namespaces/default/configmaps"
RATE_PER_S = 200
P50_LIMIT_MS = 5.0
P99_LIMIT_MS = 50.0
FAN_OUT_LIMIT_MS = 250.0


async def watching(url: str, token: str, label: str, count: int, events: int) -> None:
    """A client process: open `count` watches, tell when all are open, then each event's time.

    Prints "open", and in the end a JSON list of [name, seconds] with the last watcher's time.
    """
    connector = aiohttp.TCPConnector(ssl=False, limit=0)
    headers = {"Authorization": f"Bearer {token}"}
    last: dict[str, float] = {}
    timeout = aiohttp.ClientTimeout(total=None)
    opened = asyncio.Semaphore(0)
    gate = asyncio.Semaphore(32)
    async with aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout) as http:

        async def follow() -> None:
            await gate.acquire()
            query = {"watch": "1", "labelSelector": f"round={label}", "resourceVersion": "0"}
            async with http.get(url + PATH, params=query, read_bufsize=2**14) as response:
                gate.release()
                opened.release()
                for _ in range(events):
                    line = await response.content.readline()
                    now = time.monotonic()
                    name = orjson.loads(line)["object"]["metadata"]["name"]
                    last[name] = max(last.get(name, 0.0), now)

        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(follow())
            for _ in range(count):
                await opened.acquire()
            print("open", flush=True)
    print(json.dumps(sorted(last.items())))


async def latencies_ms(
    served: Any, label: str, count: int, writes: int, pause_s: float, *, watched: Any = None
) -> list[tuple[float, float]]:
    """Of each of `writes` creations: from its acknowledgement to the last of `count` watchers, and
    from when it was sent. The API process's own watchers often hear before the writer does;
    `watched` is another one to watch at."""
    other = watched or served
    names = [f"{label}-{number}" for number in range(writes)]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, __file__, "--client", other.url, other.admin),
        *(label, str(count), str(writes)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    await process.stdout.readline()
    acknowledged: dict[str, float] = {}
    sent: dict[str, float] = {}
    connector = aiohttp.TCPConnector(ssl=False)
    headers = {"Authorization": f"Bearer {served.admin}"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as http:
        for name in names:
            meta = {"name": name, "labels": {"round": label}}
            body = {"metadata": meta, "data": {"text": "x" * 700}}
            sent[name] = time.monotonic()
            async with http.post(served.url + PATH, json=body) as response:
                await response.read()
                acknowledged[name] = time.monotonic()
                assert response.status == 201
            await asyncio.sleep(pause_s)
    told = dict(json.loads(await process.stdout.readline()))
    await process.wait()
    return [
        (max(0.0, told[name] - acknowledged[name]) * 1000, (told[name] - sent[name]) * 1000)
        for name in names
    ]


async def etcd_ms(folder: Path, writes: int) -> list[float]:
    """The same with etcd: its watcher in this process. Empty without etcd."""
    async with etcd_client(folder) as client:
        if client is None:
            return []
        told: dict[bytes, float] = {}
        sent: dict[bytes, float] = {}
        watch = await client.watch_prefix(b"/w/")

        async def follow() -> None:
            async for event in watch:
                told[event.kv.key] = time.monotonic()
                if len(told) == writes:
                    return

        async with asyncio.TaskGroup() as group:
            group.create_task(follow())
            for number in range(writes):
                key = b"/w/%d" % number
                sent[key] = time.monotonic()
                await client.put(key, b"x" * 700)
                await asyncio.sleep(1 / RATE_PER_S)
        return sorted((told[key] - at) * 1000 for key, at in sent.items())


async def bench(folder: Path, options: argparse.Namespace) -> list[Row]:
    # here, not above: where this is copied without the tests, imports must still sort alike
    from tests.integration.api.server import api_on

    cluster = EmbeddedPostgres(folder / "postgres")
    try:
        cluster.start()
        await ensure_schema(Database(cluster.dsn))
        async with api_on(Database(cluster.dsn), folder, tidy_up=False) as served:
            p50, p99, whole, peers = [], [], [], []
            for turn in range(options.rounds):
                found = await latencies_ms(served, f"w{turn}", 1, options.writes, 1 / RATE_PER_S)
                late = sorted(after for after, _ in found)
                p50.append(statistics.median(late))
                p99.append(late[int(len(late) * 0.99)])
                whole.append(statistics.median(each for _, each in found))
                if theirs := await etcd_ms(folder / f"etcd{turn}", options.writes):
                    peers.append(statistics.median(theirs))
            fanned = [
                (await latencies_ms(served, f"f{turn}", options.watchers, 1, 0.0))[0][1]
                for turn in range(options.rounds)
            ]
    finally:
        cluster.destroy()
    return rows_of(p50, p99, whole, peers, fanned, options.watchers)


def rows_of(
    p50: list[float],
    p99: list[float],
    whole: list[float],
    peers: list[float],
    fanned: list[float],
    watchers: int,
) -> list[Row]:
    setup = f"{RATE_PER_S} writes/s of 0.8 KiB over TLS, watcher in a process of its own"
    rows = [
        within("acknowledged -> watcher, p50", "ms", p50, P50_LIMIT_MS, setup=setup),
        within("acknowledged -> watcher, p99", "ms", p99, P99_LIMIT_MS, setup=setup),
        within(
            f"one event -> {watchers:,} watchers",
            "ms",
            fanned,
            FAN_OUT_LIMIT_MS,
            setup="from sending it to the last one, all in one client process",
        ),
    ]
    if peers and min(peers) > 0:
        rows.append(
            beside(
                "sent -> watcher / etcd",
                "ms",
                whole,
                "etcd watch, p50",
                peers,
                goal=2.0,
                better="less",
                setup=f"{setup}; etcd without TLS, its watcher in the writer's process",
            )
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--writes", type=int, default=600)
    parser.add_argument("--watchers", type=int, default=1000)
    parser.add_argument("--client", nargs=5)
    options = parser.parse_args()
    if options.client:
        url, token, label, count, events = options.client
        uvloop.run(watching(url, token, label, int(count), int(events)))
        return
    with tempfile.TemporaryDirectory(prefix="bunker-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        tell(uvloop.run(bench(folder, options)))


if __name__ == "__main__":
    main()
