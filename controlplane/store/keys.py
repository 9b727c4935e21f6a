"""Where the wrapped keys of Secrets are kept (secrets.ObjectKeys).

A key is durable before anything is sealed with it, and goes in the transaction that deletes its
record (writer.py); a key whose record never came is swept by compaction.
"""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from controlplane.errors import StoreUnavailableError
from controlplane.store.connect import Database

BACKEND: Final = "backend"
"""Instead of a uid: the row that says where the keys are, while it isn't here. No record has such
a uid, and a process that knows nothing of it finds that something was sealed."""


class _Answer(NamedTuple):
    """What was read for one who asked."""

    wrapped: bytes | None
    given_up: bool = False
    """Whoever read it for all was stopped: ask again."""


class _Asked(NamedTuple):
    uid: str
    answer: asyncio.Future[_Answer]


@dataclass(frozen=True, slots=True)
class StoredKeys:
    """Implements secrets.ObjectKeys on the table object_keys."""

    database: Database
    _asked: list[_Asked] = field(default_factory=list, repr=False, compare=False)

    async def get(self, uid: str, /) -> bytes | None:
        """The wrapped key, or None if there is none (any more). All who ask at once share one
        read: else a list of Secrets is a round trip for each."""
        while True:
            asked = _Asked(uid, asyncio.get_running_loop().create_future())
            self._asked.append(asked)
            if len(self._asked) == 1:
                await self._answer_all()
            found = await asked.answer
            if not found.given_up:
                return found.wrapped

    async def _answer_all(self) -> None:
        """Whoever is the first to ask reads for all that ask in the same turn of the loop."""
        asked: Sequence[_Asked] = ()
        try:
            try:
                await asyncio.sleep(0)
            finally:
                asked = (*self._asked,)
                self._asked.clear()
            kept = await self._read([each.uid for each in asked])
            for uid, answer in asked:
                if not answer.done():
                    answer.set_result(_Answer(kept.get(uid)))
        except StoreUnavailableError as exc:
            for _, answer in asked:
                if not answer.done():
                    answer.set_exception(StoreUnavailableError(str(exc)))
        finally:
            for _, answer in asked:
                if not answer.done():
                    answer.set_result(_Answer(None, given_up=True))

    async def _read(self, uids: Sequence[str]) -> dict[str, bytes]:
        async with self.database.reading("cannot read a Secret's key") as conn:
            rows = await conn.fetch(
                "SELECT uid, wrapped FROM object_keys WHERE uid = ANY ($1::text[])", uids
            )
        return {row["uid"]: row["wrapped"] for row in rows}

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

    async def uids(self) -> tuple[str, ...]:
        """Of all keys that are here, sorted."""
        async with self.database.reading("cannot read the Secrets' keys") as conn:
            rows = await conn.fetch(
                "SELECT uid FROM object_keys WHERE uid <> $1 ORDER BY uid", BACKEND
            )
        return tuple(str(row["uid"]) for row in rows)

    async def backend(self) -> str:
        """Where the keys are kept: `embedded` (here), or as `set_backend` was told."""
        found = await self.get(BACKEND)
        return "embedded" if found is None else found.decode()

    async def set_backend(self, name: str, /) -> None:
        """From now on they are kept there."""
        async with self.database.reading("cannot switch the secret backend") as conn:
            if name == "embedded":
                await conn.execute("DELETE FROM object_keys WHERE uid = $1", BACKEND)
                return
            await conn.execute(
                """
                INSERT INTO object_keys (uid, wrapped) VALUES ($1, $2)
                ON CONFLICT (uid) DO UPDATE SET wrapped = excluded.wrapped
                """,
                BACKEND,
                name.encode(),
            )

    async def sealed_uids(self) -> frozenset[str]:
        """UIDs of all Secrets there are."""
        async with self.database.reading("cannot list the Secrets") as conn:
            rows = await conn.fetch("SELECT uid FROM objects WHERE kind = 'Secret'")
        return frozenset(str(row["uid"]) for row in rows)

    async def deleted_uids(self, among: Collection[str], /) -> frozenset[str]:
        """Those of them whose Secret's deletion is in the log of changes, restored with it."""
        async with self.database.reading("cannot read which Secrets were deleted") as conn:
            rows = await conn.fetch(
                "SELECT uid FROM changes "
                "WHERE verb = 'delete' AND kind = 'Secret' AND uid = ANY ($1::text[])",
                [*among],
            )
        return frozenset(str(row["uid"]) for row in rows)

    async def identity(self) -> str | None:
        """The uid of Namespace kube-system, as Kubernetes tells clusters apart: made once, at the
        first start of an agent, and nobody can delete it."""
        async with self.database.reading("cannot read the database's identity") as conn:
            uid: str | None = await conn.fetchval(
                "SELECT uid FROM objects "
                "WHERE kind = 'Namespace' AND namespace = '' AND name = 'kube-system'"
            )
        return uid
