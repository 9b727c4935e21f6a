"""The script that sets a Database's password, where a user's session is in its way."""

import asyncio

import asyncpg
import pytest

from controlplane.store.embedded import EmbeddedPostgres
from drivers.postgres_sql import SALT_BYTES, prepare_script
from tests.postgres import dsn_of

pytestmark = pytest.mark.postgres
LONG_S = 60.0


async def carry_out(connection: "asyncpg.Connection[asyncpg.Record]", script: str) -> None:
    """As psql does: a line that ends with `\\gexec` gives the statements to run."""
    for line in script.splitlines():
        query = line.removesuffix(" \\gexec")
        if query == line:
            await connection.execute(line)
            continue
        for row in await connection.fetch(query):
            await connection.execute(row[0])


async def test_it_ends_behind_a_lock_that_a_user_holds(postgres_cluster: EmbeddedPostgres) -> None:
    dsn = dsn_of(postgres_cluster, "postgres")
    user, healer = await asyncpg.connect(dsn), await asyncpg.connect(dsn)
    script = prepare_script("healed", "right", "healed", salt=bytes(SALT_BYTES))
    try:
        await carry_out(healer, script)
        async with user.transaction():
            await user.execute("ALTER ROLE healed CONNECTION LIMIT 5")
            with pytest.raises((asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError)):
                async with asyncio.timeout(LONG_S):
                    await carry_out(healer, script)
        await carry_out(healer, script)
    finally:
        await user.close()
        await healer.execute("DROP DATABASE IF EXISTS healed")
        await healer.execute("DROP ROLE IF EXISTS healed")
        await healer.close()
