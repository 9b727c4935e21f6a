"""Writers of one record take turns within this process.

A write whose client gave no version is read, change, store. Left to race, writers of a hot record
lose again and again (with sixteen, some lost five times in a row); in line, none does. Other
processes still race, and the store's own check stays what is right.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from controlplane.records import Key


@dataclass(slots=True)
class _Line:
    """Who waits for one record: a lock serves in the order of asking."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class Turns:
    """A line for each record that is being written; none is kept after that."""

    def __init__(self) -> None:
        self._lines: dict[Key, _Line] = {}

    @asynccontextmanager
    async def take(self, key: Key) -> AsyncIterator[None]:
        """Hold the record for the length of the block."""
        line = self._lines.setdefault(key, _Line())
        line.users += 1
        try:
            async with line.lock:
                yield
        finally:
            line.users -= 1
            if not line.users:
                del self._lines[key]

    def __len__(self) -> int:
        return len(self._lines)
