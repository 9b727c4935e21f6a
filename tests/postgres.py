"""Fixtures for tests on the real, embedded PostgreSQL (mark them `postgres`).

- `postgres_cluster`: one server for the whole session, in a temporary folder.
- `database`: a fresh, migrated database of its own for the test; several `Database`s may open it.
- `cache`, `store`: a running PostgresStore that feeds an engine Cache.
- `records`: Records on them, with the core kinds' rules and a sealer; `make_records` builds more.
"""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from controlplane.clock import SystemClock
from controlplane.engine.cache import Cache
from controlplane.secrets import EmbeddedSealer, MasterKey
from controlplane.store.connect import Database
from controlplane.store.embedded import EmbeddedPostgres
from controlplane.store.keys import StoredKeys
from controlplane.store.migrate import upgrade
from controlplane.store.records import Records
from controlplane.store.service import PostgresStore
from resources.kinds import KIND_INFOS
from resources.meta import KindInfo

_numbers: Final = count()
_TEMPLATE: Final = "template_bunker"


def dsn_of(cluster: EmbeddedPostgres, name: str) -> str:
    """The cluster's DSN with another database."""
    return cluster.dsn.replace("/bunker?", f"/{name}?")


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[EmbeddedPostgres]:
    """A server for the session, stopped and removed after it."""
    home = Path(tempfile.mkdtemp(prefix="bunker-pg-"))
    cluster = EmbeddedPostgres(home / "postgres")
    cluster.start()
    try:
        yield cluster
    finally:
        cluster.destroy()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def _template() -> dict[str, bool]:
    return {}


@pytest.fixture
async def database(
    postgres_cluster: EmbeddedPostgres, _template: dict[str, bool]
) -> AsyncIterator[Database]:
    """A migrated database of the test's own, copied from a template."""
    admin = await asyncpg.connect(dsn_of(postgres_cluster, "postgres"))
    name = f"test_{next(_numbers)}"
    try:
        if not _template:
            await admin.execute(f"CREATE DATABASE {_TEMPLATE}")
            upgrade(dsn_of(postgres_cluster, _TEMPLATE))
            _template["made"] = True
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}")
        opened = Database(dsn_of(postgres_cluster, name))
        yield opened
        opened.close()
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()


@pytest.fixture
def cache() -> Cache:
    return Cache()


@pytest.fixture
async def store(database: Database, cache: Cache) -> AsyncIterator[PostgresStore]:
    """A running store; the cache has its first snapshot."""
    async with PostgresStore(database, cache).running() as running:
        yield running


def make_records(
    store: PostgresStore, cache: Cache, kinds: Mapping[str, KindInfo] = KIND_INFOS
) -> Records:
    """Records under a fixed master key, so that several stores of a test share their Secrets."""
    sealer = EmbeddedSealer(MasterKey(b"k" * 32), StoredKeys(store.database))
    return Records(store, cache, sealer, SystemClock(), kinds)


@pytest.fixture
def records(store: PostgresStore, cache: Cache) -> Records:
    return make_records(store, cache)
