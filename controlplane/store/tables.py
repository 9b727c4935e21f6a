"""The schema as sqlmodel tables: what the migrations must add up to (a test compares them).

Only the migrations and that test import this: rows never leave the store, the hot path is
asyncpg, and a serving process loads neither sqlmodel nor Alembic.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    DateTime,
    Double,
    Index,
    LargeBinary,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

METADATA = SQLModel.metadata


def _moment(*, default_now: bool = False) -> Any:
    default = text("now()") if default_now else None
    return Column(DateTime(timezone=True), nullable=False, server_default=default)


def _identity(*, key: bool = False) -> Any:
    return Column(Text(collation="C"), primary_key=key, nullable=False)


class Counter(SQLModel, table=True):
    """One row: its lock orders every batch of every process."""

    __tablename__ = "counter"
    id: int = Field(sa_column=Column("id", primary_key=True))
    revision: int = Field(sa_type=BigInteger)
    head: bytes
    """Hash of the newest change."""
    compacted: int = Field(sa_type=BigInteger)
    """Changes up to here may have lost their bodies: readers behind it list again."""
    anchor: int = Field(sa_type=BigInteger)
    """Changes up to here are gone; the chain starts from anchor_hash."""
    anchor_hash: bytes
    epoch: int = Field(sa_type=BigInteger)
    """The newest epoch given to any lease."""
    epochs: list[int] = Field(sa_column=Column(ARRAY(BigInteger), nullable=False))
    """The epochs that are not over."""


class ObjectRow(SQLModel, table=True):
    """A current record."""

    __tablename__ = "objects"
    kind: str = Field(sa_column=_identity(key=True))
    namespace: str = Field(sa_column=_identity(key=True))
    name: str = Field(sa_column=_identity(key=True))
    uid: str = Field(sa_column=_identity())
    revision: int = Field(sa_type=BigInteger)
    generation: int = Field(sa_type=BigInteger)
    deleting: bool
    body: bytes
    managed_fields: bytes


class ChangeRow(SQLModel, table=True):
    """A committed change; append-only but for bodies, which retention drops."""

    __tablename__ = "changes"
    __table_args__ = (
        Index(
            "changes_deletes",
            *("kind", "namespace", "name", "revision"),
            postgresql_where=text("verb = 'delete'"),
        ),
    )
    revision: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    at: datetime = Field(sa_column=_moment())
    verb: str = Field(sa_column=_identity())
    actor: str = Field(sa_type=Text)
    manager: str = Field(sa_type=Text)
    uid: str = Field(sa_column=_identity())
    kind: str = Field(sa_column=_identity())
    namespace: str = Field(sa_column=_identity())
    name: str = Field(sa_column=_identity())
    generation: int = Field(sa_type=BigInteger)
    body: bytes | None
    body_sha256: bytes
    managed_fields: bytes | None
    hash: bytes
    batch: UUID
    epoch: int | None = Field(sa_type=BigInteger)
    previous: int | None = Field(sa_type=BigInteger)
    """The record's change before this one; None for a create."""


class ObjectKeyRow(SQLModel, table=True):
    """A Secret's own key, wrapped by the master key; destroyed with the Secret."""

    __tablename__ = "object_keys"
    uid: str = Field(sa_column=_identity(key=True))
    wrapped: bytes
    created_at: datetime = Field(sa_column=_moment(default_now=True))


class LeaseRow(SQLModel, table=True):
    """Who leads, and its epoch."""

    __tablename__ = "leases"
    name: str = Field(sa_column=_identity(key=True))
    holder: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    epoch: int = Field(sa_type=BigInteger)
    ttl_s: float = Field(sa_type=Double)
    expires_at: datetime = Field(sa_column=_moment())


class TokenRow(SQLModel, table=True):
    """A bearer token, by its hash alone."""

    __tablename__ = "tokens"
    hash: bytes = Field(sa_column=Column(LargeBinary, primary_key=True))
    username: str = Field(sa_type=Text)
    groups: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False))
    created_at: datetime = Field(sa_column=_moment(default_now=True))
    expires_at: datetime = Field(sa_column=_moment())
