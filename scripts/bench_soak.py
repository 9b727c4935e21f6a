"""Steady load for half an hour: whether memory, latency, files or connections grow.

An installation of its own. First its ring of recent changes is filled, for that much memory it is
meant to take; then clients write, list and watch at a fixed rate, records come and go, and every
twentieth of the time is one window. Not part of the default run: it is for leaks.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from bench_cloud import private_cloud
from bench_http import APPS, client, create_all, scaled_to_zero
from bench_lib import Row, beside, quantile, tell
from bench_process import cpu_s, open_files, rss_mib, server_pids

from tests.e2e.cloud import Cloud

NS = "soak"
CONFIGS = f"/api/v1/namespaces/{NS}/configmaps"
PATCH = {"Content-Type": "application/merge-patch+json"}
RECORDS = 200
APPS_KEPT = 20
FILL = 8_500
"""Changes of TEXT before the start: more than the 16 MiB that the ring of changes may hold."""
TEXT = "x" * 2048
RATE_PER_S = 20
WATCHERS = 10
WINDOWS = 20
PULSE_S = 0.05
"""Between two questions that nothing is done for: what they take is what the loop lags."""
ENDS = 5
"""Windows at each end that are compared."""
WATCH_S = 15.0


@dataclass(frozen=True, slots=True)
class Window:
    """One twentieth of the time."""

    at_s: float
    rss_mib: float
    lag_ms: float
    """p99"""
    files: int
    connections: int
    cpu_percent: float


def connections(data: Path) -> int:
    """Backends of the bundled PostgreSQL that serve a client over its socket."""
    found = 0
    for pid in server_pids(data):
        try:
            found += b"[local]" in Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
    return found


def config(number: int, generation: int) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": f"c-{number}", "namespace": NS},
        "data": {"text": TEXT, "generation": str(generation)},
    }


# --- the load ---


async def writes(http: aiohttp.ClientSession, stop: asyncio.Event) -> None:
    """At a fixed rate: changes of ConfigMaps and Apps, and now and then one goes and comes."""
    loop = asyncio.get_running_loop()
    turn, due = 0, loop.time()
    while not stop.is_set():
        await one_write(http, turn)
        turn += 1
        due = max(due + 1 / RATE_PER_S, loop.time() - 1)
        await asyncio.sleep(max(0.0, due - loop.time()))


async def one_write(http: aiohttp.ClientSession, turn: int) -> None:
    number = turn % RECORDS
    if turn % 10 == 0:
        path = f"{APPS.format(NS)}/a-{turn // 10 % APPS_KEPT}"
        cpu = {"spec": {"resources": {"cpu": f"{100 + turn % 7}m"}}}
        async with http.patch(path, json=cpu, headers=PATCH) as response:
            assert response.status == 200, await response.text()
    elif turn % 10 == 1:
        async with http.delete(f"{CONFIGS}/c-{number}") as response:
            assert response.status == 200, await response.text()
        async with http.post(CONFIGS, json=config(number, turn)) as response:
            assert response.status == 201, await response.text()
    else:
        change = {"data": {"generation": str(turn)}}
        async with http.patch(f"{CONFIGS}/c-{number}", json=change, headers=PATCH) as response:
            assert response.status == 200, await response.text()


async def watches(http: aiohttp.ClientSession, stop: asyncio.Event) -> None:
    """List and watch, for a quarter of a minute, again and again."""
    while not stop.is_set():
        async with http.get(CONFIGS) as response:
            listed = await response.json()
        query = {
            "watch": "1",
            "resourceVersion": listed["metadata"]["resourceVersion"],
            "timeoutSeconds": f"{WATCH_S:.0f}",
        }
        async with http.get(CONFIGS, params=query) as response:
            async for _ in response.content:
                if stop.is_set():
                    break


async def pulse(http: aiohttp.ClientSession, stop: asyncio.Event, lags: list[float]) -> None:
    while not stop.is_set():
        began = time.perf_counter()
        async with http.get("/livez") as response:
            await response.read()
        lags.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(PULSE_S)


# --- the measurement ---


async def windows(cloud: Cloud, lags: list[float], seconds: float) -> list[Window]:
    assert cloud.process is not None
    pid = cloud.process.pid
    found, began, each = [], time.monotonic(), seconds / WINDOWS
    for _ in range(WINDOWS):
        lags.clear()
        used = cpu_s([pid])
        await asyncio.sleep(each)
        found.append(
            Window(
                time.monotonic() - began,
                rss_mib(pid),
                quantile(lags, 0.99),
                open_files(pid),
                connections(cloud.data),
                (cpu_s([pid]) - used) / each * 100,
            )
        )
        print(f"      {found[-1]}", flush=True)
    return found


async def soak(cloud: Cloud, seconds: float) -> list[Window]:
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NS}}
    async with client(f"https://127.0.0.1:{cloud.port}", cloud.token()) as http:
        await create_all(http, [("/api/v1/namespaces", space)])
        await create_all(http, ((CONFIGS, config(n, 0)) for n in range(RECORDS)))
        apps = [scaled_to_zero(f"a-{number}", NS) for number in range(APPS_KEPT)]
        await create_all(http, ((APPS.format(NS), app) for app in apps))
        await fill(http)
        stop, lags = asyncio.Event(), list[float]()
        async with asyncio.TaskGroup() as group:
            group.create_task(writes(http, stop))
            group.create_task(pulse(http, stop, lags))
            for _ in range(WATCHERS):
                group.create_task(watches(http, stop))
            found = await windows(cloud, lags, seconds)
            stop.set()
    return found


async def fill(http: aiohttp.ClientSession) -> None:
    numbers = iter(range(FILL))

    async def one(offset: int) -> None:
        for number in numbers:
            # each client has records of its own: no two writes are in conflict
            path = f"{CONFIGS}/c-{number % (RECORDS // 16) * 16 + offset}"
            change = {"data": {"generation": f"fill-{number}"}}
            async with http.patch(path, json=change, headers=PATCH) as response:
                assert response.status == 200, await response.text()

    async with asyncio.TaskGroup() as group:
        for offset in range(16):
            group.create_task(one(offset))


def rows_of(found: Sequence[Window], seconds: float) -> list[Row]:
    late = found[WINDOWS // 2 :]
    slope = statistics.linear_regression(
        [each.at_s / 3600 for each in late], [each.rss_mib for each in late]
    ).slope
    setup = (
        f"{seconds / 60:g} min of {RATE_PER_S} writes/s and {WATCHERS} watchers; the last {ENDS} "
        f"of {WINDOWS} windows beside the first {ENDS}"
    )

    def grown(name: str, unit: str, values: Sequence[float], goal: float, more: str = "") -> Row:
        first, last = values[:ENDS], values[-ENDS:]
        return beside(
            name, unit, last, "at the start", first, goal=goal, better="less", setup=setup + more
        )

    return [
        grown("RSS under load", "MiB", [each.rss_mib for each in found], 1.1,
              f"; in the second half {slope:+.1f} MiB an hour"),
        grown("loop lag under load, p99", "ms", [each.lag_ms for each in found], 1.5,
              "; as a client of /livez sees it"),
        grown("open files under load", "files", [float(each.files) for each in found], 1.1),
        grown("PostgreSQL connections under load", "", [float(e.connections) for e in found], 1.0),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1800.0)
    options = parser.parse_args()
    with private_cloud() as cloud:
        found = asyncio.run(soak(cloud, options.seconds))
    tell(rows_of(found, options.seconds))


if __name__ == "__main__":
    main()
