"""One API process and two on the same store: creates a second, and watches across them.

The same 64 clients in two processes of their own ask one API process, or each half its own; all
on the same PostgreSQL and the same cores. Then from a write at one to a watcher at the other.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop
from bench_api import WARM_UP_S, measure
from bench_lib import Row, beside, quantile, tell, within
from bench_process import cpu_s, server_pids
from bench_watch import P50_LIMIT_MS, P99_LIMIT_MS, RATE_PER_S, latencies_ms

from controlplane.store.connect import Database
from controlplane.store.embedded import EmbeddedPostgres
from controlplane.store.migrate import ensure_schema

GOAL = 1.0
ACROSS_GOAL = 2.0


async def serve(dsn: str, folder: Path) -> None:
    """An API process: tells where it is, and serves until its input ends."""
    # here, not above: where this is copied without the tests, imports must still sort alike
    from tests.integration.api.server import api_on

    await asyncio.to_thread(folder.mkdir)
    async with api_on(Database(dsn), folder, tidy_up=False) as served:
        print(json.dumps([served.url, served.admin]), flush=True)
        await asyncio.to_thread(sys.stdin.read)


@dataclass(frozen=True, slots=True)
class Process:
    """An API process that runs."""

    url: str
    admin: str
    pid: int


@asynccontextmanager
async def api_process(dsn: str, folder: Path) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, __file__, "--serve", dsn, str(folder)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        url, admin = json.loads(await process.stdout.readline())
        yield Process(url, admin, process.pid)
    finally:
        process.stdin.close()
        await process.wait()


async def creates(
    asked: tuple[Process, Process], label: str, servers: list[int], options: argparse.Namespace
) -> tuple[float, float, float]:
    """Creates a second by two client processes; CPU in us a create of the API and PostgreSQL."""
    pids = sorted({each.pid for each in asked})
    api, store = cpu_s(pids), cpu_s(servers)
    found = await asyncio.gather(
        *(measure(p.url, p.admin, f"{label}{n}", options) for n, p in enumerate(asked))
    )
    rate = sum(each[0] for each in found)
    made = rate * (options.seconds + WARM_UP_S)
    return rate, (cpu_s(pids) - api) / made * 1e6, (cpu_s(servers) - store) / made * 1e6


async def bench(folder: Path, options: argparse.Namespace) -> list[Row]:
    cluster = EmbeddedPostgres(folder / "postgres")
    try:
        cluster.start()
        await ensure_schema(Database(cluster.dsn))
        async with AsyncExitStack() as stack:
            one, two = [
                await stack.enter_async_context(api_process(cluster.dsn, folder / name))
                for name in ("one", "two")
            ]
            servers = server_pids(folder)
            single, double, p50, p99, near, far = [], [], [], [], [], []
            for turn in range(options.rounds):
                single.append(await creates((one, one), f"s{turn}-", servers, options))
                double.append(await creates((one, two), f"d{turn}-", servers, options))
                for watched, whole in ((one, near), (two, far)):
                    label = f"w{turn}-{watched.pid}"
                    found = await latencies_ms(
                        one, label, 1, options.writes, 1 / RATE_PER_S, watched=watched
                    )
                    whole.append(statistics.median(sent for _, sent in found))
                    if watched is two:
                        late = [after for after, _ in found]
                        p50.append(quantile(late, 0.5))
                        p99.append(quantile(late, 0.99))
    finally:
        cluster.destroy()
    clients = f"{2 * options.clients} clients in two processes"
    costs = "; ".join(
        f"with {name} API {statistics.median(e[1] for e in found):.0f} us, "
        f"PostgreSQL {statistics.median(e[2] for e in found):.0f} us"
        for name, found in (("one", single), ("two", double))
    )
    across = f"{RATE_PER_S} writes/s at one process, watcher at another, each on its own cache"
    return [
        beside(
            "creates, 2 API processes / 1",
            "creates/s",
            [each[0] for each in double],
            "one API process",
            [each[0] for each in single],
            goal=GOAL,
            better="more",
            setup=f"{clients}, all on {os.cpu_count()} cores, which bound it: CPU a create {costs}",
        ),
        within("watch across processes, p50", "ms", p50, P50_LIMIT_MS, setup=across),
        within("watch across processes, p99", "ms", p99, P99_LIMIT_MS, setup=across),
        beside(
            "sent -> watcher across processes",
            "ms",
            far,
            "watcher at the same one",
            near,
            goal=ACROSS_GOAL,
            better="less",
            setup=f"{across}; median of {options.writes} writes",
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=32, help="of each of two client processes")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--writes", type=int, default=300)
    parser.add_argument("--serve", nargs=2, metavar=("DSN", "FOLDER"))
    options = parser.parse_args()
    if options.serve:
        dsn, folder = options.serve
        uvloop.run(serve(dsn, Path(folder)))
        return
    with tempfile.TemporaryDirectory(prefix="bunker-bench-") as name:
        home = Path(name)
        home.chmod(0o755)
        tell(uvloop.run(bench(home, options)))


if __name__ == "__main__":
    main()
