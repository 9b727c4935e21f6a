"""What tests put into the seam: a passage that records, fails, delays, loses replies, and kills.

A death is a process's: the call that it strikes never returns, and no call after it goes out.
Whoever runs the process waits for `dead`, cancels it, and begins another on the same world.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from controlplane.errors import ControlPlaneError, DriverUnavailableError, StoreUnavailableError
from controlplane.records import Stored
from controlplane.seam import Call, Seam

FOREVER_S: Final = 1e9
Position = Literal["before", "lost", "after"]
POSITIONS: Final[tuple[Position, ...]] = ("before", "lost", "after")
"""before: killed before the effect; lost: the effect is there, the reply is an error, the process
lives; after: killed once the effect is there, before anything made of the reply is recorded."""


class Open:
    """Lets everything through."""

    def opened(self, port: str, verbs: Sequence[str], /) -> None:
        """Nothing to prepare."""

    async def __call__(self, call: Call, /) -> Any:
        return await call.go()


@dataclass(frozen=True, slots=True)
class Site:
    """One call of a trace, as a person reads it."""

    port: str
    verb: str
    what: str = ""
    changes: bool = False

    def __str__(self) -> str:
        return f"{self.port}.{self.verb} {self.what}".rstrip()


@dataclass(frozen=True, slots=True)
class Cut:
    """Where it strikes: the n-th call counted, and how."""

    at: int
    position: Position


@dataclass(slots=True)
class Tracer:
    """Counts calls while `armed`, and strikes at its cuts. One for each platform."""

    cuts: tuple[Cut, ...] = ()
    counts: Callable[[Site], bool] = lambda site: True
    """Which calls are boundaries; others pass uncounted."""
    armed: bool = False
    trace: list[Site] = field(default_factory=list)
    struck: list[Site] = field(default_factory=list)
    dead: asyncio.Event = field(default_factory=asyncio.Event)
    buried: bool = False
    """The dead process is being taken apart: what still calls ends at once."""
    after_change: Callable[[Call], None] | None = None
    """Called after each effect: tallies are kept here."""
    weather: Seam = field(default_factory=Open)
    """What each call passes on its way out: delays and errors of faulty servers."""

    def opened(self, port: str, verbs: Sequence[str], /) -> None:
        """Nothing to prepare."""

    async def __call__(self, call: Call, /) -> Any:
        await self._die_if_dead()
        cut = self._next(site_of(call))
        if cut == "before":
            self.dead.set()
            await self._die_if_dead()
        reply = await self._go(call)
        if cut == "lost":
            raise lost_reply(call)
        if cut == "after":
            self.dead.set()
        await self._die_if_dead()
        return reply

    def revive(self) -> None:
        """Another process begins, on the same world; it counts on where the last one ended."""
        self.dead = asyncio.Event()
        self.buried = False

    async def _go(self, call: Call) -> Any:
        try:
            return await self.weather(call)
        finally:
            if self.after_change is not None and call.changes:
                self.after_change(call)

    async def _die_if_dead(self) -> None:
        if self.buried:
            raise asyncio.CancelledError
        if self.dead.is_set():
            await asyncio.sleep(FOREVER_S)

    def _next(self, site: Site) -> Position | None:
        if not self.armed or not self.counts(site):
            return None
        mine = len(self.trace)
        self.trace.append(site)
        for cut in self.cuts:
            if cut.at == mine:
                self.struck.append(site)
                return cut.position
        return None


def site_of(call: Call) -> Site:
    return Site(call.port, call.verb, _what(call), call.changes)


def _what(call: Call) -> str:
    """Kind of the record or name of the object; never a value."""
    for arg in (*call.args, *call.kwargs.values()):
        if isinstance(arg, Stored):
            return arg.key.kind
        if isinstance(name := getattr(arg, "name", None), str):
            return name
        if isinstance(arg, str):
            return arg if len(arg) < 64 else "an id"
    return ""


def lost_reply(call: Call) -> ControlPlaneError:
    """What a caller gets whose request was carried out and whose connection broke then."""
    if call.port == "store":
        return StoreUnavailableError("the connection broke before the reply")
    return DriverUnavailableError(call.port, "the connection broke before the reply")
