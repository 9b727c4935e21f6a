"""A lease renewed apart from the process's loop: kept while that is busy, let go when it hangs."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from controlplane.clock import SystemClock
from controlplane.engine import leader as engine_leader
from controlplane.engine.leader import Leader, Leadership, this_process
from controlplane.store.connect import Database
from controlplane.store.leases import Leases

pytestmark = pytest.mark.postgres

TTL_S = 3.0


@asynccontextmanager
async def leading(database: Database) -> AsyncIterator[tuple[Leadership, "asyncio.Task[None]"]]:
    """A term, and what keeps it, which has renewed it once."""
    leases = Leases(database)
    leader = Leader(leases, this_process(), SystemClock(), ttl_s=TTL_S, own=leases.own)
    term = await leader.acquire()
    before_s = term.remaining_s
    async with asyncio.TaskGroup() as tasks:
        keeping = tasks.create_task(leader.keep(term))
        async with asyncio.timeout(TTL_S):
            while term.remaining_s <= before_s:  # it only falls, until renewed
                before_s = term.remaining_s
                await asyncio.sleep(0.01)
        yield term, keeping
        keeping.cancel()


async def connections(database: Database) -> int:
    """To this database, besides the one that asks."""
    async with database.reading("cannot count") as conn:
        found = await conn.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
    return int(found)


async def test_lease_is_kept_while_the_loop_is_held(database: Database) -> None:
    async with leading(database) as (term, keeping):
        time.sleep(1.5 * TTL_S)  # noqa: ASYNC251  # one turn of it, longer than the lease
        term.guard()
        assert not keeping.done()


async def test_a_loop_that_hangs_loses_its_lease(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_leader, "SILENT_S", 1.0)
    async with leading(database) as (term, _):
        time.sleep(1.0 + 1.5 * TTL_S)  # noqa: ASYNC251
        found = await Leases(database).current("agent")
        assert found is not None
        assert found.remaining_s < 0
        await term.over()


async def test_a_lease_that_is_anothers_ends_the_term(database: Database) -> None:
    async with leading(database) as (term, _):
        async with database.reading("cannot take it") as conn:
            await conn.execute("UPDATE leases SET epoch = epoch + 1")
        await term.over()


async def test_nothing_is_left_of_a_term_that_ended(database: Database) -> None:
    async with leading(database):
        assert await connections(database) == 1
    async with asyncio.timeout(10):
        while await connections(database):  # noqa: ASYNC110  # the server sees it end later
            await asyncio.sleep(0.05)
