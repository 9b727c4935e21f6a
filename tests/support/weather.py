"""Bad weather for the seam: slow, failing, forgetful and lying servers, from one seed.

While it lasts, anything may go wrong with a call; when it clears, everything must come right.
"""

import asyncio
import random
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from controlplane.errors import DriverUnavailableError, RetryableError, StoreUnavailableError
from controlplane.seam import Call
from tests.support.faults import lost_reply


@dataclass(frozen=True, slots=True)
class Climate:
    """How often each thing happens, of 1; what isn't named doesn't."""

    slow: float = 0.0
    """A call takes up to 2 s, one in ten of these up to 70 s."""
    fails: float = 0.0
    """It is refused, and nothing happens."""
    lost: float = 0.0
    """It is carried out, and its reply is lost."""
    stale: float = 0.0
    """A look answers what an earlier look of the same thing answered."""
    missing: float = 0.0
    """A list leaves one thing out."""
    deaf: float = 0.0
    """A change answers 200 and does nothing."""

    @property
    def calm(self) -> bool:
        return self == Climate()


STORM = Climate(slow=0.2, fails=0.05, lost=0.05)
FOG = Climate(slow=0.05, stale=0.15, missing=0.05)
LIES = Climate(fails=0.02, deaf=0.1, lost=0.02)


@dataclass(slots=True)
class Weather:
    """A seam's weather: set `climate`, and clear it."""

    rng: random.Random
    climate: Climate = field(default_factory=Climate)
    happened: int = 0
    _earlier: dict[Hashable, list[Any]] = field(default_factory=dict)

    def opened(self, port: str, verbs: Sequence[str], /) -> None:
        """Nothing to prepare."""

    async def __call__(self, call: Call, /) -> Any:
        if self.climate.calm:
            return await self._remembered(call)
        await self._wait()
        if self._strikes(self.climate.fails):
            raise _refusal(call)
        if call.port == "store":
            return await self._store(call)
        if call.changes:
            return await self._change(call)
        return await self._look(call)

    async def _store(self, call: Call) -> Any:
        """PostgreSQL doesn't lie; its connection breaks."""
        reply = await call.go()
        if call.changes and self._strikes(self.climate.lost):
            raise lost_reply(call)
        return reply

    async def _change(self, call: Call) -> Any:
        if call.verb.startswith(("start", "stop", "delete")) and self._strikes(self.climate.deaf):
            return None
        reply = await call.go()
        if self._strikes(self.climate.lost):
            raise lost_reply(call)
        return reply

    async def _look(self, call: Call) -> Any:
        earlier = self._earlier.get(_question(call))
        if earlier and self._strikes(self.climate.stale):
            return self.rng.choice(earlier)
        reply = await self._remembered(call)
        if isinstance(reply, tuple) and reply and self._strikes(self.climate.missing):
            out = self.rng.randrange(len(reply))
            return reply[:out] + reply[out + 1 :]
        return reply

    async def _remembered(self, call: Call) -> Any:
        reply = await call.go()
        if not call.changes and call.port not in ("store", "values"):
            known = self._earlier.setdefault(_question(call), [])
            known[:] = [*known[-2:], reply]
        return reply

    async def _wait(self) -> None:
        if self._strikes(self.climate.slow):
            await asyncio.sleep(self.rng.uniform(0, 70 if self.rng.random() < 0.1 else 2))

    def _strikes(self, chance: float) -> bool:
        if chance and self.rng.random() < chance:
            self.happened += 1
            return True
        return False


def _question(call: Call) -> Hashable:
    return call.port, call.verb, repr(call.args), repr(sorted(call.kwargs.items()))


def _refusal(call: Call) -> Exception:
    if call.port == "store":
        return StoreUnavailableError("planted: the store is away")
    if call.changes:
        return RetryableError(f"cannot {call.verb}: planted", reason="Planted")
    return DriverUnavailableError(call.port, f"cannot {call.verb}: planted")
