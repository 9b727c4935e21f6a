"""Where the wrapped keys of Secrets are kept (secrets.ObjectKeys).

A key is durable before anything is sealed with it, and goes in the transaction that deletes its
record (writer.py); a key whose record never came is swept by compaction.
"""

from dataclasses import dataclass

from controlplane.store.connect import Database


@dataclass(frozen=True, slots=True)
class StoredKeys:
    """Implements secrets.ObjectKeys on the table object_keys."""

    database: Database

    async def get(self, uid: str, /) -> bytes | None:
        """The wrapped key, or None if there is none (any more)."""
        async with self.database.reading("cannot read a Secret's key") as conn:
            found: bytes | None = await conn.fetchval(
                "SELECT wrapped FROM object_keys WHERE uid = $1", uid
            )
        return found

    async def put(self, uid: str, wrapped: bytes, /) -> bytes:
        """Keep it unless there is one already; returns the one that is kept."""
        async with self.database.reading("cannot keep a Secret's key") as conn:
            kept: bytes | None = await conn.fetchval(
                """
                WITH made AS (
                    INSERT INTO object_keys (uid, wrapped) VALUES ($1, $2)
                    ON CONFLICT DO NOTHING RETURNING wrapped
                )
                SELECT wrapped FROM made UNION ALL
                SELECT wrapped FROM object_keys WHERE uid = $1
                """,
                uid,
                wrapped,
            )
            if kept is None:  # made by another since this statement's snapshot
                kept = await conn.fetchval("SELECT wrapped FROM object_keys WHERE uid = $1", uid)
        assert kept is not None
        return kept

    async def delete(self, uid: str, /) -> None:
        """Destroy it."""
        async with self.database.reading("cannot destroy a Secret's key") as conn:
            await conn.execute("DELETE FROM object_keys WHERE uid = $1", uid)

    async def any(self) -> bool:
        """True once anything was sealed: from then on the master key must not be made anew."""
        async with self.database.reading("cannot read the Secrets' keys") as conn:
            found: bool = await conn.fetchval("SELECT EXISTS (SELECT FROM object_keys)")
        return found
