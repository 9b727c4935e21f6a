"""Long loops over records in slices, so that the event loop serves everything else meanwhile.

At 10,000 records a loop over all of them that parses each is a second of CPU, and on a busy host
several by the clock: enough to lose the lease, and at each new start again.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Final, TypeVar

T = TypeVar("T")
SLICE: Final = 100
"""Records between two turns of the loop: about 10 ms where each is parsed into its model."""


async def in_slices(items: Iterable[T]) -> AsyncIterator[T]:
    """Each of `items`; everything else may run, and change them, after every SLICE of them."""
    for number, item in enumerate(items, 1):
        yield item
        if number % SLICE == 0:
            await asyncio.sleep(0)
