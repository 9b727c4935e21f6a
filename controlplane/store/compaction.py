"""What the log forgets, and when: three retentions, and two sweeps.

After the watch window only the change that made each generation keeps its body; after the history
retention not even that; after the audit retention the line itself goes, and the chain starts
later. Keys whose Secret never came, and expired tokens, go too. Everything by the database's
clock, in small steps; of several processes one at a time does it.
"""

from dataclasses import dataclass
from itertools import count
from typing import Final

import asyncpg
import structlog

from controlplane.clock import Clock
from controlplane.errors import StoreUnavailableError
from controlplane.store.connect import Connection, Database

_log = structlog.get_logger(__name__)

_LOCK: Final = 0x434F4D50
"""Any constant: the advisory lock that means "somebody is compacting"."""
_STEP: Final = 2000
"""Rows a transaction may touch, so that none holds anything for long."""
_DEEP_EVERY: Final = 24
"""Turns between looks at the whole log: two hours, for retentions counted in days."""

# from the newest backwards: it stops at the first change older than the window
_HORIZON_SQL: Final = """
SELECT revision FROM changes WHERE at < now() - make_interval(secs => $1)
ORDER BY revision DESC LIMIT 1
"""
_DROP_BODIES_SQL: Final = """
UPDATE changes c SET body = NULL, managed_fields = NULL
FROM changes p WHERE c.revision > $1 AND c.revision <= $2 AND c.body IS NOT NULL
AND p.revision = c.previous AND p.generation = c.generation
"""
_DROP_VERSIONS_SQL: Final = """
UPDATE changes c SET body = NULL, managed_fields = NULL
WHERE c.revision > $1 AND c.revision <= $2 AND c.body IS NOT NULL
AND c.at < now() - make_interval(days => $3)
AND NOT EXISTS (
    SELECT FROM objects o WHERE o.kind = c.kind AND o.namespace = c.namespace
    AND o.name = c.name AND o.uid = c.uid AND o.generation - c.generation < $4
)
"""
_TRIM_SQL: Final = """
WITH old AS (
    SELECT revision, hash FROM changes
    WHERE revision > (SELECT anchor FROM counter) AND revision <= $2
    ORDER BY revision LIMIT $3
), cut AS (
    SELECT revision, hash FROM old
    WHERE revision < coalesce(
        (SELECT min(revision) FROM changes JOIN old USING (revision)
         WHERE at >= now() - make_interval(days => $1)), 9223372036854775807)
    ORDER BY revision DESC LIMIT 1
), trimmed AS (
    DELETE FROM changes USING cut WHERE changes.revision <= cut.revision
)
UPDATE counter SET anchor = cut.revision, anchor_hash = cut.hash FROM cut
"""
_SWEEP_KEYS_SQL: Final = """
DELETE FROM object_keys k WHERE created_at < now() - interval '1 hour' AND uid <> 'backend'
AND NOT EXISTS (SELECT FROM objects o WHERE o.uid = k.uid)
"""


@dataclass(frozen=True, slots=True)
class Retention:
    """How long what is kept."""

    watch_window_s: float = 600.0
    """Changes younger than this can be read whole by a process that fell behind."""
    history_days: int = 30
    """Versions younger than this keep their object."""
    history_versions: int = 100
    """Of a record that lives, so many of the newest versions keep theirs, however old."""
    audit_days: int = 400
    """Who changed what, when: without the object. Then the line goes."""


@dataclass(frozen=True, slots=True)
class Compactor:
    """`run` as one background task."""

    database: Database
    clock: Clock
    retention: Retention = Retention()
    every_s: float = 300.0

    async def run(self) -> None:
        """Compact for ever; while PostgreSQL is away or refuses, later."""
        for turn in count():
            await self.clock.sleep(self.every_s)
            try:
                await self.once(deep=turn % _DEEP_EVERY == 0)
            except StoreUnavailableError:
                continue
            except asyncpg.PostgresError as exc:
                # read-only after a failover, or cancelled by its administrator: what serves goes on
                _log.warning("log_not_compacted", cause=str(exc))

    async def once(self, *, deep: bool = True) -> bool:
        """Do what is due; `deep` also looks at all that is older than the watch window. False
        if another process is at it."""
        async with self.database.reading("cannot compact the log") as conn:
            if not await conn.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
                return False
            try:
                await self._compact(conn, deep=deep)
            finally:
                await conn.execute("SELECT pg_advisory_unlock($1)", _LOCK)
        return True

    async def _compact(self, conn: Connection, *, deep: bool) -> None:
        keep = self.retention
        counter = await conn.fetchrow("SELECT anchor, compacted FROM counter")
        assert counter is not None
        horizon = await conn.fetchval(_HORIZON_SQL, keep.watch_window_s) or counter["compacted"]
        # before any body goes: who reads it knows that it must list again below this
        await conn.execute("UPDATE counter SET compacted = greatest(compacted, $1)", horizon)
        # a deep look also finds what one that was cut off has left
        since = counter["anchor"] if deep else counter["compacted"]
        await _stepwise(conn, _DROP_BODIES_SQL, since, horizon)
        if not deep:
            return
        versions = (keep.history_days, keep.history_versions)
        await _stepwise(conn, _DROP_VERSIONS_SQL, counter["anchor"], horizon, *versions)
        trimmed = "UPDATE 1"
        while trimmed == "UPDATE 1":
            trimmed = await conn.execute(_TRIM_SQL, keep.audit_days, horizon, _STEP)
        await conn.execute(_SWEEP_KEYS_SQL)
        await conn.execute("DELETE FROM tokens WHERE expires_at < now()")


async def _stepwise(conn: Connection, sql: str, after: int, upto: int, *rest: int) -> None:
    """In smaller steps where one takes too long: bodies may be large, and the disk busy; at the
    next look it would be the same again."""
    step = _STEP
    while after < upto:
        try:
            await conn.execute(sql, after, min(after + step, upto), *rest)
        except (TimeoutError, asyncpg.QueryCanceledError):
            if step == 1:
                raise
            step = max(1, step // 8)
        else:
            after += step
