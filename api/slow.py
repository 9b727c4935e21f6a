"""What may take long is done on a thread: others get their turns meanwhile.

Python switches threads every 5 ms, so the loop goes on, if slower; a single C call still holds it.
For work on plain values only: the watch cache may be asked for a record, and not for more. Loops
over records leave others their turns by themselves (controlplane/stretch.py).
"""

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

from api.served import Served

SLOW_BYTES: Final = 32 * 1024
"""YAML of this size takes 3 ms to read: ten times what going to a thread costs."""

_T = TypeVar("_T")


async def in_turns(size_bytes: int, work: Callable[[], _T]) -> _T:
    """Its result; `size_bytes` is of what it works on."""
    if size_bytes >= SLOW_BYTES:
        return await asyncio.to_thread(work)
    return work()


async def judged_in_turns(served: Served, size_bytes: int, work: Callable[[], _T]) -> _T:
    """The result of what judges a record of that kind and size. The first one of a kind in a
    process waits for what its judging takes; others don't wait for it."""
    if served.cold:
        await asyncio.to_thread(lambda: served.prepared)
    if size_bytes >= served.info.slow_bytes:
        return await asyncio.to_thread(work)
    return work()
