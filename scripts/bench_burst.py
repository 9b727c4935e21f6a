"""1,000 changes of one record in a burst: how many passes, by the engine's own count.

Once exactly, on fakes in virtual time: all of them while one pass is under way. And on a real
installation: one client patches a running App over TLS as fast as it can, and each pass corrects
the container's limit in place.
"""

import argparse
import asyncio
import time
from typing import Any

import aiohttp
from bench_cloud import private_cloud
from bench_http import APPS, client, create_all, metrics
from bench_lib import Row, beside, tell, within

from tests.e2e.cloud import Cloud
from tests.support.bench import Bench, box_key
from tests.support.quiet import quiet
from tests.support.virtual import run

NS = "bench"
PATH = f"{APPS.format(NS)}/burst"
PASSES = "controlplane_reconcile_total"
AFTER = 2
"""Passes that may follow the one under way: one finds the last state, one may find itself woken
by what the first has written or done."""
STILL_S = 1.5
"""Nothing more comes when the count has stood still for so long."""


# --- while one pass is under way ---


async def held(changes: int) -> int:
    """Passes of a burst that arrives while one is under way, that one included."""
    bench, key = Bench(), box_key("b")
    async with bench.running():
        await bench.namespace()
        await bench.box("b", size=1)
        await bench.settle()
        before = passes(bench)
        bench.world.slow = asyncio.Event()
        await bench.edit(key, size=2)
        await bench.settle(0.1)
        for number in range(changes):
            await bench.edit(key, size=3 + number)
        bench.world.slow.set()
        await bench.settle(60)
        found = bench.thing(key)
        assert found is not None
        assert found.size == 2 + changes
        return passes(bench) - before


def passes(bench: Bench) -> int:
    samples = [each for family in bench.metrics.reconciles.collect() for each in family.samples]
    return round(
        sum(e.value for e in samples if e.name == PASSES and e.labels.get("kind") == "Box")
    )


# --- on a real installation ---


async def count(http: aiohttp.ClientSession) -> float:
    return (await metrics(http)).total(PASSES, kind="App")


async def at_rest(http: aiohttp.ClientSession) -> float:
    """The count of passes once it stands still."""
    last, since = await count(http), time.monotonic()
    while time.monotonic() - since < STILL_S:
        await asyncio.sleep(0.1)
        now = await count(http)
        if now != last:
            last, since = now, time.monotonic()
    return last


async def burst(http: aiohttp.ClientSession, changes: int, turn: int) -> tuple[float, float, float]:
    """Of one burst: passes in all, those that ended after the last acknowledgement, seconds."""
    before = await at_rest(http)
    began = time.monotonic()
    headers = {"Content-Type": "application/merge-patch+json"}
    for number in range(changes):
        cpu = 100 + (number + turn) % 2 + (number == changes - 1) * (10 + turn)
        body: dict[str, Any] = {"spec": {"resources": {"cpu": f"{cpu}m"}}}
        async with http.patch(PATH, json=body, headers=headers) as response:
            assert response.status == 200, await response.text()
    took = time.monotonic() - began
    acknowledged = await count(http)
    end = await at_rest(http)
    return end - before, end - acknowledged, took


def limit(cloud: Cloud) -> int:
    """Millicores of the App's container, as the engine has them."""
    with cloud.engine() as engine:
        (found,) = cloud.containers("burst", NS, engine=engine)
        return int(found.attrs["HostConfig"]["NanoCpus"]) // 1_000_000


async def real(cloud: Cloud, options: argparse.Namespace) -> list[tuple[float, float, float]]:
    app = {
        "apiVersion": "bunker.cloud/v1",
        "kind": "App",
        "metadata": {"name": "burst", "namespace": NS},
        "spec": {
            "image": "bunker.local/demo:1",
            "port": 8080,
            "resources": {"cpu": "100m", "memory": "64Mi"},
        },
    }
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NS}}
    async with client(f"https://127.0.0.1:{cloud.port}", cloud.token()) as http:
        await create_all(http, [("/api/v1/namespaces", space)])
        await create_all(http, [(APPS.format(NS), app)])
        await asyncio.to_thread(cloud.wait_ready, "app", "burst", NS)
        found = []
        for turn in range(options.rounds):
            found.append(await burst(http, options.changes, turn))
            assert await asyncio.to_thread(limit, cloud) in range(110 + turn, 112 + turn)
        return found


def rows(options: argparse.Namespace) -> list[Row]:
    changes = options.changes
    exact = [float(run(lambda: held(changes), seed=turn)) for turn in range(options.rounds)]
    with private_cloud() as cloud:
        found = asyncio.run(real(cloud, options))
    rate = sorted(changes / took for _, _, took in found)[len(found) // 2]
    setup = f"one client patching one running App over TLS, {rate:.0f} changes/s"
    return [
        within(
            f"passes of {changes:,} changes during one",
            "passes",
            exact,
            1 + AFTER,
            setup=f"the one under way and at most {AFTER} more; engine on fakes, virtual time",
        ),
        within(
            f"passes after the last of {changes:,}",
            "passes",
            [after for _, after, _ in found],
            1 + AFTER,
            setup=f"{setup}; ended after its acknowledgement: the one under way and {AFTER} more",
        ),
        beside(
            "passes / changes of a burst",
            "passes",
            [whole for whole, _, _ in found],
            "changes",
            [float(changes)] * len(found),
            goal=1.0,
            better="less",
            setup=f"{setup}; each pass that finds a new limit sets it at the engine",
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    quiet()
    tell(rows(options))


if __name__ == "__main__":
    main()
