"""Probing again and again, so that a record is woken when its server's health changes.

It only wakes: what the health means is for the record's own pass to observe afresh. One small
timer task a target; an idle one costs one connection per interval.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from controlplane.clock import Clock
from drivers.containers import Owner, OwnerChanged
from drivers.probe import Health, Probe, Target

FAILURES: Final = 3
"""So many in a row make a server unhealthy (Kubernetes' failureThreshold); one success heals."""
CONFIRM_S: Final = 1.0
"""Pause between these: a dead server is told after interval + 2 s."""
FIRST_RETRY_S: Final = 0.1
"""First pause of an unhealthy target: it probably starts (a Redis takes 1 s, a PostgreSQL 2 s)."""
RETRY_GROWTH: Final = 1.5


class Prober(Protocol):
    """Watches servers' health on behalf of records."""

    def ensure_watch(
        self, owner: Owner, seen: Mapping[Target, bool], /, *, interval_s: float, timeout_s: float
    ) -> None:
        """Probe these targets from now on, in place of any earlier ones of this owner. `seen`
        tells what the caller just found: only a change from it is an event."""
        ...

    def forget(self, owner_uid: str, /) -> None:
        """Stop probing for this owner. None: success."""
        ...

    def events(self) -> AsyncIterator[OwnerChanged]:
        """Endless; an owner waiting to be told appears once."""
        ...

    async def run(self) -> None:
        """Probe until cancelled."""
        ...


@dataclass(slots=True)
class _Watched:
    """One target: what was last known of it, and the task that keeps asking."""

    owner: Owner
    healthy: bool
    interval_s: float
    timeout_s: float
    failures: int = 0
    retry_s: float = FIRST_RETRY_S
    task: "asyncio.Task[None] | None" = None

    def note(self, health: Health) -> bool:
        """Take in one result; True if the health changed by it."""
        if health.ok:
            self.failures = 0
            self.retry_s = FIRST_RETRY_S
            changed, self.healthy = not self.healthy, True
            return changed
        self.failures += 1
        changed = self.healthy and self.failures >= FAILURES
        self.healthy = self.healthy and not changed
        return changed

    def next_delay_s(self) -> float:
        """Interval while healthy, quickly while doubtful, ever slower while unhealthy."""
        if self.healthy:
            return self.interval_s if self.failures == 0 else min(CONFIRM_S, self.interval_s)
        delay_s = min(self.retry_s, self.interval_s)
        self.retry_s = delay_s * RETRY_GROWTH
        return delay_s


@dataclass(slots=True)
class IntervalProber:
    """The prober on a clock; `run` must be going for anything to be probed."""

    probe: Probe
    clock: Clock
    _watched: dict[str, dict[Target, _Watched]] = field(default_factory=dict)
    _changed: dict[Owner, str] = field(default_factory=dict)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: asyncio.TaskGroup | None = None

    def ensure_watch(
        self, owner: Owner, seen: Mapping[Target, bool], /, *, interval_s: float, timeout_s: float
    ) -> None:
        current = self._watched.setdefault(owner.uid, {})
        for target in [t for t in current if t not in seen]:
            _stop(current.pop(target))
        for target, healthy in seen.items():
            kept = current.get(target)
            if kept and (kept.interval_s, kept.timeout_s) == (interval_s, timeout_s):
                kept.healthy = healthy
                continue
            if kept:
                _stop(kept)
            current[target] = _Watched(owner, healthy, interval_s, timeout_s)
            self._start(target, current[target])
        if not current:
            del self._watched[owner.uid]

    def forget(self, owner_uid: str, /) -> None:
        for watched in self._watched.pop(owner_uid, {}).values():
            _stop(watched)

    async def events(self) -> AsyncIterator[OwnerChanged]:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._changed:
                owner = next(iter(self._changed))
                yield OwnerChanged(owner, self._changed.pop(owner))

    async def run(self) -> None:
        async with asyncio.TaskGroup() as self._tasks:
            for targets in self._watched.values():
                for target, watched in targets.items():
                    self._start(target, watched)
            # Holds the group open while it has no target.
            await asyncio.Event().wait()

    def _start(self, target: Target, watched: _Watched) -> None:
        if self._tasks is not None:
            watched.task = self._tasks.create_task(self._keep_asking(target, watched))

    async def _keep_asking(self, target: Target, watched: _Watched) -> None:
        while True:
            await self.clock.sleep(watched.next_delay_s())
            health = await self.probe.observe(target, timeout_s=watched.timeout_s)
            if watched.note(health):
                self._changed[watched.owner] = f"probe {health.reason}"
                self._wake.set()


def _stop(watched: _Watched) -> None:
    if watched.task is not None:
        watched.task.cancel()
