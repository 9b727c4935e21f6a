"""A whole API server on a real, embedded PostgreSQL, without an agent.

    python -m tests.integration.api.server FOLDER [PORT]

makes FOLDER/admin.kubeconfig and FOLDER/viewer.kubeconfig and serves until terminated. Records
should be paused: no reconciler runs (standin.py does what deletion needs).
"""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import uvloop
from prometheus_client import CollectorRegistry

from api.app import build_app
from api.context import Context, Limits
from api.kubeconfig import kubeconfig
from api.serve import serving
from api.served import Catalogue
from api.tls import ensure_certificates
from controlplane.access import ADMINS, EDITORS, OPERATORS, VIEWERS, Access
from controlplane.clock import SystemClock
from controlplane.engine.cache import Cache
from controlplane.errors import AlreadyExistsError
from controlplane.secrets import EmbeddedSealer, MasterKey
from controlplane.store.connect import Database
from controlplane.store.embedded import EmbeddedPostgres
from controlplane.store.keys import StoredKeys
from controlplane.store.migrate import ensure_schema
from controlplane.store.records import Actor, Records
from controlplane.store.service import PostgresStore
from controlplane.store.tokens import Tokens
from controlplane.streams import PodViews, Streams
from resources.kinds import KIND_INFOS, KINDS
from tests.integration.api.standin import NoPods, tidy


@dataclass(frozen=True, slots=True)
class Served:
    """A running API."""

    url: str
    ca: Path
    admin: str
    """Bearer token of system:masters."""
    viewer: str
    """Bearer token of bunker:viewers."""
    editor: str
    """Bearer token of bunker:editors."""
    operator: str
    """Bearer token of bunker:operators."""
    ctx: Context
    records: Records
    cache: Cache


@asynccontextmanager
async def api_on(
    database: Database,
    folder: Path,
    *,
    port: int = 0,
    limits: Limits | None = None,
    tidy_up: bool = True,
    pods: PodViews | None = None,
    streams: Streams | None = None,
) -> AsyncIterator[Served]:
    """Serve on a migrated database until the block is left."""
    clock, cache = SystemClock(), Cache()
    catalogue = Catalogue(KINDS)
    access = Access(Tokens(database), clock)
    files = ensure_certificates(folder / "tls", now=clock.now())
    async with PostgresStore(database, cache).running() as store:
        sealer = EmbeddedSealer(MasterKey(b"k" * 32), StoredKeys(database))
        records = Records(store, cache, sealer, clock, KIND_INFOS, catalogue.topology)
        ctx = Context(
            records=records,
            view=cache,
            access=access,
            kinds=catalogue,
            clock=clock,
            registry=CollectorRegistry(),
            limits=limits or Limits(),
            pods=pods or NoPods(Cache()),
            streams=streams,
        )
        admin, viewer, editor, operator = [
            await access.issue(name, (group,), ttl=timedelta(hours=12))
            for name, group in (
                ("admin", ADMINS),
                ("viewer", VIEWERS),
                ("editor", EDITORS),
                ("operator", OPERATORS),
            )
        ]
        await _namespaces(records)
        async with (
            asyncio.TaskGroup() as tasks,
            serving(build_app(ctx), "127.0.0.1", port, files.server_context()) as bound,
        ):
            tidying = tasks.create_task(tidy(records, cache) if tidy_up else asyncio.sleep(0))
            try:
                yield Served(
                    url=f"https://127.0.0.1:{bound}",
                    ca=files.ca,
                    admin=admin,
                    viewer=viewer,
                    editor=editor,
                    operator=operator,
                    ctx=ctx,
                    records=records,
                    cache=cache,
                )
            finally:
                tidying.cancel()


async def _namespaces(records: Records) -> None:
    for name in ("default", "kube-system"):
        obj = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}, "spec": {}}
        with suppress(AlreadyExistsError):
            await records.create("Namespace", obj, actor=Actor("test", "test"))


async def main(folder: Path, port: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    cluster, stop = EmbeddedPostgres(folder / "postgres"), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        cluster.start()
        await ensure_schema(Database(cluster.dsn))
        async with api_on(Database(cluster.dsn), folder, port=port) as served:
            for name, token in (("admin", served.admin), ("viewer", served.viewer)):
                config = kubeconfig(
                    served.url, served.ca.read_bytes(), name, token, name="bunker-test"
                )
                (folder / f"{name}.kubeconfig").write_text(config)
            sys.stdout.write(f"serving on {served.url}\n")
            sys.stdout.flush()
            await stop.wait()
    finally:
        cluster.destroy()


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0))
