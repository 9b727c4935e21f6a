"""Bearer tokens by their SHA-256 alone: who they speak for, and until when.

What a token may do is access.py's business; making and hashing one is its caller's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from controlplane.store.connect import Database


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A live token."""

    user: str
    groups: tuple[str, ...]
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A live token as a list shows it."""

    id: str
    """The first 12 digits of its hash: enough to tell tokens apart, and no help in guessing one."""
    user: str
    groups: tuple[str, ...]
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Tokens:
    """Every method raises StoreUnavailableError when PostgreSQL is away."""

    database: Database

    async def put(
        self, token_hash: bytes, user: str, groups: Sequence[str], expires_at: datetime
    ) -> None:
        """Keep a token, or move the expiry of one that is known."""
        async with self.database.reading("cannot store the token") as conn:
            await conn.execute(
                """
                INSERT INTO tokens (hash, username, groups, expires_at) VALUES ($1, $2, $3, $4)
                ON CONFLICT (hash) DO UPDATE SET username = excluded.username,
                    groups = excluded.groups, expires_at = excluded.expires_at
                """,
                token_hash,
                user,
                list(groups),
                expires_at,
            )

    async def find(self, token_hash: bytes) -> TokenRow | None:
        """The token, unless it has expired by the database's clock."""
        async with self.database.reading("cannot look up the token") as conn:
            row = await conn.fetchrow(
                "SELECT username, groups, expires_at FROM tokens "
                "WHERE hash = $1 AND expires_at > clock_timestamp()",
                token_hash,
            )
        return TokenRow(row["username"], tuple(row["groups"]), row["expires_at"]) if row else None

    async def drop(self, token_hash: bytes) -> None:
        """Revoke it. Absent: success."""
        async with self.database.reading("cannot revoke the token") as conn:
            await conn.execute("DELETE FROM tokens WHERE hash = $1", token_hash)

    async def issued(self) -> tuple[IssuedToken, ...]:
        """All that have not expired, the oldest first."""
        async with self.database.reading("cannot list tokens") as conn:
            rows = await conn.fetch(
                "SELECT left(encode(hash, 'hex'), 12) AS id, username, groups, created_at, "
                "expires_at FROM tokens WHERE expires_at > clock_timestamp() "
                "ORDER BY created_at, hash"
            )
        return tuple(
            IssuedToken(
                row["id"],
                row["username"],
                tuple(row["groups"]),
                row["created_at"],
                row["expires_at"],
            )
            for row in rows
        )

    async def drop_issued(self, token_id: str) -> str | None:
        """Revoke the token of that id; its user, or None if there is no such token."""
        async with self.database.reading("cannot revoke the token") as conn:
            user: str | None = await conn.fetchval(
                "DELETE FROM tokens WHERE left(encode(hash, 'hex'), 12) = $1 RETURNING username",
                token_id,
            )
        return user
