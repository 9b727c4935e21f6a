"""Leases and tokens: exclusive, timed by the database, with epochs that only grow."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from controlplane.access import Access, token_hash
from controlplane.clock import SystemClock
from controlplane.errors import StaleEpochError, TerminalError
from controlplane.store.connect import Database
from controlplane.store.issued import listed, revoked
from controlplane.store.leases import Holder, Leases
from controlplane.store.tokens import Tokens

pytestmark = pytest.mark.postgres

ONE, TWO = Holder("h", "boot", 1, 11), Holder("h", "boot", 2, 22)


async def expire(database: Database) -> None:
    async with database.reading("cannot expire") as conn:
        await conn.execute("UPDATE leases SET expires_at = now() - interval '1 s'")


async def test_one_holder_at_a_time(database: Database) -> None:
    leases = Leases(database)
    lease = await leases.try_acquire("agent", ONE, 10)
    assert lease is not None
    assert await leases.try_acquire("agent", TWO, 10) is None
    again = await leases.try_acquire("agent", ONE, 10)
    assert again is not None
    assert again.epoch == lease.epoch
    held = await leases.current("agent")
    assert held is not None
    assert held.holder == ONE
    assert 0 < held.remaining_s <= 10


async def test_each_renewal_can_be_seen(database: Database) -> None:
    leases = Leases(database)
    lease = await leases.try_acquire("agent", ONE, 10)
    assert lease is not None
    first = await leases.current("agent")
    assert first is not None
    assert first.expires_at_s == lease.expires_at_s
    await leases.renew(lease)
    second = await leases.current("agent")
    assert second is not None
    assert second.expires_at_s > first.expires_at_s


async def test_many_at_once_make_one_holder(database: Database) -> None:
    leases = Leases(database)
    holders = [Holder("h", "boot", n, n) for n in range(12)]
    found = await asyncio.gather(*(leases.try_acquire("agent", h, 10) for h in holders))
    assert len([lease for lease in found if lease is not None]) == 1


async def test_a_takeover_ends_the_former_epoch(database: Database) -> None:
    leases = Leases(database)
    old = await leases.try_acquire("agent", ONE, 10)
    assert old is not None
    await expire(database)
    new = await leases.try_acquire("agent", TWO, 10)
    assert new is not None
    assert new.epoch > old.epoch
    with pytest.raises(StaleEpochError):
        await leases.renew(old)
    await leases.release(old)  # no effect on another's lease
    assert (await leases.renew(new)).epoch == new.epoch
    async with database.reading("cannot read") as conn:
        assert await conn.fetchval("SELECT epochs FROM counter") == [new.epoch]


async def test_a_release_and_a_takeover_at_once_do_not_wait_for_each_other(
    database: Database,
) -> None:
    leases = Leases(database)
    old = await leases.try_acquire("agent", ONE, 10)
    assert old is not None
    await expire(database)
    async with database.reading("cannot watch") as watcher:
        async with database.reading("cannot take over") as conn, conn.transaction():
            # as far as a takeover is when it has found the lease to be over
            await conn.execute("SELECT 1 FROM counter FOR UPDATE")
            releasing = asyncio.ensure_future(leases.release(old))
            waiting = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"
            async with asyncio.timeout(10):
                while not await watcher.fetchval(waiting):  # noqa: ASYNC110  # it has no event
                    await asyncio.sleep(0.01)
            # which of two PostgreSQL ends is chance
            await conn.execute("UPDATE leases SET ttl_s = 10 WHERE name = 'agent'")
        await releasing
    assert await leases.current("agent") is None


async def test_an_epoch_given_again_after_a_loss_is_its_new_holders_alone(
    database: Database,
) -> None:
    """As after a failover to a replica that had not heard of the lease."""
    leases = Leases(database)
    old = await leases.try_acquire("agent", ONE, 10)
    assert old is not None
    async with database.reading("cannot rewind") as conn:
        await conn.execute("DELETE FROM leases; UPDATE counter SET epoch = 0, epochs = '{}'")
    new = await leases.try_acquire("agent", TWO, 10)
    assert new is not None
    assert new.epoch == old.epoch
    with pytest.raises(StaleEpochError):
        await leases.renew(old)
    await leases.release(old)
    held = await leases.current("agent")
    assert held is not None
    assert held.holder == TWO
    assert (await leases.renew(new)).holder == TWO


async def test_epochs_are_never_given_twice(database: Database) -> None:
    leases = Leases(database)
    epochs = []
    for name in ("a", "b", "a"):
        lease = await leases.try_acquire(name, ONE, 10)
        assert lease is not None
        epochs.append(lease.epoch)
        await leases.release(lease)
        assert await leases.current(name) is None
    assert epochs == sorted(set(epochs))


async def test_tokens_are_found_until_they_expire(database: Database) -> None:
    tokens = Tokens(database)
    later = datetime.now(UTC) + timedelta(hours=1)
    await tokens.put(b"h1", "alice", ["admins", "x"], later)
    found = await tokens.find(b"h1")
    assert found is not None
    assert (found.user, found.groups) == ("alice", ("admins", "x"))
    await tokens.put(b"h2", "bob", [], datetime.now(UTC) - timedelta(seconds=1))
    assert await tokens.find(b"h2") is None
    await tokens.drop(b"h1")
    await tokens.drop(b"h1")
    assert await tokens.find(b"h1") is None


async def test_tokens_are_listed_and_revoked_by_id(database: Database) -> None:
    tokens = Tokens(database)
    access = Access(tokens, SystemClock())
    gone = await access.issue("ann", ("bunker:editors",), ttl=timedelta(hours=1))
    kept = await access.issue("ben", ("bunker:viewers",), ttl=timedelta(hours=1))
    await access.issue("old", (), ttl=timedelta(seconds=-1))
    issued = await tokens.issued()
    assert [(token.user, token.groups) for token in issued] == [
        ("ann", ("bunker:editors",)),
        ("ben", ("bunker:viewers",)),
    ]
    ids = [token_hash(token).hex()[:12] for token in (gone, kept)]
    assert [token.id for token in issued] == ids
    told = await listed(tokens)
    assert [line.split()[:3] for line in told.splitlines()[1:]] == [
        [ids[0], "ann", "bunker:editors"],
        [ids[1], "ben", "bunker:viewers"],
    ]
    assert gone not in told
    assert await revoked(tokens, ids[0]) == f"revoked {ids[0]} of ann"
    elsewhere = Access(tokens, SystemClock())
    assert await elsewhere.authenticate(gone) is None
    assert await elsewhere.authenticate(kept) is not None
    for unknown in (ids[0], "", "%", ids[1][:11], ids[1].upper() + "0"):
        with pytest.raises(TerminalError):
            await revoked(tokens, unknown)
    assert len(await tokens.issued()) == 1
