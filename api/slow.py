"""What may take long is done on a thread, or in stretches: others get their turns meanwhile.

Python switches threads every 5 ms, so the loop goes on, if slower; a single C call still holds it.
For work on plain values only: the watch cache may be asked for a record, and not for more.
"""

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

from api.served import Served

SLOW_BYTES: Final = 32 * 1024
"""YAML of this size takes 3 ms to read: ten times what going to a thread costs."""

STRETCH_RECORDS: Final = 200
"""Records between two turns of others: 5 ms where each becomes a row of a Table (23 us)."""
STRETCH_BYTES: Final = 2**20
"""And bytes of their bodies: parsing so many takes 5 ms."""

_T = TypeVar("_T")


async def in_turns(size_bytes: int, work: Callable[[], _T]) -> _T:
    """Its result; `size_bytes` is of what it works on."""
    if size_bytes >= SLOW_BYTES:
        return await asyncio.to_thread(work)
    return work()


async def judged(served: Served, size_bytes: int, work: Callable[[], _T]) -> _T:
    """The result of what judges a record of that kind and size. The first one of a kind in a
    process waits for what its judging takes; others don't wait for it."""
    if served.cold:
        await asyncio.to_thread(lambda: served.prepared)
    if size_bytes >= served.info.slow_bytes:
        return await asyncio.to_thread(work)
    return work()


class Stretch:
    """What a loop over records has worked on since others had their turn; `lighter` is how many
    times less work a small record is than parsing it and making a row of it."""

    __slots__ = ("_bytes", "_lighter", "_records")

    def __init__(self, lighter: int = 1) -> None:
        self._records = self._bytes = 0
        self._lighter = lighter

    async def worked_on(self, size_bytes: int) -> None:
        """One record more, of that size: others get their turn when it has been enough."""
        self._records += 1
        self._bytes += size_bytes
        many = self._records >= STRETCH_RECORDS * self._lighter
        if many or self._bytes >= STRETCH_BYTES:
            self._records = self._bytes = 0
            await asyncio.sleep(0)
