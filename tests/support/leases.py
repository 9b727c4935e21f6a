"""Leases in memory, on the loop's time; the real ones are in the store."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace

from controlplane.errors import StaleEpochError, StoreUnavailableError
from controlplane.store.leases import Holder, Lease
from tests.support.virtual import LoopClock


@dataclass(slots=True)
class FakeLeases:
    """Implements LeasesPort in memory, on the loop's time, or ahead of it."""

    lease: Lease | None = None
    expires_s: float = 0.0
    epoch: int = 0
    away: bool = False
    latency_s: float = 0.0
    """Before each call has its effect."""
    ahead_s: float = 0.0
    """Of its clock, against what has passed in truth."""
    calls: Counter[str] = field(default_factory=Counter)

    def _now_s(self) -> float:
        return LoopClock().monotonic() + self.ahead_s

    async def _asked(self, verb: str) -> None:
        self.calls[verb] += 1
        await asyncio.sleep(self.latency_s)
        if self.away:
            raise StoreUnavailableError("cannot reach the store: refused")

    async def try_acquire(
        self, name: str, holder: Holder, ttl_s: float, *, replacing: int | None = None
    ) -> Lease | None:
        await self._asked("try_acquire")
        now = self._now_s()
        held = self.lease is not None and self.expires_s > now
        if held and self.lease is not None and self.lease.epoch != replacing:
            return None
        self.epoch += 1
        self.lease = Lease(name, holder, self.epoch, ttl_s, ttl_s)
        self.expires_s = now + ttl_s
        return self.lease

    async def renew(self, lease: Lease, /) -> Lease:
        await self._asked("renew")
        if self.lease is None or self.lease.epoch != lease.epoch:
            raise StaleEpochError("cannot renew: another has it")
        self.expires_s = self._now_s() + lease.ttl_s
        return lease

    async def release(self, lease: Lease, /) -> None:
        await self._asked("release")
        if self.lease is not None and self.lease.epoch == lease.epoch:
            self.lease = None

    async def current(self, name: str, /) -> Lease | None:
        await self._asked("current")
        if self.lease is None:
            return None
        remaining_s = self.expires_s - self._now_s()
        return replace(self.lease, remaining_s=remaining_s, expires_at_s=self.expires_s)
