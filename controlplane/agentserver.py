"""Offers the agent's Pods and streams to API processes, on a Unix socket in the data folder.

The folder's owner, whom the API runs as, and root can open it, nobody else. Each stream is a
connection, so that backpressure and ends are the socket's own.
"""

import asyncio
import os
import socket
import stat
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

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
from controlplane.errors import ControlPlaneError, SlowReaderError, TerminalError
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

POD = "Pod"


@asynccontextmanager
async def offering(path: Path, pods: PodViews, streams: Streams) -> AsyncIterator[None]:
    """Serve for the length of a block."""
    listener = _listen(path)
    ours = _inode(path)
    server = await asyncio.start_unix_server(
        _Server(pods, streams).serve, sock=listener, limit=BUFFER_BYTES
    )
    try:
        yield
    finally:
        server.close()
        _remove(path, ours)


def _listen(path: Path) -> socket.socket:
    """Under another name first, so that nobody meets it with wider permissions, or half made."""
    aside = path.with_name(f".{os.getpid()}.sock")
    aside.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(aside))
    aside.chmod(stat.S_IRUSR | stat.S_IWUSR)
    owner = path.parent.stat()
    if owner.st_uid != os.geteuid():
        os.chown(aside, owner.st_uid, owner.st_gid)
    listener.listen()
    aside.replace(path)
    return listener


def _inode(path: Path) -> int:
    return path.stat().st_ino


def _remove(path: Path, ours: int) -> None:
    with suppress(OSError):
        if path.stat().st_ino == ours:  # a successor may listen there already
            path.unlink()


@dataclass(frozen=True, slots=True)
class _Server:
    pods: PodViews
    streams: Streams

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, to its end."""
        peer = _Peer(reader, writer)
        try:
            await self._answer(peer)
        except (ConnectionError, KeyError, ValueError):
            return  # gone, or nobody of ours
        except ControlPlaneError as exc:
            with suppress(ConnectionError):
                await peer.send(Kind.FAILED, failure_json(exc))
        finally:
            writer.close()

    async def _answer(self, peer: "_Peer") -> None:
        first = await read_packet(peer.reader)
        if first is None or first.kind != Kind.OPEN:
            return
        request = orjson.loads(first.data)
        if request["op"] == "pods":
            await self._pods(peer)
            return
        stream = await self._open(request)
        try:
            await peer.send(Kind.OPENED)
            await _relay(peer, stream)
        finally:
            await stream.aclose()

    async def _open(self, request: Mapping[str, Any]) -> Stream:
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
            await _follow(peer, changes)
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


async def _relay(peer: _Peer, stream: Stream) -> None:
    """Both ways, until one of them ends."""
    sides = [asyncio.ensure_future(side) for side in (_output(peer, stream), _input(peer, stream))]
    try:
        await asyncio.wait(sides, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for side in sides:
            side.cancel()
        await asyncio.wait(sides)
    for side in sides:
        if not side.cancelled() and (failure := side.exception()) is not None:
            raise failure


async def _output(peer: _Peer, stream: Stream) -> None:
    while (frame := await stream.read()) is not None:
        await peer.send(frame.channel, frame.data)
    await peer.send(Kind.ENDED)


async def _input(peer: _Peer, stream: Stream) -> None:
    while (packet := await read_packet(peer.reader)) is not None:
        await stream.write(Frame(Channel(packet.kind), packet.data))
