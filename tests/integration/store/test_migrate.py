"""Migrations add up to the tables, run once, and refuse what is newer."""

import asyncio
import socket
import sys
from contextlib import closing

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from controlplane.errors import StoreUnavailableError, TerminalError
from controlplane.store import migrations
from controlplane.store.connect import Database
from controlplane.store.embedded import EmbeddedPostgres
from controlplane.store.migrate import HEAD, ensure_schema
from controlplane.store.tables import METADATA
from tests.integration.store.test_writer import SOCKET
from tests.integration.store.writing import Proxy
from tests.postgres import dsn_of

pytestmark = pytest.mark.postgres


def test_the_head_the_code_knows_is_the_newest_migration() -> None:
    assert ScriptDirectory(str(migrations.__path__[0])).get_current_head() == HEAD


def test_the_migrations_add_up_to_the_tables(database: Database) -> None:
    url = database.dsn.replace("postgresql://", "postgresql+psycopg2://")
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, METADATA) == []


async def test_a_missing_database_is_made_and_migrated_once(
    postgres_cluster: EmbeddedPostgres,
) -> None:
    with closing(Database(dsn_of(postgres_cluster, "made_by_migrate"))) as database:
        await asyncio.gather(ensure_schema(database), ensure_schema(Database(database.dsn)))
        await ensure_schema(database)
        async with database.reading("cannot read") as conn:
            assert await conn.fetchval("SELECT version_num FROM alembic_version") == HEAD
            assert await conn.fetchval("SELECT revision FROM counter") == 999


async def test_a_missing_database_is_made_through_the_one_of_several_hosts_that_answers(
    postgres_cluster: EmbeddedPostgres,
) -> None:
    name = "made_through_several"
    proxy = Proxy(str(postgres_cluster.home / "run" / SOCKET))
    with socket.socket() as taken, closing(Database(dsn_of(postgres_cluster, name))) as database:
        taken.bind(("127.0.0.1", 0))  # and nobody listens there
        silent = taken.getsockname()[1]
        async with proxy.on_a_port() as port:
            hosts = f"[::1]:{silent},127.0.0.1:{silent},127.0.0.1:{port}"
            query = "target_session_attrs=any&sslmode=prefer"
            await ensure_schema(Database(f"postgresql://postgres:p%40%25@{hosts}/{name}?{query}"))
        async with database.reading("cannot read") as conn:
            assert await conn.fetchval("SELECT version_num FROM alembic_version") == HEAD


async def test_a_newer_schema_is_refused(database: Database) -> None:
    async with database.reading("cannot write") as conn:
        await conn.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(TerminalError) as refused:
        await ensure_schema(database)
    assert refused.value.reason == "NewerSchema"


async def test_a_migration_that_fails_tells_what_postgresql_says(
    postgres_cluster: EmbeddedPostgres,
) -> None:
    """As of a user who may make nothing in schema public: nobody else may since PostgreSQL 15."""
    with closing(Database(dsn_of(postgres_cluster, "postgres"))) as admin:
        async with admin.reading("cannot prepare") as conn:
            await conn.execute("CREATE ROLE makes_nothing")
            await conn.execute("CREATE DATABASE not_its_own")
    dsn = dsn_of(postgres_cluster, "not_its_own") + "&options=-c%20role%3Dmakes_nothing"
    with pytest.raises(StoreUnavailableError, match=r"permission denied for schema public$"):
        await ensure_schema(Database(dsn))


async def test_serving_loads_neither_sqlmodel_nor_alembic(database: Database) -> None:
    program = (
        "import asyncio, sys\n"
        "from controlplane.engine.cache import Cache\n"
        "from controlplane.store.connect import Database\n"
        "from controlplane.store.migrate import ensure_schema\n"
        "from controlplane.store import compaction, history, records, service, tokens\n"
        "asyncio.run(ensure_schema(Database(sys.argv[1])))\n"
        "sys.exit(bool({'sqlmodel', 'sqlalchemy', 'alembic'} & set(sys.modules)))\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, database.dsn)
    assert await process.wait() == 0
