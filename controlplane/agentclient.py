"""The agent as an API process without one sees it: its Pods mirrored, its streams relayed.

While the agent is away, whatever needs it fails with DriverUnavailableError, which the API answers
503; the mirror comes back by itself.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from controlplane.agentwire import (
    BUFFER_BYTES,
    SILENT_S,
    Kind,
    Packet,
    change_of,
    failure_of,
    read_packet,
    stored_of,
)
from controlplane.clock import Clock
from controlplane.engine.cache import Cache
from controlplane.errors import ControlPlaneError, DriverUnavailableError
from controlplane.records import Stored, View
from controlplane.streams import Channel, Command, Frame, LogQuery, PodRef, Stream, as_json

_CONNECT_S: Final = 5.0
_OPEN_S: Final = 30.0
"""An engine that is slow to open a stream; the agent's own limit is 20 s."""
_RETRY_S: Final = 0.5


def _away() -> DriverUnavailableError:
    return DriverUnavailableError("agent", "the agent, which reaches containers, is away")


@dataclass(frozen=True, slots=True)
class _Line:
    """One connection to the agent."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def read(self) -> Packet | None:
        try:
            return await read_packet(self.reader)
        except ConnectionError:
            return None

    def close(self) -> None:
        self.writer.transport.abort()


async def _dial(path: Path, request: Mapping[str, Any]) -> _Line:
    """A connection whose request was granted. Raises what the agent raised."""
    try:
        async with asyncio.timeout(_CONNECT_S):
            line = _Line(*await asyncio.open_unix_connection(path, limit=BUFFER_BYTES))
    except (OSError, TimeoutError) as exc:
        raise _away() from exc
    try:
        line.writer.write(Packet(Kind.OPEN, orjson.dumps(request)).wire())
        async with asyncio.timeout(_OPEN_S):
            first = await line.read()
        if first is None:
            raise _away()
        if first.kind == Kind.FAILED:
            raise failure_of(first.data)
    except BaseException as exc:
        line.close()
        if isinstance(exc, TimeoutError):
            raise _away() from exc
        raise
    return line


@dataclass(slots=True)
class _Remote:
    """A stream of the agent's."""

    line: _Line

    async def read(self) -> Frame | None:
        packet = await self.line.read()
        if packet is None:
            raise _away()
        if packet.kind == Kind.ENDED:
            return None
        if packet.kind == Kind.FAILED:
            raise failure_of(packet.data)
        return Frame(Channel(packet.kind), packet.data)

    async def write(self, frame: Frame, /) -> None:
        # that nobody takes it any more, and why, is for `read` to tell
        with suppress(ConnectionError, RuntimeError):
            self.line.writer.write(Packet(frame.channel, frame.data).wire())
            await self.line.writer.drain()

    async def aclose(self) -> None:
        self.line.close()


@dataclass(frozen=True, slots=True)
class RemoteStreams:
    """Implements streams.Streams over the agent's socket."""

    path: Path
    pods: "PodMirror"

    async def open_logs(self, pod: PodRef, query: LogQuery, /) -> Stream:
        return await self._open("logs", pod, query=as_json(query))

    async def open_exec(self, pod: PodRef, command: Command, /) -> Stream:
        return await self._open("exec", pod, command=as_json(command))

    async def open_attach(self, pod: PodRef, /, *, stdin: bool) -> Stream:
        return await self._open("attach", pod, stdin=stdin)

    async def open_port(self, pod: PodRef, port: int, /) -> Stream:
        return await self._open("port", pod, port=port)

    async def _open(self, op: str, pod: PodRef, **more: Any) -> Stream:
        return _Remote(await _dial(self.path, {"op": op, "pod": as_json(pod), **more}))


@dataclass(slots=True)
class PodMirror:
    """Implements streams.PodViews: the agent's board, at the agent's own versions."""

    path: Path
    clock: Clock
    cache: Cache = field(default_factory=Cache)
    there: bool = False
    """What is in the view is up to date."""

    @property
    def view(self) -> View:
        return self.cache

    def require(self) -> None:
        if not self.there:
            raise _away()

    async def run(self) -> None:
        """Follow the agent until cancelled."""
        while True:
            try:
                line = await _dial(self.path, {"op": "pods"})
            except ControlPlaneError:
                await self.clock.sleep(_RETRY_S)
                continue
            try:
                await self._follow(line)
            finally:
                self.there = False
                line.close()

    async def _follow(self, line: _Line) -> None:
        found: list[Stored] = []
        while (packet := await _in_time(line)) is not None:
            match packet.kind:
                case Kind.ITEM:
                    found.append(stored_of(orjson.loads(packet.data)))
                case Kind.SYNCED:
                    self.cache.reset(found, int(packet.data))
                    self.there, found = True, []
                case Kind.CHANGE:
                    self.cache.apply([change_of(packet.data)])
                case _:
                    continue


async def _in_time(line: _Line) -> Packet | None:
    try:
        async with asyncio.timeout(SILENT_S):
            return await line.read()
    except TimeoutError:
        return None


def remote_streams(path: Path, clock: Clock) -> RemoteStreams:
    """The agent behind a socket."""
    return RemoteStreams(path, PodMirror(path, clock))
