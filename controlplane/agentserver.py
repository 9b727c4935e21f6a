"""Offers the agent's Pods and streams to API processes, on a Unix socket in the data folder.

The folder's owner, whom the API runs as, and root can open it, nobody else. Each stream is a
connection, so that backpressure and ends are the socket's own.
"""

import asyncio
import os
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson
import structlog

from controlplane.agentwire import (
    BEAT_S,
    BUFFER_BYTES,
    Kind,
    Packet,
    change_json,
    failure_json,
    read_packet,
    stored_json,
)
from controlplane.clock import Clock
from controlplane.errors import ControlPlaneError, SlowReaderError, TerminalError
from controlplane.owning import give_socket
from controlplane.records import Subscription
from controlplane.streams import (
    Channel,
    Frame,
    PodViews,
    Stream,
    Streams,
    command,
    log_query,
    pod_ref,
)

_log = structlog.get_logger(__name__)

POD: Final = "Pod"
LOOK_S: Final = 5.0
"""Between two looks whether somebody is in."""
_END_S: Final = 5.0
_BACKLOG: Final = 2048
"""Connections not taken in yet, as many as an API process has streams: a Unix socket refuses the
next one at once, where TCP would have it wait. The kernel's net.core.somaxconn may be less."""


@asynccontextmanager
async def offering(
    path: Path, pods: PodViews, streams: Streams, clock: Clock
) -> AsyncIterator[None]:
    """Serve for the length of a block."""
    offered = _Server(pods, streams)
    door = _Door(path, offered)
    await door.open()
    async with asyncio.TaskGroup() as tasks:
        keeping = tasks.create_task(door.keep_open(clock))
        try:
            yield
        finally:
            keeping.cancel()
            door.close()
            await offered.end()


@dataclass(slots=True)
class _Door:
    """Where API processes come in. Whoever listened there last has it; one that ended leaves it to
    an agent that still runs."""

    path: Path
    offered: "_Server"
    _server: asyncio.Server | None = None
    _inode: int = 0

    async def open(self) -> None:
        listener = _listen(self.path)
        self.close()
        self._inode = self.path.stat().st_ino
        self._server = await asyncio.start_unix_server(
            self.offered.serve, sock=listener, limit=BUFFER_BYTES, backlog=_BACKLOG
        )

    async def keep_open(self, clock: Clock) -> None:
        """For ever."""
        while True:
            await clock.sleep(LOOK_S)
            try:
                if not self._ours and await _deserted(self.path):
                    await self.open()
            except OSError as exc:
                _log.warning("agent_socket_not_made", error=str(exc))

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        with suppress(OSError):
            if self._ours:  # a successor may listen there already
                self.path.unlink()

    @property
    def _ours(self) -> bool:
        return self.path.exists() and self.path.stat().st_ino == self._inode


async def _deserted(path: Path) -> bool:
    """Nobody listens there."""
    try:
        _, writer = await asyncio.open_unix_connection(path)
    except (FileNotFoundError, ConnectionRefusedError):
        return True
    writer.close()
    return False


def _listen(path: Path) -> socket.socket:
    """Under another name first, so that nobody meets it with wider permissions, or half made."""
    aside = path.with_name(f".{os.getpid()}.sock")
    aside.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # on Linux what bind makes has the socket's own mode. No chmod after it: the folder's owner, who
    # isn't root, could have put a link to another file in its place by then
    os.fchmod(listener.fileno(), stat.S_IRUSR | stat.S_IWUSR)
    try:
        listener.bind(str(aside))
        give_socket(aside, path.parent)
        listener.listen(_BACKLOG)
        aside.replace(path)
    except OSError:
        listener.close()
        raise
    return listener


@dataclass(frozen=True, slots=True)
class _Server:
    pods: PodViews
    streams: Streams
    _open: dict[asyncio.Task[Any], asyncio.StreamWriter] = field(default_factory=dict)

    async def end(self) -> None:
        """Hang up on everybody, and wait until what they held is closed."""
        for writer in self._open.values():
            writer.transport.abort()
        if self._open:
            await asyncio.wait(tuple(self._open), timeout=_END_S)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, to its end."""
        peer = _Peer(reader, writer)
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = writer
        try:
            try:
                await self._answer(peer)
            except ControlPlaneError as exc:
                await peer.send(Kind.FAILED, failure_json(exc))
            await peer.reads_the_end()
        except (ConnectionError, KeyError, ValueError):
            return  # gone, or nobody of ours
        finally:
            del self._open[task]
            writer.close()

    async def _answer(self, peer: "_Peer") -> None:
        first = await read_packet(peer.reader)
        if first is None or first.kind != Kind.OPEN:
            return
        request = orjson.loads(first.data)
        if request["op"] == "pods":
            await self._pods(peer)
            return
        stream = await self._stream(request)
        try:
            await peer.send(Kind.OPENED)
            await _either(_output(peer, stream), _input(peer, stream))
        finally:
            await stream.aclose()

    async def _stream(self, request: Mapping[str, Any]) -> Stream:
        pod = pod_ref(request["pod"])
        match request["op"]:
            case "logs":
                return await self.streams.open_logs(pod, log_query(request["query"]))
            case "exec":
                return await self.streams.open_exec(pod, command(request["command"]))
            case "attach":
                return await self.streams.open_attach(pod, stdin=request["stdin"])
            case "port":
                return await self.streams.open_port(pod, request["port"])
            case other:
                raise TerminalError(f"cannot open {other!r}: unknown")

    async def _pods(self, peer: "_Peer") -> None:
        """All Pods, then every change, until the other side is gone."""
        self.pods.require()
        view = self.pods.view
        # no await between these: one state, and what follows it
        found, revision = view.list(POD), view.revision
        changes = view.watch(frozenset({POD}), revision)
        try:
            await peer.send(Kind.OPENED)
            for stored in found:
                await peer.send(Kind.ITEM, orjson.dumps(stored_json(stored)))
            await peer.send(Kind.SYNCED, str(revision).encode())
            await _either(_follow(peer, changes), _hung_up(peer))
        except SlowReaderError:
            return  # it comes back and lists again
        finally:
            changes.close()


async def _follow(peer: "_Peer", changes: Subscription) -> None:
    while True:
        try:
            async with asyncio.timeout(BEAT_S):
                change = await anext(changes)
        except TimeoutError:
            await peer.send(Kind.BEAT)
        else:
            await peer.send(Kind.CHANGE, change_json(change.verb, change.after))


@dataclass(frozen=True, slots=True)
class _Peer:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, kind: int, data: bytes = b"") -> None:
        """Waits while the other side reads slowly. Raises ConnectionError."""
        self.writer.write(Packet(kind, data).wire())
        await self.writer.drain()

    async def reads_the_end(self) -> None:
        """Take what is still sent until the other side hangs up: a write to a closed socket would
        fail there, and with it what had come before, such as an exit code."""
        while await self.reader.read(BUFFER_BYTES):
            continue


async def _either(*sides: Awaitable[None]) -> None:
    """Both, until one of them ends."""
    tasks = [asyncio.ensure_future(side) for side in sides]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled() and (failure := task.exception()) is not None:
            raise failure


async def _hung_up(peer: _Peer) -> None:
    while await read_packet(peer.reader) is not None:
        continue


async def _output(peer: _Peer, stream: Stream) -> None:
    while (frame := await stream.read()) is not None:
        await peer.send(frame.channel, frame.data)
    await peer.send(Kind.ENDED)


async def _input(peer: _Peer, stream: Stream) -> None:
    while (packet := await read_packet(peer.reader)) is not None:
        await stream.write(Frame(Channel(packet.kind), packet.data))
