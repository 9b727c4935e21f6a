"""Loops over records in stretches: everything else on the event loop gets its turn in between.

A loop that awaits only what is there already never lets others in: a Table of 10,000 rows held up
the API for 0.2 s, and what a watch had missed for as long.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final

from controlplane.records import Stored

STRETCH_RECORDS: Final = 200
"""Records between two turns of others: 5 ms where each becomes a row of a Table (23 us)."""
STRETCH_BYTES: Final = 2**20
"""And bytes of their bodies: parsing so many takes 5 ms."""


class Stretch:
    """What a loop has worked on since others had their turn; `records` is how many it may."""

    __slots__ = ("_bytes", "_done", "_records")

    def __init__(self, records: int = STRETCH_RECORDS) -> None:
        self._done = self._bytes = 0
        self._records = records

    async def worked_on(self, size_bytes: int) -> None:
        """One record more, of that size: others get their turn when it has been enough."""
        self._done += 1
        self._bytes += size_bytes
        if self._done >= self._records or self._bytes >= STRETCH_BYTES:
            self._done = self._bytes = 0
            await asyncio.sleep(0)


async def stretches(found: Sequence[Stored], records: int) -> AsyncIterator[Sequence[Stored]]:
    """`found`, so many at a time, or fewer that are large: for loops that do so little with each
    record that counting them one by one would be most of the work."""
    first = size = 0
    for end, stored in enumerate(found, start=1):
        size += len(stored.body)
        if end - first >= records or size >= STRETCH_BYTES:
            yield found[first:end]
            await asyncio.sleep(0)
            first, size = end, 0
    if first < len(found):
        yield found[first:]
