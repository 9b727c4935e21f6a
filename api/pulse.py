"""One heartbeat for all open streams: bookmarks, time limits, dead sockets, revoked tokens.

A thousand idle watches must cost nearly nothing, so none has a timer or a task of its own: one
loop looks at all of them each second and interrupts those with something to do. Revocation is
noticed within five seconds: two between checks and two for which a token is believed, and half a
one for a write that hangs.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, TypeVar

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge

from controlplane.access import Access
from controlplane.clock import Clock
from controlplane.errors import RetryableError, StoreUnavailableError

_log = structlog.get_logger(__name__)

T = TypeVar("T")

_BEAT_S: Final = 1.0
_TOKENS_S: Final = 2.0
_LAST_S: Final = 0.5
"""For a write under way when its stream ends: long for a client that reads, and with the four
seconds that a revocation takes to be noticed less than the five that are promised."""
_CLOSE_S: Final = 2.0
_CLOSE_POLL_S: Final = 0.02


@dataclass(slots=True, eq=False)
class Lifeline:
    """One open stream, as the pulse sees it."""

    request: web.Request
    token: str
    resource: str
    ends_at: float
    """Monotonic seconds."""
    bookmark_every_s: float = 0.0
    """0: no bookmarks."""
    bookmark_at: float = 0.0
    ended: bool = False
    bookmark_due: bool = False
    _patience: asyncio.Timeout | None = field(default=None, repr=False)
    _writing: asyncio.Timeout | None = field(default=None, repr=False)

    async def wait(self, awaitable: Awaitable[T]) -> T | None:
        """Await it, or None as soon as the pulse has something to tell (`ended`, `bookmark_due`).

        The awaitable is cancelled then, so it must lose nothing by that.
        """
        try:
            async with asyncio.timeout(None) as self._patience:
                if self.ended or self.bookmark_due:
                    self.interrupt()
                return await awaitable
        except TimeoutError:
            return None
        finally:
            self._patience = None

    async def write(self, writing: Awaitable[object], *, within_s: float) -> None:
        """Await a write. Raises TimeoutError once it takes longer, or still hangs soon after the
        stream has ended: its client doesn't take what there is."""
        try:
            async with asyncio.timeout(within_s) as self._writing:
                if self.ended:
                    self._hurry()
                await writing
        finally:
            self._writing = None

    def _hurry(self) -> None:
        soon = asyncio.get_running_loop().time() + _LAST_S
        # one that has run out already must not be moved
        if self._writing is not None and soon < (self._writing.when() or soon):
            self._writing.reschedule(soon)

    def interrupt(self) -> None:
        """Have `wait` return now."""
        if self._patience is not None and self._patience.when() is None:
            self._patience.reschedule(asyncio.get_running_loop().time())

    def end(self) -> None:
        """Have the stream end, at once, and cleanly unless its client takes nothing."""
        self.ended = True
        self.interrupt()
        self._hurry()

    @property
    def idle(self) -> bool:
        """All that was written has left for the kernel."""
        transport = self.request.transport
        return transport is not None and not transport.get_write_buffer_size()

    @property
    def dead(self) -> bool:
        """The connection is gone."""
        transport = self.request.transport
        return transport is None or transport.is_closing()


class Pulse:
    """All open streams of one process."""

    def __init__(self, access: Access, clock: Clock, registry: CollectorRegistry) -> None:
        self._access = access
        self._clock = clock
        self._open: set[Lifeline] = set()
        self._gauge = Gauge("watchers", "Open watches.", ["resource"], registry=registry)
        self._counts: Counter[str] = Counter()
        self._closing = False

    @contextmanager
    def holding(self, line: Lifeline) -> Iterator[Lifeline]:
        """Watch over a stream while the block runs."""
        self._open.add(line)
        self._count(line.resource, 1)
        if self._closing:
            line.end()
        try:
            yield line
        finally:
            self._open.discard(line)
            self._count(line.resource, -1)

    def _count(self, resource: str, by: int) -> None:
        self._counts[resource] += by
        self._gauge.labels(resource).set(self._counts[resource])

    async def close(self) -> None:
        """End every stream cleanly, and each that comes later: the server is going away.

        Returns once they have ended, after two seconds at most.
        """
        self._closing = True
        for line in tuple(self._open):
            line.end()
        until = self._clock.monotonic() + _CLOSE_S
        while self._open and self._clock.monotonic() < until:
            await self._clock.sleep(_CLOSE_POLL_S)

    async def run(self) -> None:
        """Beat until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._beat())
            group.create_task(self._check_tokens())

    async def _beat(self) -> None:
        while True:
            await self._clock.sleep(_BEAT_S)
            now = self._clock.monotonic()
            for line in tuple(self._open):
                _look(line, now)

    async def _check_tokens(self) -> None:
        while True:
            await self._clock.sleep(_TOKENS_S)
            for token in {line.token for line in self._open if line.token}:
                if await self._revoked(token):
                    for line in tuple(self._open):
                        if line.token == token:
                            line.end()

    async def _revoked(self, token: str) -> bool:
        try:
            return await self._access.authenticate(token) is None
        except StoreUnavailableError:
            return False  # nobody can be told apart now; a watch is no way to write anything
        except RetryableError:
            # one too many that nobody is known by, in a flood of them: this one, known when its
            # stream began and asked for at every check since, has been found to be nobody's
            return True
        except Exception:  # noqa: BLE001  # one token must not end all streams, and the process
            _log.exception("token_check_failed")
            return False

    async def attached(self, app: web.Application) -> AsyncIterator[None]:
        """aiohttp cleanup context: beats while the application runs."""
        del app
        async with asyncio.TaskGroup() as group:
            beating = group.create_task(self.run())
            yield
            beating.cancel()


def _look(line: Lifeline, now: float) -> None:
    if line.dead or now >= line.ends_at:
        line.end()
    elif line.bookmark_every_s and now >= line.bookmark_at:
        line.bookmark_at = now + line.bookmark_every_s
        line.bookmark_due = True
        line.interrupt()
