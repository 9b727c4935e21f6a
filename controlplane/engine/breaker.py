"""Circuit breakers, one for each driver, so that an outage costs one probe and not a thousand.

The engine knows drivers by the name a DriverUnavailableError carries. Which kinds use one is
learned: a kind's successful pass closes the breakers it was seen to depend on, so a driver that
fails for one record alone never opens.
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
MAX_OPEN_S: Final = 30.0
"""Longest time between two probes: what a restored driver waits at most (an event stream that
comes back closes it at once)."""


@dataclass(slots=True)
class _Breaker:
    failures: int = 0
    open_until_s: float = 0.0
    open_s: float = 0.0
    probing: bool = False
    prober: Key | None = None
    """Who comes back in time to ask again; all others wait as long as their backoff is."""
    kinds: set[str] = field(default_factory=set)

    @property
    def is_open(self) -> bool:
        return self.open_s > 0.0


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

    def admit(self, key: Key) -> Held | None:
        """None: go on (perhaps as the probe). Else whom to wait for, and how long."""
        now = self._clock.monotonic()
        probed: list[_Breaker] = []
        for driver, breaker in self._breakers.items():
            if not breaker.is_open or key.kind not in breaker.kinds:
                continue
            if now >= breaker.open_until_s and not breaker.probing:
                probed.append(breaker)
                continue
            wait_s = max(breaker.open_until_s - now, FIRST_OPEN_S)
            if breaker.prober is None and not breaker.probing:
                breaker.prober = key
            if any(each.prober == key for each in self._breakers.values()):
                return Held(driver, wait_s, probes=True)
            # spread those that wait, or all of them come back in one instant
            return Held(driver, wait_s * self._rng.uniform(1.0, 1.5))
        # only now: who has to wait for one driver is no probe of another
        for breaker in probed:
            breaker.probing = True
            breaker.prober = None
        return None

    def failed(self, driver: str, key: Key) -> float | None:
        """A pass of `key` found `driver` unavailable. Returns in how many seconds it is to ask
        again for all others; None: that is somebody else's, or nobody's as it isn't open."""
        breaker = self._breakers.setdefault(driver, _Breaker())
        breaker.kinds.add(key.kind)
        breaker.failures += 1
        if breaker.failures >= THRESHOLD and (breaker.probing or not breaker.is_open):
            breaker.open_s = min(max(FIRST_OPEN_S, breaker.open_s * 2), MAX_OPEN_S)
            breaker.open_until_s = self._clock.monotonic() + breaker.open_s
            breaker.prober = key
        breaker.probing = False
        return breaker.open_s if breaker.prober == key else None

    def succeeded(self, kind: str) -> tuple[str, ...]:
        """A pass of `kind` reached all it needs. Returns the kinds that waited for a driver
        which is thereby back: their records may run again."""
        woken: set[str] = set()
        for breaker in self._breakers.values():
            if kind not in breaker.kinds:
                continue
            if breaker.is_open:
                woken |= breaker.kinds
            _close(breaker)
        return tuple(sorted(woken))

    def abandoned(self, kind: str) -> None:
        """A pass of `kind` ended without telling: the next one may probe."""
        for breaker in self._breakers.values():
            if kind in breaker.kinds:
                breaker.probing = False

    def reopened_stream(self) -> None:
        """A driver's event stream came back: let everyone probe now."""
        for breaker in self._breakers.values():
            breaker.open_until_s = self._clock.monotonic()

    @property
    def open(self) -> tuple[str, ...]:
        """Names of the drivers that are open, for /readyz and the log."""
        return tuple(sorted(name for name, each in self._breakers.items() if each.is_open))


def _close(breaker: _Breaker) -> None:
    breaker.failures = 0
    breaker.open_s = 0.0
    breaker.open_until_s = 0.0
    breaker.probing = False
    breaker.prober = None
