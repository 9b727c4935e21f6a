"""What may take long is done on a thread: others get their turns meanwhile.

Python switches threads every 5 ms, so the loop goes on, if slower; a single C call still holds it.
For work on plain values only: the watch cache may be asked for a record, and not for more.
"""

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

SLOW_BYTES: Final = 32 * 1024
"""YAML of this size takes 3 ms to read, and a record of it 2 ms to be pruned, judged and given its
owners: ten times what going to a thread costs."""

_T = TypeVar("_T")


async def in_turns(size_bytes: int, work: Callable[[], _T]) -> _T:
    """Its result; `size_bytes` is of what it works on."""
    if size_bytes >= SLOW_BYTES:
        return await asyncio.to_thread(work)
    return work()
