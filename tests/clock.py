"""A clock that moves only when a test says so."""

import asyncio
import heapq
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class ManualClock:
    """Implements controlplane.clock.Clock; sleepers wake in order as `advance` passes them."""

    elapsed_s: float = 0.0
    _sleepers: list[tuple[float, int, "asyncio.Future[None]"]] = field(default_factory=list)
    _count: int = 0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.elapsed_s)

    def monotonic(self) -> float:
        return self.elapsed_s

    async def sleep(self, seconds: float, /) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._sleepers, (self.elapsed_s + seconds, self._count, waiter))
        await waiter

    async def advance(self, seconds: float) -> None:
        """Let so much time pass: each sleeper wakes at its own moment and runs until it waits."""
        await settle()
        until = self.elapsed_s + seconds
        while self._sleepers and self._sleepers[0][0] <= until:
            moment, _, waiter = heapq.heappop(self._sleepers)
            self.elapsed_s = max(self.elapsed_s, moment)
            if not waiter.done():
                waiter.set_result(None)
            await settle()
        self.elapsed_s = until


async def settle() -> None:
    """Let every task run until it waits for something outside the loop."""
    for _ in range(20):
        await asyncio.sleep(0)
