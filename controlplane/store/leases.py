"""Leases with epochs: who leads, told by the database's clock alone.

A new holder gets a new epoch. The epochs that are not over stand in the counter row, which every
batch of writes locks and reads first: once a takeover has committed, no write of the former
holder can.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Final

import orjson

from controlplane.errors import StaleEpochError
from controlplane.store.connect import Database, Row


@dataclass(frozen=True, slots=True)
class Holder:
    """A process, so exactly that a successor on the same host can make sure it is gone."""

    host: str
    boot_id: str
    pid: int
    start_time: int
    """Field 22 of /proc/<pid>/stat: clock ticks after boot."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease as it is in the table."""

    name: str
    holder: Holder
    epoch: int
    ttl_s: float
    remaining_s: float = 0.0
    """Until it expires, when it was read; negative when it has."""
    expires_at_s: float = 0.0
    """When that is, by the database's clock, since 1970: another time after each renewal."""


_LOCK_SQL: Final = "SELECT 1 FROM counter FOR UPDATE"
"""Before the lease is read or changed: the writer takes it first too, so a batch that saw the old
epoch has committed by then, and one that starts later sees the new one; and two that wait for each
other would be a deadlock."""
_READ_SQL: Final = """
SELECT name, holder, epoch, ttl_s,
    extract(epoch FROM expires_at - clock_timestamp())::float8 AS remaining_s,
    extract(epoch FROM expires_at)::float8 AS expires_at_s
FROM leases WHERE name = $1
"""
_TAKE_SQL: Final = """
WITH former AS (
    SELECT max(epoch) AS epoch FROM leases WHERE name = $1
), next AS (
    UPDATE counter SET epoch = counter.epoch + 1,
        epochs = array_append(array_remove(epochs, former.epoch), counter.epoch + 1)
    FROM former RETURNING counter.epoch
)
INSERT INTO leases (name, holder, epoch, ttl_s, expires_at)
SELECT $1, $2, epoch, $3, clock_timestamp() + make_interval(secs => $3) FROM next
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, epoch = excluded.epoch,
    ttl_s = excluded.ttl_s, expires_at = excluded.expires_at
"""
# with the holder: after a failover that lost a lease, its epoch may be given to another
_RELEASE_SQL: Final = """
WITH gone AS (
    DELETE FROM leases WHERE name = $1 AND epoch = $2 AND holder = $3 RETURNING epoch
)
UPDATE counter SET epochs = array_remove(epochs, gone.epoch) FROM gone
"""
_RENEW_SQL: Final = """
UPDATE leases SET ttl_s = $4, expires_at = clock_timestamp() + make_interval(secs => $4)
WHERE name = $1 AND epoch = $2 AND holder = $3
"""


@dataclass(frozen=True, slots=True)
class Leases:
    """Every method raises StoreUnavailableError when PostgreSQL is away."""

    database: Database

    @asynccontextmanager
    async def own(self) -> AsyncIterator["Leases"]:
        """The same over a connection of their own, for another event loop."""
        database = Database(self.database.dsn, readers=1, purpose="lease")
        try:
            yield Leases(database)
        finally:
            database.close()

    async def try_acquire(
        self, name: str, holder: Holder, ttl_s: float, *, replacing: int | None = None
    ) -> Lease | None:
        """Take the lease if it is free, expired, already this holder's, or at epoch `replacing`
        (whose holder the caller knows to be dead). None: somebody else has it."""
        async with self.database.reading("cannot take the lease") as conn, conn.transaction():
            await conn.execute(_LOCK_SQL)
            row = await conn.fetchrow(_READ_SQL, name)
            found = _lease(row) if row is not None else None
            if found is not None and found.holder == holder and found.remaining_s > 0:
                await conn.execute(_RENEW_SQL, name, found.epoch, _json(holder), ttl_s)
            elif found is None or found.remaining_s <= 0 or found.epoch == replacing:
                await conn.execute(_TAKE_SQL, name, _json(holder), ttl_s)
            else:
                return None
            row = await conn.fetchrow(_READ_SQL, name)
            assert row is not None
            return _lease(row)

    async def renew(self, lease: Lease) -> Lease:
        """Move its expiry; raises StaleEpochError when the lease is somebody else's by now."""
        async with self.database.reading("cannot renew the lease") as conn:
            mine = (lease.name, lease.epoch, _json(lease.holder))
            done = await conn.execute(_RENEW_SQL, *mine, lease.ttl_s)
            if done != "UPDATE 1":
                raise StaleEpochError(f"cannot renew lease '{lease.name}': another has taken it")
        return Lease(lease.name, lease.holder, lease.epoch, lease.ttl_s, lease.ttl_s)

    async def release(self, lease: Lease) -> None:
        """Give it up: its epoch is over at once. No effect if somebody else has it."""
        async with (
            self.database.reading("cannot release the lease") as conn,
            conn.transaction(),
        ):
            await conn.execute(_LOCK_SQL)
            await conn.execute(_RELEASE_SQL, lease.name, lease.epoch, _json(lease.holder))

    async def current(self, name: str) -> Lease | None:
        """Who has it, expired or not; None if nobody ever had, or it was released."""
        async with self.database.reading("cannot read the lease") as conn:
            row = await conn.fetchrow(_READ_SQL, name)
        return _lease(row) if row is not None else None


def _json(holder: Holder) -> str:
    return orjson.dumps(asdict(holder)).decode()


def _lease(row: Row) -> Lease:
    holder = Holder(**orjson.loads(row["holder"]))
    until = (row["remaining_s"], row["expires_at_s"])
    return Lease(row["name"], holder, row["epoch"], row["ttl_s"], *until)
