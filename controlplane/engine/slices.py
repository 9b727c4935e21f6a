"""Long loops over records in slices, so that the event loop serves everything else meanwhile.

At 10,000 records a loop over all of them that parses each is a second of CPU, and on a busy host
several by the clock: enough to lose the lease, and at each new start again.
"""

from collections.abc import AsyncIterator, Iterable
from typing import Final

from controlplane.records import Stored
from controlplane.stretch import Stretch

SLICE: Final = 100
"""Records between two turns of the loop: about 10 ms where each is parsed into its model."""


async def in_slices(items: Iterable[Stored]) -> AsyncIterator[Stored]:
    """Each of `items`; everything else may run, and change them, after every SLICE of them, or
    after fewer that are large."""
    stretch = Stretch(SLICE)
    for item in items:
        yield item
        await stretch.worked_on(len(item.body))
