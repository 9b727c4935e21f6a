"""API creates a second over TLS: the real API beside a bare handler on the same group commit.

The bare handler does the least that could be called the same work: aiohttp over TLS, the kind's
pydantic model on the body, one write by the same store. 64 clients in a process of their own,
paused Databases, field ownership on. Rounds alternate, so that a neighbour's load hits both alike;
the median counts.
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
from uuid import uuid4

import aiohttp
import orjson
import uvloop
from aiohttp import web
from bench_lib import beside, tell

from api.app import SILENT, WRITE_S
from api.context import Limits
from api.serve import serving
from api.tls import ensure_certificates
from controlplane.__main__ import collect_garbage
from controlplane.clock import SystemClock
from controlplane.records import Key, Write
from controlplane.store.connect import Database
from controlplane.store.embedded import EmbeddedPostgres
from controlplane.store.migrate import ensure_schema
from controlplane.store.shape import encode
from resources.database import Database as DatabaseKind

HOME = "/apis/bunker.cloud/v1/namespaces/default"
PATH = f"{HOME}/databases"

WARM_UP_S = 0.3


def body(name: str) -> bytes:
    """What one client sends: as a person would write it."""
    return json.dumps(
        {
            "apiVersion": "bunker.cloud/v1",
            "kind": "Database",
            "metadata": {"name": name, "labels": {"app": "shop", "tier": "data"}},
            "spec": {"engine": "postgres", "plan": "basic", "storage": "20Gi", "paused": True},
        }
    ).encode()


def bare_app(served: Any) -> web.Application:
    """The peer."""

    async def create(request: web.Request) -> web.Response:
        obj = orjson.loads(await request.read())
        DatabaseKind.model_validate(obj)
        key = Key("Database", "default", obj["metadata"]["name"])
        stored = await served.records.store.write(
            Write(
                verb="create",
                key=key,
                uid=str(uuid4()),
                generation=1,
                body=encode(obj),
                managed_fields=b"[]",
                expected_revision=None,
                actor="bench",
                manager="bench",
            )
        )
        return web.Response(body=stored.body, status=201, content_type="application/json")

    app = web.Application()
    app[SILENT], app[WRITE_S] = set(), Limits().write_s
    app.router.add_post("/{path:.*}", create)
    return app


async def client(url: str, token: str, prefix: str, clients: int, seconds: float) -> None:
    """Create until time is up; prints creates a second and latencies."""
    took: list[float] = []
    connector = aiohttp.TCPConnector(ssl=False, limit=0)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as http:

        async def run(number: int) -> None:
            count = 0
            while time.perf_counter() < until:
                started = time.perf_counter()
                name = f"{prefix}-{number}-{count}"
                async with http.post(url + PATH, data=body(name)) as response:
                    await response.read()
                    assert response.status == 201, await response.text()
                took.append(time.perf_counter() - started)
                count += 1

        until = time.perf_counter() + WARM_UP_S
        await asyncio.gather(*(run(1000 + n) for n in range(clients)))
        took.clear()
        until = time.perf_counter() + seconds
        await asyncio.gather(*(run(n) for n in range(clients)))
    took.sort()
    print(json.dumps([len(took) / seconds, took[len(took) // 2], took[int(len(took) * 0.99)]]))


async def make_room(url: str, token: str) -> None:
    """A namespace holds 100,000 records, unless a Quota says otherwise."""
    quota = {
        "apiVersion": "bunker.cloud/v1",
        "kind": "Quota",
        "metadata": {"name": "room"},
        "spec": {"records": 10**9, "recordBytes": "1Ti"},
    }
    headers = {"Authorization": f"Bearer {token}"}
    connector = aiohttp.TCPConnector(ssl=False)
    async with (
        aiohttp.ClientSession(connector=connector, headers=headers) as http,
        http.post(f"{url}{HOME}/quotas", json=quota) as response,
    ):
        assert response.status == 201, await response.text()


async def measure(url: str, token: str, prefix: str, options: argparse.Namespace) -> list[float]:
    """One round by a client process: creates a second, p50, p99, this process's CPU a create."""
    busy = time.process_time()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, __file__, "--client", url, token, prefix),
        *("--clients", str(options.clients), "--seconds", str(options.seconds)),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    found: list[float] = json.loads(output)
    return [*found, (time.process_time() - busy) / (found[0] * (options.seconds + WARM_UP_S))]


async def bench(folder: Path, options: argparse.Namespace) -> None:
    # here, not above: where this is copied without the tests, imports must still sort alike
    from tests.integration.api.server import api_on

    cluster = EmbeddedPostgres(folder / "postgres")
    try:
        cluster.start()
        await ensure_schema(Database(cluster.dsn))
        async with api_on(Database(cluster.dsn), folder, tidy_up=False) as served:
            context = ensure_certificates(folder / "tls", now=SystemClock().now()).server_context()
            async with serving(bare_app(served), "127.0.0.1", 0, context) as port:
                await rounds(served, f"https://127.0.0.1:{port}", options)
    finally:
        cluster.destroy()


async def rounds(served: Any, bare_url: str, options: argparse.Namespace) -> None:
    real, bare = [], []
    await make_room(served.url, served.admin)
    for number in range(options.rounds):
        bare.append(await measure(bare_url, "none", f"b{number}", options))
        real.append(await measure(served.url, served.admin, f"r{number}", options))
    for name, found in (("bare", bare), ("api", real)):
        per_s, p50, p99, cpu = (statistics.median(column) for column in zip(*found, strict=True))
        print(
            f"      {name:5} {per_s:7.0f} creates/s   p50 {p50 * 1000:6.1f} ms   "
            f"p99 {p99 * 1000:6.1f} ms   server CPU {cpu * 1e6:5.0f} us"
        )
    row = beside(
        "API creates / bare handler",
        "creates/s",
        [each[0] for each in real],
        "bare aiohttp+TLS+pydantic",
        [each[0] for each in bare],
        goal=0.5,
        better="more",
        setup=f"{options.clients} clients in a process of their own, TLS, one API process, paused "
        "Databases, ownership on; both on the same group commit",
    )
    tell([row])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--client", nargs=3, metavar=("URL", "TOKEN", "PREFIX"))
    options = parser.parse_args()
    if options.client:
        uvloop.run(client(*options.client, options.clients, options.seconds))
        return
    with tempfile.TemporaryDirectory(prefix="bunker-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        collect_garbage()  # as `serve` does; the bare handler is in the same process
        uvloop.run(bench(folder, options))


if __name__ == "__main__":
    main()
