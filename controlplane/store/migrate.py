"""Brings a database to this version's schema, forward only.

A serving process only asks which version it is; when it must move, a process of its own does it
(`python -m controlplane.store.migrate`), so that sqlmodel and Alembic never stay in memory.
"""

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

import asyncpg

from controlplane.errors import StoreUnavailableError, TerminalError
from controlplane.store.connect import Connection, Database

HEAD: Final = "0001"
"""The newest migration: what this version of the code reads and writes."""
_DSN_VARIABLE: Final = "CP_DATABASE_URL"
_LOCK: Final = 0x43524541
"""Any constant: the advisory lock that means "a database is being made"."""
_HOST_AND_PORT: Final = re.compile(r"(?:^|,)\[?([^,]*?)\]?(?::(\d*))?(?=,|$)")
"""Of several: a name, an address, or one of IPv6 in brackets, each with or without a port."""


async def ensure_schema(database: Database) -> None:
    """Create the database if it is missing and migrate it if it is old; waits for PostgreSQL.

    Raises TerminalError for a database that a newer version made.
    """
    await _ensure_database(database)
    conn = await database.connect_patiently("migrate")
    try:
        version = await _version(conn)
    finally:
        conn.terminate()
    if version == HEAD:
        return
    if version is not None and version > HEAD:
        raise TerminalError(
            f"cannot use the database: its schema is version {version}, newer than {HEAD}; "
            "run the version of Bunker Cloud that made it, or a newer one",
            reason="NewerSchema",
        )
    await _migrate(database)


async def _ensure_database(database: Database) -> None:
    try:
        conn = await database.connect_patiently("migrate")
    except asyncpg.InvalidCatalogNameError:
        parts = urlsplit(database.dsn)
        admin = Database(urlunsplit(parts._replace(path="/postgres")))
        conn = await admin.connect_patiently("migrate")
        name = parts.path.lstrip("/").replace('"', '""')
        try:
            # two starters at once: CREATE DATABASE has no IF NOT EXISTS
            await conn.execute("SELECT pg_advisory_lock($1)", _LOCK)
            sql = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)"
            if not await conn.fetchval(sql, parts.path.lstrip("/")):
                await conn.execute(f'CREATE DATABASE "{name}"')
        finally:
            conn.terminate()
    else:
        conn.terminate()


async def _version(conn: Connection) -> str | None:
    if await conn.fetchval("SELECT to_regclass('alembic_version') IS NULL"):
        return None
    found: str | None = await conn.fetchval("SELECT version_num FROM alembic_version")
    return found


async def _migrate(database: Database) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "controlplane.store.migrate",
        env={**os.environ, _DSN_VARIABLE: database.dsn},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    if process.returncode != 0:
        lines = output.decode(errors="replace").strip().splitlines() or ["no output"]
        raise StoreUnavailableError(f"cannot migrate the database to {HEAD}: {lines[-1]}")


def upgrade(dsn: str) -> None:
    """Run the migrations here and now, synchronously (psycopg2)."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    config.set_main_option("sqlalchemy.url", _as_sqlalchemy_reads_it(dsn).replace("%", "%%"))
    command.upgrade(config, "head")


def _as_sqlalchemy_reads_it(dsn: str) -> str:
    """A libpq URL: of several hosts SQLAlchemy takes the ports from the query alone. And libpq has
    to be told to go on to the one that takes writes, as asyncpg is."""
    parts = urlsplit(dsn)
    query = dict(parse_qsl(parts.query)) | {"target_session_attrs": "read-write"}
    login, at, place = parts.netloc.rpartition("@")
    if "," in place:
        found = _HOST_AND_PORT.findall(place)
        query["host"] = ",".join(unquote(host) for host, _ in found)
        query["port"] = ",".join(port for _, port in found)
        place = ""
    return f"postgresql+psycopg2://{login}{at}{place}{parts.path}?{urlencode(query)}"


def _main() -> None:
    from sqlalchemy.exc import DBAPIError

    try:
        upgrade(os.environ[_DSN_VARIABLE])
    except DBAPIError as exc:
        # the driver's own first line: SQLAlchemy's text ends with the statement and a link
        sys.exit(str(exc.orig).strip().split("\n", 1)[0])


if __name__ == "__main__":
    _main()
