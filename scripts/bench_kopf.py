"""What a reconcile costs as a kopf operator on our API, and what it costs in our agent.

The same installation, without an agent of its own, serves both in turn: a kopf operator over TLS,
or our agent on the store. The work is the same: paused Databases are made, and a condition is
written into each one's status; then each gets another label, and nothing is to be written.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
from bench_cloud import private_cloud
from bench_http import client, create_all
from bench_lib import Row, beside, tell
from bench_process import cpu_s

from tests.e2e.cloud import ROOT, Cloud

PATH = "/apis/bunker.cloud/v1/namespaces/default/databases"
WITHIN_S = 120.0
STILL_S = 1.0
CPU_GOAL = 0.5


# --- the operator ---


def operate(url: str, token: str) -> None:
    """A kopf operator that writes one condition for each new Database, and has nothing to write
    for one that changed."""
    import kopf

    registry = kopf.OperatorRegistry()
    where: dict[str, Any] = {"registry": registry}

    def login(**_: Any) -> Any:
        return kopf.ConnectionInfo(server=url, insecure=True, scheme="Bearer", token=token)

    async def created(patch: Any, meta: Any, **_: Any) -> None:
        condition = {
            "type": "Ready",
            "status": "False",
            "reason": "Paused",
            "message": "spec.paused is true: nothing is done until it is false",
            "observedGeneration": meta["generation"],
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        patch.status["conditions"] = [condition]

    async def updated(**_: Any) -> None:
        return None

    async def settings_of(settings: Any, **_: Any) -> None:
        settings.posting.enabled = False  # no Event for each: ours writes none either

    kopf.on.login(registry=registry)(login)
    kopf.on.startup(registry=registry)(settings_of)
    kopf.on.create("bunker.cloud", "v1", "databases", **where)(created)
    kopf.on.update("bunker.cloud", "v1", "databases", **where)(updated)
    asyncio.run(kopf.operator(registry=registry, namespaces=["default"], standalone=True))


@contextmanager
def kopf_operator(cloud: Cloud) -> Iterator[int]:
    """Its pid."""
    url = f"https://127.0.0.1:{cloud.port}"
    with running([sys.executable, __file__, "--operator", url, cloud.token()], cloud) as pid:
        yield pid


@contextmanager
def our_agent(cloud: Cloud) -> Iterator[int]:
    """Its pid."""
    with running(cloud.serving("agent"), cloud) as pid:
        yield pid


@contextmanager
def running(command: list[str], cloud: Cloud) -> Iterator[int]:
    with cloud.log.with_suffix(".operator").open("ab") as log:
        process = subprocess.Popen(
            command, env={**os.environ, **cloud.env}, stdout=log, stderr=log, cwd=ROOT
        )
    try:
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


# --- the work ---


@dataclass(frozen=True, slots=True)
class Round:
    """Per record."""

    per_s: float
    """Records whose status was written a second, from the first creation to the last status."""
    write_ms: float
    """CPU of the operator's process for one that is new."""
    noop_ms: float
    """CPU of the operator's process for one that has changed without anything to write."""


def database(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "bunker.cloud/v1",
        "kind": "Database",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"engine": "redis", "paused": True},
    }


async def told(http: aiohttp.ClientSession) -> int:
    """How many have a condition."""
    async with http.get(PATH) as response:
        found = orjson.loads(await response.read())["items"]
    return sum(bool(each.get("status", {}).get("conditions")) for each in found)


async def until_told(http: aiohttp.ClientSession, count: int) -> None:
    end = time.monotonic() + WITHIN_S
    while (found := await told(http)) < count:
        if time.monotonic() > end:
            raise SystemExit(f"error: {found} of {count} have a status")
        await asyncio.sleep(0.1)


async def at_rest(pid: int) -> float:
    """CPU seconds of the process once it uses hardly any more."""
    before = cpu_s([pid])
    while True:
        await asyncio.sleep(STILL_S)
        now = cpu_s([pid])
        if now - before <= 0.05 * STILL_S:
            return now
        before = now


async def label(http: aiohttp.ClientSession, name: str) -> None:
    body = {"metadata": {"labels": {"round": "changed"}}}
    headers = {"Content-Type": "application/merge-patch+json"}
    async with http.patch(f"{PATH}/{name}", json=body, headers=headers) as response:
        assert response.status == 200, await response.text()


async def clear(http: aiohttp.ClientSession) -> None:
    """Nothing holds a paused record: it goes at once."""
    async with http.delete(PATH) as response:
        assert response.status == 200, await response.text()


async def work(http: aiohttp.ClientSession, pid: int, count: int) -> Round:
    names = [f"r-{number}" for number in range(count)]
    # one alone first: both have then started, listed and watch
    await create_all(http, [(PATH, database("first"))])
    await until_told(http, 1)
    before = await at_rest(pid)
    began = time.monotonic()
    await create_all(http, ((PATH, database(name)) for name in names))
    await until_told(http, count + 1)
    took = time.monotonic() - began
    wrote = await at_rest(pid)
    for name in names:
        await label(http, name)
    looked = await at_rest(pid)
    await clear(http)
    await at_rest(pid)
    return Round(
        per_s=count / took,
        write_ms=(wrote - before) / count * 1000,
        noop_ms=(looked - wrote) / count * 1000,
    )


async def bench(options: argparse.Namespace) -> list[Row]:
    ours: list[Round] = []
    theirs: list[Round] = []
    with private_cloud(CP_TEST_ROLE="api") as cloud:
        async with client(f"https://127.0.0.1:{cloud.port}", cloud.token()) as http:
            for _ in range(options.rounds):
                with our_agent(cloud) as pid:
                    await seeded(http)
                    ours.append(await work(http, pid, options.records))
                with kopf_operator(cloud) as pid:
                    theirs.append(await work(http, pid, options.records))
    return rows_of(ours, theirs, options.records)


def rows_of(ours: list[Round], theirs: list[Round], count: int) -> list[Row]:
    setup = (
        f"{count} paused Databases over TLS; kopf on the API, our agent on the store; "
        "the rest of the machine serves the API"
    )
    alone = f"{setup}; of the operator's process alone"

    def cpu(name: str, of: Callable[[Round], float], setup: str) -> Row:
        mine, peers = [of(each) for each in ours], [of(each) for each in theirs]
        return beside(
            name, "ms", mine, "kopf operator", peers, goal=CPU_GOAL, better="less", setup=setup
        )

    return [
        cpu("CPU of a reconcile that writes", lambda each: each.write_ms, alone),
        cpu(
            "CPU of a reconcile that writes nothing",
            lambda each: each.noop_ms,
            f"{alone}; kopf notes what it has seen last",
        ),
        beside(
            "created -> status written",
            "records/s",
            [each.per_s for each in ours],
            "kopf operator",
            [each.per_s for each in theirs],
            goal=1.0,
            better="more",
            setup=f"{setup}; by 32 clients at once, till the last has its status",
        ),
    ]


async def seeded(http: aiohttp.ClientSession) -> None:
    """The agent makes the namespace at its first start."""
    end = time.monotonic() + WITHIN_S
    while time.monotonic() < end:
        async with http.get("/api/v1/namespaces/default") as response:
            if response.status == 200:
                return
        await asyncio.sleep(0.1)
    raise SystemExit("error: the agent made no namespace")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--operator", nargs=2, metavar=("URL", "TOKEN"))
    options = parser.parse_args()
    if options.operator:
        operate(*options.operator)
        return
    try:
        import kopf  # noqa: F401
    except ImportError:
        print("no kopf here: uv pip install -e '.[bench]'", file=sys.stderr)
        return
    tell(asyncio.run(bench(options)))


if __name__ == "__main__":
    main()
