"""10,000 records: started, all looked at; what they cost at rest; and that no start stampedes.

An installation of its own on a real Docker engine, started five times. The records are Apps scaled
to zero, so that each pass goes the whole way and asks the engine, without 10,000 containers.
What a start does at once is counted on fakes, where each record has a container.
"""

import argparse
import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
from bench_cloud import private_cloud
from bench_http import APPS, Metrics, client, create_all, metrics, scaled_to_zero
from bench_lib import Row, none_of, tell, within
from bench_process import cpu_s, rss_mib

from controlplane.engine.controller import Tuning
from tests.e2e.cloud import Cloud
from tests.support.bench import Bench, box_key
from tests.support.quiet import quiet
from tests.support.toys import Counting
from tests.support.virtual import run

SPACES = 10
START_LIMIT_S = 30.0
IDLE_LIMIT_PERCENT = 2.0
RSS_LIMIT_MIB = 300.0
RESYNC_S = 600.0
"""Each record is looked at this often (CP_RESYNC_S), give or take a fifth."""
WHOLE_S = 1.2 * RESYNC_S
"""So long after a start the last record has been looked at again."""
WITHIN_S = 600.0
WORKERS = 16
"""Of each kind (CP_WORKERS_PER_KIND)."""
LOOKS_LIMIT = 1.1
"""Passes of a start by record: one, and a few records that something wakes meanwhile."""
PASSES = "controlplane_reconcile_total"
WRITES = ("create", "update", "delete")
"""Verbs of the store that write."""
CALLS = "controlplane_driver_call_duration_seconds_count"


def spaces() -> Iterator[tuple[str, dict[str, Any]]]:
    for number in range(SPACES):
        meta = {"name": f"many-{number}"}
        yield "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": meta}


def records(count: int) -> Iterator[tuple[str, dict[str, Any]]]:
    for number in range(count):
        namespace = f"many-{number % SPACES}"
        yield APPS.format(namespace), scaled_to_zero(f"app-{number:05}", namespace)


@dataclass(frozen=True, slots=True)
class Start:
    """One start of the process, and its rest after it."""

    took_s: float
    """From the process's begin till each record was looked at and nothing was due any more."""
    looks: float
    """Passes over the records, of each one on average."""
    calls: dict[tuple[str, ...], float]
    """Calls that left the process, by driver and verb, of each record on average."""
    writes: float
    rss_mib: float
    rest_percent: float
    """CPU when nothing is due."""


async def settled(http: aiohttp.ClientSession, count: int) -> Metrics:
    """When each record has been looked at and nothing is due any more."""
    end = time.monotonic() + WITHIN_S
    while True:
        found = await metrics(http)
        looked = found.total(PASSES, kind="App")
        if looked >= count and not found.total("controlplane_queue_depth"):
            return found
        if time.monotonic() > end:
            raise SystemExit(f"error: {looked:.0f} of {count} looked at")
        await asyncio.sleep(0.25)


async def once(cloud: Cloud, count: int, rest_s: float) -> Start:
    """Start the process on a store that has the records, and stop it."""
    began = time.monotonic()
    cloud.start()
    assert cloud.process is not None
    pid = cloud.process.pid
    async with client(f"https://127.0.0.1:{cloud.port}", cloud.token()) as http:
        found = await settled(http, count)
        took_s = time.monotonic() - began
        calls = found.by(CALLS, "driver", "verb")
        await asyncio.sleep(min(rest_s / 2, 5.0))  # what follows a start has ended
        before_s = cpu_s([pid])
        await asyncio.sleep(rest_s)
        rest = (cpu_s([pid]) - before_s) / rest_s * 100
    start = Start(
        took_s=took_s,
        looks=found.total(PASSES, kind="App") / count,
        calls={verb: number / count for verb, number in calls.items()},
        writes=sum(
            number
            for (driver, verb), number in calls.items()
            if driver == "store" and verb in WRITES
        ),
        rss_mib=rss_mib(pid),
        rest_percent=rest,
    )
    cloud.stop()
    return start


async def real(options: argparse.Namespace) -> list[Start]:
    with private_cloud() as cloud:
        async with client(f"https://127.0.0.1:{cloud.port}", cloud.token()) as http:
            began = time.monotonic()
            await create_all(http, spaces())
            await create_all(http, records(options.records))
            await settled(http, options.records)
            print(f"      made and looked at in {time.monotonic() - began:.0f} s", flush=True)
        cloud.stop()
        return [
            await once(cloud, options.records, options.rest_seconds) for _ in range(options.rounds)
        ]


# --- exact counts, on fakes ---


@dataclass(frozen=True, slots=True)
class Counted:
    """What a start did, per record but for `at_once` and `changes`."""

    looks: float
    at_once: float
    changes: int
    """Writes to the store and calls that change something outside."""


async def fakes(count: int) -> Counted:
    """One start on fakes, in virtual time: every record has a container of its own."""
    world = Counting(look_s=0.002)  # as long as a look at a container takes
    bench = Bench(world=world, tuning=Tuning(workers=WORKERS))
    async with bench.running():
        await bench.namespace()
        for number in range(count):
            await bench.box(f"b{number}", cpu="1m")
        await bench.settle(120)
    before = len(bench.store.writes)
    world.calls.clear()
    world.most = 0
    async with bench.running():
        await bench.settle(120)
    assert all(bench.ready(box_key(f"b{number}")) for number in range(0, count, 100))
    outside = sum(number for verb, number in world.calls.items() if verb != "observe")
    return Counted(
        looks=world.calls["observe"] / count,
        at_once=world.most,
        changes=len(bench.store.writes) - before + outside,
    )


# --- the rows ---


def rows_of(starts: list[Start], count: int, rest_s: float) -> list[Row]:
    setup = (
        f"{count:,} Apps scaled to zero in {SPACES} namespaces, real Docker engine, bundled "
        "PostgreSQL: each pass goes the whole way, without a container each"
    )
    idle = [start.rest_percent for start in starts]
    resync = (
        f"{rest_s:g} s, with the look that each record gets every {RESYNC_S:g} s"
        if rest_s >= WHOLE_S
        else f"{rest_s:g} s at rest, without the look that each record gets every {RESYNC_S:g} s: "
        f"--rounds 1 --rest-seconds {WHOLE_S:g} has it, too"
    )
    looks = [start.looks for start in starts]
    calls = sorted(starts[-1].calls.items(), key=lambda item: -item[1])[:3]
    told = ", ".join(f"{number:.2f} {driver}.{verb}" for (driver, verb), number in calls)
    return [
        within(
            f"start -> {count:,} records looked at",
            "s",
            [start.took_s for start in starts],
            START_LIMIT_S,
            setup=f"{setup}; from the process's begin till nothing is due",
        ),
        within(
            f"{'idle CPU' if rest_s >= WHOLE_S else 'CPU between looks'}, {count:,} records",
            "% core",
            idle,
            IDLE_LIMIT_PERCENT,
            setup=f"{setup}; {resync}",
        ),
        within(
            f"RSS with {count:,} records",
            "MiB",
            [start.rss_mib for start in starts],
            RSS_LIMIT_MIB,
            setup=f"{setup}; after a start and the rest that follows",
        ),
        within(
            "passes of a start / records",
            "passes",
            looks,
            LOOKS_LIMIT,
            setup=f"{setup}; calls a record: {told}",
        ),
        none_of(
            "writes of a start",
            "writes",
            [start.writes for start in starts],
            "records",
            [float(count)] * len(starts),
            setup=setup,
        ),
    ]


def rows_of_fakes(counted: list[Counted], count: int) -> list[Row]:
    setup = f"{count:,} records with something outside each, fakes, virtual time, {WORKERS} workers"
    return [
        within(
            "looks of a start / records, fakes",
            "looks",
            [each.looks for each in counted],
            1 + 1 / count,
            setup=f"{setup}; one each, and one at their namespace",
        ),
        within(
            "looks at once while starting, fakes",
            "looks",
            [each.at_once for each in counted],
            WORKERS + 1,
            setup=f"{setup}; the workers of the kind, and one at their namespace",
        ),
        none_of(
            "changes by a start, fakes",
            "changes",
            [each.changes for each in counted],
            "records",
            [float(count)] * len(counted),
            setup=f"{setup}; writes to the store, and calls that change something outside",
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--fakes", type=int, default=1000, help="records of the counts on fakes")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rest-seconds", type=float, default=4.0)
    options = parser.parse_args()
    quiet()
    counted = [run(lambda: fakes(options.fakes), seed=turn) for turn in range(options.rounds)]
    starts = asyncio.run(real(options))
    tell(
        [
            *rows_of(starts, options.records, options.rest_seconds),
            *rows_of_fakes(counted, options.fakes),
        ]
    )


if __name__ == "__main__":
    main()
