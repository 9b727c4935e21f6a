"""How much is read at once: what also a busy disk gives within a call's deadline.

A thousand rows are a few hundred kilobytes, or a gigabyte; a read that always takes longer than its
deadline is tried again for ever.
"""

from collections.abc import AsyncIterator
from typing import Final

from controlplane.store.connect import Connection, Row

READ_ROWS: Final = 1000
READ_BYTES: Final = 8 * 2**20
"""As much as the largest batch that is written (writer.py); a larger row is read by itself."""
_LARGE_BYTES: Final = READ_BYTES // READ_ROWS
_STEPS: Final = ((0, _LARGE_BYTES, READ_ROWS), (_LARGE_BYTES + 1, 2**31 - 1, 8))
"""Sizes from and to, and how many rows of such there are in a portion."""

OF_SIZE: Final = "octet_length(o.body) + octet_length(o.managed_fields) BETWEEN $1 AND $2"
"""For `of_every_size`. PostgreSQL has the length without reading the value."""


def log_sql(columns: str) -> str:
    """The next changes after $1, with that one before them, so that it can be compared; its body
    is not read."""
    return f"""
SELECT {columns} FROM (
    SELECT revision, at, verb, actor, manager, uid, kind, namespace, name, generation,
        CASE WHEN revision > $1 THEN body END AS body, body_sha256,
        CASE WHEN revision > $1 THEN managed_fields END AS managed_fields, hash, epoch, previous,
        sum(octet_length(body) + octet_length(managed_fields)) FILTER (WHERE revision > $1) OVER (
            ORDER BY revision ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS before
    FROM changes WHERE revision >= $1 ORDER BY revision LIMIT {READ_ROWS + 1}
) c WHERE coalesce(before, 0) < {READ_BYTES} ORDER BY revision
"""  # noqa: S608  # constants


async def of_every_size(conn: Connection, sql: str) -> AsyncIterator[Row]:
    """All rows of a query of `objects o` with OF_SIZE; within a transaction, small ones first."""
    for least, most, rows in _STEPS:
        async for row in conn.cursor(sql, least, most, prefetch=rows):
            yield row
