"""WATCH: a record's changes as one JSON document a line, from the watch cache.

Nothing lost, nothing twice, in revision order: the initial state and the subscription are taken
at one revision, without an await between them. A reader that can't keep up is cut off, by the
cache when too many changes wait and here when the socket takes nothing; it comes back with the
last version it saw.
"""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from aiohttp import web

from api import errors
from api.context import Call
from api.pulse import Lifeline, Pulse
from api.records import await_version
from api.routes import Handler
from api.sockets import abort, keep_alive
from api.watch_events import Encoder, line, transition
from api.watch_options import WatchOptions, watch_options
from controlplane.errors import CompactedError, RetryableError, SlowReaderError
from controlplane.records import Change, Stored, Subscription
from controlplane.stretch import Stretch

PULSE: Final = web.AppKey("pulse", Pulse)

_CHUNK_BYTES: Final = 32 * 1024
"""Half of what a transport takes before it has its writers wait (64 KiB, asyncio's default)."""


@dataclass(frozen=True, slots=True)
class _Start:
    """Where a watch begins: the state there is, and what follows it."""

    initial: Sequence[Stored]
    """Not selected from yet."""
    revision: int
    changes: Subscription


async def watch(call: Call) -> web.StreamResponse:
    """Stream the changes of a kind. Raises StatusError before anything is sent."""
    options = watch_options(call)
    await await_version(call, default_fresh=options.fresh)
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    try:
        start = _start(call, options)
    except CompactedError as exc:
        await response.prepare(call.request)
        status = errors.expired(f"too old resource version: {exc}")
        await response.write(line("ERROR", status.wire()))
        return response
    held = lifeline(call, options)
    try:
        run = partial(_Stream(call, options, held, response).run, start)
        await stream(call, held, response, run)
    finally:
        start.changes.close()
    return response


async def stream(
    call: Call,
    held: Lifeline,
    response: web.StreamResponse,
    send: Callable[[], Awaitable[None]],
) -> None:
    """Have `send` send an answer, under the pulse; who takes nothing of it is cut off. It returns
    once `held.ended`, and writes by `held.write`."""
    try:
        with call.request.app[PULSE].holding(held):
            await response.prepare(call.request)
            keep_alive(call.request)
            await send()
            await held.write(response.write_eof(), within_s=call.ctx.limits.write_s)
    except (ConnectionError, TimeoutError):
        abort(call.request)


def lifeline(call: Call, options: WatchOptions) -> Lifeline:
    """The watch as the pulse sees it."""
    now = call.ctx.clock.monotonic()
    spread = 1 + secrets.randbelow(1000) / 1000
    every_s = call.ctx.limits.bookmark_s * spread if options.bookmarks else 0.0
    return Lifeline(
        call.request,
        call.token,
        call.target.served.info.plural,
        ends_at=now + options.lasts_s,
        bookmark_every_s=every_s,
        bookmark_at=now + every_s,
    )


def _start(call: Call, options: WatchOptions) -> _Start:
    """No await in here: state and subscription are of one revision. Raises CompactedError."""
    view, target = call.ctx.view, call.target
    kind = target.served.info.kind
    if options.since is not None:
        changes = view.watch(frozenset({kind}), options.since)
        return _Start((), options.since, changes)
    revision = view.revision
    found = view.list(kind, target.namespace)
    return _Start(found, revision, view.watch(frozenset({kind}), revision))


class _Stream:
    """One watch under way."""

    def __init__(
        self, call: Call, options: WatchOptions, held: Lifeline, response: web.StreamResponse
    ) -> None:
        self._options = options
        self._namespace = call.target.namespace
        self._held = held
        self._write_s = call.ctx.limits.write_s
        self._response = response
        self._encoder = Encoder(call.ctx, call.target.served.info, options.form, options.include)

    async def run(self, start: _Start) -> None:
        """Until the client, the clock, the pulse or the cache ends it."""
        try:
            async for chunk in self._initial(start):
                if self._held.ended:
                    # broken off, not ended: of these no version says what is still to come
                    raise TimeoutError
                await self._write(chunk)
            while not self._held.ended:
                await self._next(start.changes)
        except RetryableError as exc:  # a Secret's key, or the store that has it, is out of reach
            await self._fail(errors.unavailable(str(exc), exc.retry_after_s))
        except _ExpiredError:
            await self._fail(errors.expired("changes were missed meanwhile: list again"))
        except (StopAsyncIteration, SlowReaderError):
            return

    async def _fail(self, why: errors.StatusError) -> None:
        await self._write(line("ERROR", why.wire()))

    async def _initial(self, start: _Start) -> AsyncIterator[bytes]:
        lines: list[bytes] = []
        size, stretch, selector = 0, Stretch(), self._options.selector
        for stored in start.initial:
            await stretch.worked_on(len(stored.body))
            if selector and not selector.matches_stored(stored):
                continue
            lines.append(await self._encoder.event("ADDED", stored))
            size += len(lines[-1])
            if size >= _CHUNK_BYTES:
                yield b"".join(lines)
                lines, size = [], 0
        if self._options.marks_initial:
            lines.append(self._encoder.bookmark(start.revision, ends_initial=True))
        if lines:
            yield b"".join(lines)

    async def _next(self, changes: Subscription) -> None:
        change = await self._held.wait(_next_of(changes))
        if change is not None:
            await self._send(change)
        if self._held.bookmark_due and not self._held.ended:
            self._held.bookmark_due = False
            await self._write(self._encoder.bookmark(changes.position))

    async def _send(self, change: Change) -> None:
        if change.synthetic:
            raise _ExpiredError
        event = transition(change, self._options.selector, self._namespace)
        if event is not None:
            await self._write(await self._encoder.event(*event, change))

    async def _write(self, data: bytes) -> None:
        if len(data) <= _CHUNK_BYTES and self._held.idle:
            await self._response.write(data)  # there is room for it: no timer for each watcher
            return
        await self._held.write(self._response.write(data), within_s=self._write_s)


class _ExpiredError(Exception):
    """The cache had to list again: what happened in between is unknown."""


async def _next_of(changes: Subscription) -> Change:
    return await anext(changes)


HANDLERS: Final[dict[tuple[str, str], Handler]] = {("watch", ""): watch}


def install(app: web.Application, pulse: Pulse) -> None:
    """Give an application its pulse, and have it end its watches when it shuts down."""

    async def close(_app: web.Application) -> None:
        await pulse.close()

    app[PULSE] = pulse
    app.cleanup_ctx.append(pulse.attached)
    app.on_shutdown.append(close)
