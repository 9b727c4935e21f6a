"""The engine's event stream as OwnerChanged, on a thread and a connection of its own.

The thread only reads and hands over: a slow consumer never makes the engine drop events. What
the engine drops all the same is found by comparing lists (every verify_s, and on reconnect).
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from controlplane.clock import Clock
from controlplane.errors import RetryableError
from drivers.containers import ContainerState, Owner, OwnerChanged
from drivers.docker_cache import InspectCache
from drivers.docker_errors import EngineError
from drivers.docker_inspect import Listed
from drivers.docker_told import Event, identity, joined_or_left, read_event

if TYPE_CHECKING:
    from drivers.docker_sdk import Engine, Stream

Snapshot = Mapping[str, tuple[Owner | None, object]]
"""`container:<id>`, `network:<name>`, `volume:<name>` -> owner and what a list tells of it."""

CONTAINER_ACTIONS: Final = (
    *("create", "die", "start", "stop", "kill", "pause", "unpause"),
    *("rename", "destroy", "update", "oom"),
)
IMAGE_ACTIONS: Final = ("delete", "untag", "tag", "pull", "import", "load")
_FILTERS: Final[Mapping[str, list[str]]] = {
    "type": ["container", "network", "volume", "image"],
    "event": [*CONTAINER_ACTIONS, "connect", "disconnect", "remove", *IMAGE_ACTIONS],
}
_RECONNECT_S: Final = (0.1, 0.2, 0.5, 1.0)
DOUBT_TURNS: Final = 10
"""Each container and network is inspected anew in every so-many-th verify: with 50 of them and
60 s, five inspections of 3 ms a minute."""
PENDING_LIMIT: Final = 4096


@dataclass(slots=True)
class Inbox:
    """Owners still to be told of, each once; too many become "everything"."""

    limit: int = PENDING_LIMIT
    pending: dict[Owner, str] = field(default_factory=dict)
    everything: str = ""
    filled: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, owner: Owner, what: str) -> None:
        if not self.everything:
            self.pending.setdefault(owner, what)
        if len(self.pending) > self.limit:
            self.put_everything("overflow")
        self.filled.set()

    def put_everything(self, what: str) -> None:
        self.pending.clear()
        self.everything = what
        self.filled.set()

    def take(self) -> OwnerChanged | None:
        if self.everything:
            what, self.everything = self.everything, ""
            return OwnerChanged(None, what)
        if self.pending:
            owner = next(iter(self.pending))
            return OwnerChanged(owner, self.pending.pop(owner))
        self.filled.clear()
        return None


class Source(Protocol):
    """Where a Watch gets its events from."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


class SourceFactory(Protocol):
    """Makes a Source that calls back on the event loop's thread."""

    def __call__(
        self,
        *,
        on_connect: Callable[[], None],
        on_event: Callable[[Event], None],
        on_disconnect: Callable[[], None],
    ) -> Source: ...


class Reader:
    """The thread: connects, reads, reconnects, until stopped. Hands all over to the loop."""

    def __init__(
        self,
        engine: "Callable[[], Engine]",
        clock: Clock,
        *,
        on_connect: Callable[[], None],
        on_event: Callable[[Event], None],
        on_disconnect: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._on_connect, self._on_event, self._on_disconnect = on_connect, on_event, on_disconnect
        self._loop = asyncio.get_running_loop()
        self._stopped = threading.Event()
        self._stream: Stream | None = None
        self._thread = threading.Thread(target=self._run, name="docker-events", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._stream is not None:
            self._stream.close()

    def _run(self) -> None:
        failures = 0
        while not self._stopped.is_set():
            try:
                # The engine sends its headers a moment before it subscribes us: from this
                # second on, so that what happens in between is replayed.
                self._stream = self._engine().events(self._clock.now().timestamp(), _FILTERS)
            except EngineError:
                self._stopped.wait(_RECONNECT_S[min(failures, len(_RECONNECT_S) - 1)])
                failures += 1
                continue
            failures = 0
            if self._stopped.is_set():
                self._stream.close()  # stop() came before there was a stream to close
                return
            self._read(self._stream)

    def _read(self, stream: "Stream") -> None:
        self._post(self._on_connect)
        try:
            for event in stream:
                if self._stopped.is_set():
                    break
                self._post(self._on_event, event)
        except EngineError:
            self._stopped.wait(_RECONNECT_S[0])
        finally:
            self._post(self._on_disconnect)

    def _post(self, call: Callable[..., None], *args: Event) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *args)
        except RuntimeError:
            self._stopped.set()  # the loop is closed: nobody is left to tell


class Watch:
    """One consumer's stream of OwnerChanged."""

    def __init__(
        self,
        source: SourceFactory,
        clock: Clock,
        cache: InspectCache,
        snapshot: Callable[[], Awaitable[Snapshot]],
        *,
        instance: str,
        verify_s: float,
    ) -> None:
        self._clock, self._cache = clock, cache
        self._snapshot, self._instance, self._verify_s = snapshot, instance, verify_s
        self._inbox = Inbox()
        self._listed: Snapshot | None = None
        self._touched: set[str] = set()
        self._verify_at = 0.0
        self._turn = 0
        self._connected = False
        self._stopped = False
        self._source = source(
            on_connect=self._on_connect,
            on_event=self._on_event,
            on_disconnect=self._on_disconnect,
        )

    def start(self) -> None:
        self._source.start()

    def stop(self) -> None:
        self._stopped = True
        self._source.stop()
        self._on_disconnect()

    async def next(self) -> OwnerChanged:
        """The next change; meanwhile the lists are compared when that is due."""
        while True:
            change = self._inbox.take()
            if change is not None:
                return change
            if self._connected and self._clock.monotonic() >= self._verify_at:
                await self._verify()
                continue
            left = max(self._verify_at - self._clock.monotonic(), 0.0)
            try:
                async with asyncio.timeout(left if self._connected else None):
                    await self._inbox.filled.wait()
            except TimeoutError:
                continue

    def _on_connect(self) -> None:
        if self._stopped:
            return  # it was just connecting when it was stopped
        self._connected = True
        self._cache.connected()
        self._listed = None
        self._verify_at = 0.0
        self._inbox.put_everything("connected")

    def _on_disconnect(self) -> None:
        if self._connected:
            self._connected = False
            self._cache.disconnected()

    def _on_event(self, event: Event) -> None:
        if self._cache.news(identity(event)):
            self._forget(event)
        told = read_event(event, self._cache.known, self._instance, self._cache.starting)
        if told is None:
            return
        self._touched.add(told.thing)
        if told.wakes:
            self._inbox.put(told.owner, told.what)

    def _forget(self, event: Event) -> None:
        """Drop what the event says has changed, whoever's it is: one stranger joining a network
        of ours changes it too."""
        actor = event.get("Actor") or {}
        attributes = actor.get("Attributes") or {}
        kind = event.get("Type")
        if kind == "container":
            self._cache.containers.invalidate(actor.get("ID", ""))
            if event.get("Action") == "start":
                self._cache.starting.discard(actor.get("ID", ""))
        elif kind == "network":
            change = partial(joined_or_left, event)
            self._cache.networks.revise(attributes.get("name", ""), change)
            self._cache.containers.invalidate(attributes.get("container", ""))
        elif kind == "image":
            # By id here, by reference in the cache; images change too rarely to care.
            self._cache.images.clear()

    async def _verify(self) -> None:
        before = self._listed
        self._verify_at = self._clock.monotonic() + self._verify_s
        self._cache.engine.clear()
        self._cache.images.clear()  # no list tells which are there
        try:
            now = await self._snapshot()
        except RetryableError:
            self._verify_at = self._clock.monotonic() + 1.0
            return
        touched, self._touched = self._touched, set()
        self._listed = now
        self._doubt_some(now)
        if before is not None:
            self._tell_missed(before, now, touched)

    def _tell_missed(self, before: Snapshot, now: Snapshot, touched: set[str]) -> None:
        for thing in (before.keys() | now.keys()) - touched:
            if before.get(thing) != now.get(thing):
                self._doubt(thing, (now.get(thing) or before[thing])[0])
        for thing in touched:
            # one event of it came, maybe not the last: has somebody looked in between?
            known = self._cache.containers.peek(thing.removeprefix("container:"))
            if known is not None and _contradicts(now.get(thing), known):
                self._doubt(thing, known.owner)

    def _doubt(self, thing: str, owner: Owner | None) -> None:
        self._distrust(thing)
        if owner is not None:
            self._inbox.put(owner, "missed event")

    def _doubt_some(self, now: Snapshot) -> None:
        """Limits, restarts and mounts show in no list, nor does who is in a network. In turn, a
        tenth of all is inspected anew at the next look, so that a lost event hides them for ten
        verifies at most."""
        self._turn = (self._turn + 1) % DOUBT_TURNS
        for thing in sorted(now)[self._turn :: DOUBT_TURNS]:
            self._distrust(thing)

    def _distrust(self, thing: str) -> None:
        kind, _, key = thing.partition(":")
        if kind == "container":
            self._cache.containers.invalidate(key)
        elif kind == "network":
            self._cache.networks.invalidate(key)


def _contradicts(entry: tuple[Owner | None, object] | None, known: ContainerState) -> bool:
    """Whether a list tells another thing of a container than what is remembered."""
    if entry is None:
        return True
    return isinstance(entry[1], Listed) and entry[1].contradicts(known)
