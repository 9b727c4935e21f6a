"""Circuit breakers, one for each driver, so that an outage costs one probe and not a thousand.

The engine knows drivers by the name a DriverUnavailableError carries. Which kinds use one is
learned, and so is which records: one name may stand for several servers (two S3 services, one
elsewhere), and one record alone may fail where all others succeed. So those that failed since
the breaker opened wait for one of them to succeed, whoever is next to ask. A record that didn't
fail is none of theirs until it does: it is tried, one at a time while nobody succeeds, and once
one does, they are held no longer. An outage costs the probes, and one call of each record in ten
minutes: that long is none kept by others that fail for ever.

Breakers for each server instead would not tell more: which server a record needs is known only
once it has asked.
"""

import random
from dataclasses import dataclass, field
from typing import Final

from controlplane.clock import Clock
from controlplane.records import Key

THRESHOLD: Final = 5
"""Failures in a row, no success between, that open it: one lost packet doesn't, an outage of a
busy driver does within its first second."""
FIRST_OPEN_S: Final = 1.0
"""Also between a failure and the next try of a record that didn't fail yet, and how long a turn
is kept for whoever is next."""
MAX_OPEN_S: Final = 30.0
"""Longest time between two probes: what a restored driver waits at most (an event stream that
comes back closes it at once)."""
ASKS_ANYWAY_S: Final = 600.0
"""One that failed and got no turn among the probes for so long asks as if it had not: many may fail
for ever on another server. It is what a look at a record at rest costs, too."""
EARLY_S: Final = 0.001
"""A timer for a moment may be due a rounding error before it."""


@dataclass(slots=True)
class _Turn:
    """One asks at a time, not before `from_s`."""

    from_s: float = 0.0
    asking: Key | None = None
    next: Key | None = None
    """Who comes back in time to ask; all others wait as long as their backoff is."""

    def is_for(self, key: Key, now_s: float) -> bool:
        since_s = now_s - self.from_s + EARLY_S
        if self.asking is not None or since_s < 0:
            return False
        # who was to come may be gone, or wait for another driver
        return self.next in (None, key) or since_s >= FIRST_OPEN_S

    def drop(self, key: Key) -> None:
        if self.asking == key:
            self.asking = None
        if self.next == key:
            self.next = None


@dataclass(slots=True)
class _Breaker:
    failures: int = 0
    """In a row, of those that hadn't failed on it since it opened."""
    open_s: float = 0.0
    again: _Turn = field(default_factory=_Turn)
    """The probes: of those that failed."""
    last: Key | None = None
    """Who probed last; it goes on only if no other comes: its server may be another's, too."""
    first: _Turn = field(default_factory=_Turn)
    """Of those that didn't fail yet."""
    failed: dict[Key, float] = field(default_factory=dict)
    """When each last asked in vain."""
    waiting: set[Key] = field(default_factory=set)
    """Held without having failed."""
    kinds: set[str] = field(default_factory=set)

    @property
    def is_open(self) -> bool:
        return self.open_s > 0.0

    def turn_of(self, key: Key, now_s: float) -> _Turn | None:
        """None: it need not wait for one."""
        if not self.is_open or key.kind not in self.kinds:
            return None
        if key in self.failed:
            overdue = now_s - self.failed[key] >= ASKS_ANYWAY_S
            return self.first if overdue else self.again
        return None if self.failures < THRESHOLD else self.first

    def claim(self, turn: _Turn, key: Key, now_s: float, *, edited: bool) -> None:
        """Make `key`, which has to wait, the next whose turn it is, if nobody else is."""
        if turn is self.first:
            self.waiting.add(key)
            # a person waits for it; the others are many, in an outage
            if edited or (turn.next is None and turn.asking is None):
                turn.next = key
            return
        # too late in the wait it would not come in time
        may = turn.next == self.last and turn.from_s - now_s >= FIRST_OPEN_S
        if turn.asking is None and (turn.next is None or may):
            turn.next = key

    def drop(self, key: Key) -> None:
        self.failed.pop(key, None)
        self.waiting.discard(key)
        self.again.drop(key)
        self.first.drop(key)

    def close(self) -> None:
        self.failures = 0
        self.open_s = 0.0
        self.again = _Turn()
        self.first = _Turn()
        self.last = None
        self.failed.clear()
        self.waiting.clear()


@dataclass(frozen=True, slots=True)
class Held:
    """A pass that must wait for a driver."""

    driver: str
    retry_after_s: float
    probes: bool = False
    """It asks for all others then: it must come in time."""

    @property
    def message(self) -> str:
        """The same for everyone: what others were told names what is theirs."""
        return f"cannot reach '{self.driver}': it did not answer others, and is tried again"


class Breakers:
    """Closed until THRESHOLD failures in a row; then one probe at a time, ever further apart."""

    def __init__(self, clock: Clock, rng: random.Random) -> None:
        self._clock = clock
        self._rng = rng
        self._breakers: dict[str, _Breaker] = {}

    def admit(self, key: Key, *, edited: bool = False) -> Held | None:
        """None: go on (perhaps as the probe). Else whom to wait for, and how long. What was
        `edited` may need another server now: it counts as one that didn't fail."""
        now_s = self._clock.monotonic()
        turns: list[_Turn] = []
        for driver, breaker in self._breakers.items():
            if edited and key in breaker.failed:
                breaker.drop(key)
            turn = breaker.turn_of(key, now_s)
            if turn is None:
                continue
            if turn.is_for(key, now_s):
                turns.append(turn)
                continue
            breaker.claim(turn, key, now_s, edited=edited)
            wait_s = max(turn.from_s - now_s, FIRST_OPEN_S)
            if self._is_next(key):
                return Held(driver, wait_s, probes=True)
            # spread those that wait, or all of them come back in one instant
            return Held(driver, wait_s * self._rng.uniform(1.0, 1.5))
        # only now: who has to wait for one driver is no probe of another
        for turn in turns:
            turn.asking = key
            turn.next = None
        for breaker in self._breakers.values():
            breaker.waiting.discard(key)
        return None

    def _is_next(self, key: Key) -> bool:
        return any(key in (each.again.next, each.first.next) for each in self._breakers.values())

    def failed(self, driver: str, key: Key) -> float | None:
        """A pass of `key` found `driver` unavailable. Returns in how many seconds it is to ask
        again for all others; None: that is somebody else's, or nobody's as it isn't open."""
        breaker = self._breakers.setdefault(driver, _Breaker())
        now_s = self._clock.monotonic()
        probed = breaker.again.asking == key
        if not (breaker.is_open and key in breaker.failed):
            # the probes of those that fail say nothing of the others
            breaker.failures += 1
        breaker.drop(key)
        breaker.kinds.add(key.kind)
        breaker.failed[key] = now_s
        breaker.first.from_s = now_s + FIRST_OPEN_S
        if probed or (breaker.failures >= THRESHOLD and not breaker.is_open):
            breaker.open_s = min(max(FIRST_OPEN_S, breaker.open_s * 2), MAX_OPEN_S)
            breaker.again.from_s = now_s + breaker.open_s
            breaker.last = key
        if not breaker.is_open:
            return None
        if breaker.again.next is None and breaker.again.asking is None:
            breaker.again.next = key
        if breaker.again.next != key:
            return None
        return max(breaker.again.from_s - now_s, FIRST_OPEN_S)

    def succeeded(self, key: Key) -> tuple[Key, ...]:
        """A pass of `key` reached all it needs. Returns who waited for a driver that is thereby
        known to be back, for them: they may run again."""
        woken: set[Key] = set()
        for breaker in self._breakers.values():
            if key.kind not in breaker.kinds:
                continue
            did_fail = key in breaker.failed
            breaker.drop(key)
            breaker.failures = 0
            if breaker.is_open:
                woken |= breaker.waiting
                breaker.waiting.clear()
            if did_fail or not (breaker.is_open and breaker.failed):
                woken |= breaker.failed.keys() if breaker.is_open else set()
                breaker.close()
        return tuple(sorted(woken))

    def abandoned(self, key: Key) -> None:
        """A pass of `key` ended without telling: the next one may probe."""
        for breaker in self._breakers.values():
            for turn in (breaker.again, breaker.first):
                if turn.asking == key:
                    turn.asking = None

    def gone(self, key: Key) -> None:
        """The record is no more."""
        for breaker in self._breakers.values():
            breaker.drop(key)
            if breaker.is_open and not breaker.failed:
                # nobody is left to probe; those that wait come by themselves
                breaker.close()

    def reopened_stream(self) -> None:
        """A driver's event stream came back: let everyone probe now."""
        now_s = self._clock.monotonic()
        for breaker in self._breakers.values():
            for turn in (breaker.again, breaker.first):
                turn.from_s = now_s
                turn.next = None

    @property
    def open(self) -> tuple[str, ...]:
        """Names of the drivers that are open, for /readyz and the log."""
        return tuple(sorted(name for name, each in self._breakers.items() if each.is_open))
