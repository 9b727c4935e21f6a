"""The work queue of one kind: keys only, de-duplicated, delayed, by priority, one worker a key.

Modelled on client-go's workqueue (dirty and processing sets: a key that changes while it is
worked on runs again after), with priorities and per-key backoff. It knows no record and no
reconciler.
"""

import asyncio
import heapq
import math
import random
from collections import deque
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from controlplane.clock import Clock
from controlplane.records import Key

BASE_S: Final = 0.5
CAP_S: Final = 300.0
"""Backoff of the n-th failure in a row: random up to BASE_S x 2^n, at most CAP_S."""
EVENT_FLOOR_S: Final = 10.0
"""A key in backoff that something happened to runs earlier than its backoff, but no sooner after
its last failure than BASE_S x 2^n capped here: its own failed steps are events, too."""
_FLOORED: Final = 5
"""So many failures in a row, and BASE_S x 2^n is EVENT_FLOOR_S."""
FORGOTTEN_S: Final = 3 * CAP_S
"""A failure longer ago than this counts no more, even if its key has only waited since: longer
than the longest backoff and a pass that took all its time to fail again."""
IMMEDIATELY_S: Final = 0.0
TOGETHER_S: Final = 1.0
FAR_OFF_S: Final = 100.0
"""Looks that are further off than this wait for the next whole TOGETHER_S, so that those of many
records come together: with 2,000 records looked at every 150 s, a look took 0.8 ms of CPU instead
of 1.7, all that an idle process does included."""


class Priority(IntEnum):
    """Lower runs first."""

    USER = 0
    DRIFT = 1
    DEPENDENCY = 2
    RESYNC = 3


@dataclass(frozen=True, slots=True)
class Item:
    """One key to work on, and how long it waited since it was due."""

    key: Key
    priority: Priority
    waited_s: float


@dataclass(slots=True)
class _Failing:
    count: int
    last_s: float


class Queue:
    """All methods but `get` and `run` return at once; none may be called from another thread."""

    def __init__(self, clock: Clock, rng: random.Random) -> None:
        self._clock = clock
        self._rng = rng
        self._dirty: dict[Key, tuple[Priority, float]] = {}
        self._heap: list[tuple[Priority, int, Key]] = []
        self._processing: set[Key] = set()
        self._due: dict[Key, tuple[float, Priority]] = {}
        self._timers: list[tuple[float, int, Key]] = []
        self._failing: dict[Key, _Failing] = {}
        self._count = 0
        self._closed = False
        self._getters: deque[asyncio.Future[None]] = deque()
        self._sooner = asyncio.Event()

    # --- in ---

    def add(self, key: Key, priority: Priority) -> None:
        """Run `key` as soon as a worker is free; an edit by a user forgets its backoff."""
        if priority is Priority.USER:
            self._failing.pop(key, None)
        failing = self._failing.get(key)
        if failing is None or priority is Priority.USER:
            self._ready(key, priority)
            return
        earliest = failing.last_s + min(_bound(failing.count), EVENT_FLOOR_S)
        self._schedule(key, earliest, priority)

    def add_after(self, key: Key, delay_s: float, priority: Priority) -> None:
        """Run `key` in `delay_s`, or earlier if something happens before. The look that each
        record gets now and then may be up to TOGETHER_S later."""
        if delay_s <= IMMEDIATELY_S:
            self._ready(key, priority)
            return
        due_s = self._clock.monotonic() + delay_s
        if priority is Priority.RESYNC and delay_s > FAR_OFF_S:
            due_s = math.ceil(due_s / TOGETHER_S) * TOGETHER_S
        self._schedule(key, due_s, priority)

    def retry(
        self,
        key: Key,
        priority: Priority,
        *,
        at_least_s: float = 0.0,
        at_most_s: float = CAP_S,
    ) -> float:
        """Run `key` again after its next backoff; returns the delay in seconds."""
        count = self._counted(key, 64)
        # full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
        jitter_s = self._rng.uniform(0.0, _bound(count))
        delay_s = max(at_least_s, min(jitter_s, at_most_s))
        self._schedule(key, self._clock.monotonic() + delay_s, priority)
        return delay_s

    def failed(self, key: Key) -> None:
        """Nothing runs `key` again but what happens to it, as early as in backoff. Counted only as
        far as that takes: what fails next may pass by itself, and then doesn't wait for minutes."""
        self._counted(key, _FLOORED)

    def forget(self, key: Key) -> None:
        """It converged, or it is gone: the next failure is its first."""
        self._failing.pop(key, None)

    def drop(self, key: Key) -> None:
        """It is gone for good: no timer, no backoff. Work already due still runs once."""
        self.forget(key)
        self._due.pop(key, None)

    # --- out ---

    async def get(self) -> Item | None:
        """The next key; it is locked until `done`. None once the queue is closed."""
        while not self._closed and (item := self._pop()) is None:
            getter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._getters.append(getter)
            try:
                await getter
            except asyncio.CancelledError:
                # a wake-up that this worker can't use any more belongs to the next one
                if getter.done() and not getter.cancelled():
                    self._wake()
                raise
        return None if self._closed else item

    def close(self) -> None:
        """No key is handed out any more; workers end when they have finished theirs."""
        self._closed = True
        while self._getters:
            self._wake()

    def done(self, key: Key) -> None:
        """Unlock `key`; if it changed meanwhile it is due at once."""
        self._processing.discard(key)
        if key in self._dirty:
            self._push(key, self._dirty[key][0])

    # --- what is ---

    def failures(self, key: Key) -> int:
        failing = self._failing.get(key)
        return 0 if failing is None else failing.count

    @property
    def depth(self) -> int:
        """Keys due and not yet taken."""
        return len(self._dirty)

    @property
    def idle(self) -> bool:
        return not self._dirty and not self._processing

    def due_in(self, key: Key) -> float | None:
        """Seconds until its timer runs it; None: it has none."""
        due = self._due.get(key)
        return None if due is None else max(0.0, due[0] - self._clock.monotonic())

    def _counted(self, key: Key, at_most: int) -> int:
        """One failure more, now; returns how many in a row that are."""
        now = self._clock.monotonic()
        before = self._failing.get(key)
        if before is not None and now - before.last_s > FORGOTTEN_S:
            self.forget(key)
        failures = self.failures(key)
        count = max(failures, min(failures + 1, at_most))
        self._failing[key] = _Failing(count, now)
        return count

    # --- timers ---

    async def run(self) -> None:
        """Move keys whose time has come to the ready ones, for ever."""
        while True:
            self._sooner.clear()
            delay_s = self._release()
            try:
                async with asyncio.timeout(delay_s):
                    await self._sooner.wait()
            except TimeoutError:
                continue

    def _release(self) -> float | None:
        """Run what is due; returns the seconds until the next is, None for never."""
        now = self._clock.monotonic()
        while self._timers:
            due_s, _, key = self._timers[0]
            current = self._due.get(key)
            if current is None or current[0] != due_s:
                heapq.heappop(self._timers)
                continue
            if due_s > now:
                return due_s - now
            heapq.heappop(self._timers)
            del self._due[key]
            self._ready(key, current[1])
        return None

    def _schedule(self, key: Key, due_s: float, priority: Priority) -> None:
        current = self._due.get(key)
        if current is not None and current[0] <= due_s:
            return
        self._due[key] = (due_s, priority)
        self._count += 1
        heapq.heappush(self._timers, (due_s, self._count, key))
        self._sooner.set()

    def _ready(self, key: Key, priority: Priority) -> None:
        current = self._dirty.get(key)
        if current is not None and current[0] <= priority:
            return
        since_s = self._clock.monotonic() if current is None else current[1]
        self._dirty[key] = (priority, since_s)
        if key not in self._processing:
            self._push(key, priority)

    def _push(self, key: Key, priority: Priority) -> None:
        self._count += 1
        heapq.heappush(self._heap, (priority, self._count, key))
        self._wake()

    def _pop(self) -> Item | None:
        while self._heap:
            priority, _, key = heapq.heappop(self._heap)
            dirty = self._dirty.get(key)
            if dirty is None or dirty[0] != priority or key in self._processing:
                continue  # superseded by an entry of higher priority
            del self._dirty[key]
            self._processing.add(key)
            self._due.pop(key, None)
            return Item(key, priority, self._clock.monotonic() - dirty[1])
        return None

    def _wake(self) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                return


def _bound(failures: int) -> float:
    return float(min(CAP_S, BASE_S * 2 ** min(failures, 32)))
