"""Logs of containers, commands in them, and what their processes write, as Streams.

Each is one asyncio connection to the engine, and no thread. Backpressure is the connection's: who
doesn't read stops the engine's writing, and so the process's. Which container a user may reach is
not decided here.
"""

import asyncio
import struct
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from controlplane.errors import ForbiddenError, NotFoundError, RetryableError
from controlplane.streams import Channel, Command, Frame, Stream
from drivers.docker_ending import Ending, SeesInit, ending, sees
from drivers.docker_errors import EngineAwayError, EngineError, EngineRefusedError, translate
from drivers.docker_http import Connection, EngineHttp
from drivers.streams import LogRange
from drivers.threads import finished

_PIECE_BYTES: Final = 32 * 1024
_HEADER: Final = struct.Struct(">BxxxL")
"""Stream number and length, before each piece of a process without a terminal."""
_STDERR: Final = 2
_ENDED_TRIES: Final = 40
_ENDED_S: Final = 0.05
"""The engine closes the connection a moment before it knows the exit code: asked for 2 s."""
_RESIZE_TRIES: Final = 20
"""A terminal can be resized only once its process has started: tried for 1 s."""
_CONNECT_S: Final = 5.0
_NO_DETACH: Final = "ctrl-@,ctrl-\\,ctrl-@,ctrl-\\"
"""The engine's own detach keys begin with ctrl-p, which is every shell's "previous line"."""


@dataclass(frozen=True, slots=True)
class DockerStreams:
    """Implements streams.ContainerStreams on one engine."""

    http: EngineHttp
    sees: SeesInit = sees
    """Whether the host's processes are seen from here."""

    async def logs(self, container_id: str, part: LogRange) -> Stream:
        query = {
            "stdout": "1",
            "stderr": "1",
            "follow": "1" if part.follow else "0",
            "timestamps": "1" if part.timestamps else "0",
            "tail": part.tail,
            **({"since": part.since} if part.since else {}),
            **({"until": part.until} if part.until else {}),
        }
        what = "read the log"
        with _translated(what):
            connection = await self.http.open(
                "GET", f"/containers/{container_id}/logs", query=query
            )
            return _Piped(connection, what)

    async def attach(self, container_id: str, *, stdin: bool) -> Stream:
        query = {"stream": "1", "stdout": "1", "stderr": "1", "stdin": "1" if stdin else "0"}
        what = "attach"
        with _translated(what):
            connection = await self.http.open(
                "POST", f"/containers/{container_id}/attach", query=query, upgrade=True
            )
            return _Piped(connection, what)

    async def exec(self, container_id: str, command: Command) -> Stream:
        with _translated("run a command"):
            how = await ending(self.http, container_id, self.sees)
            made = await self.http.ask(
                "POST",
                f"/containers/{container_id}/exec",
                body={
                    "Cmd": list(command.argv),
                    "AttachStdin": command.stdin,
                    "AttachStdout": True,
                    "AttachStderr": not command.tty,
                    "Tty": command.tty,
                    "DetachKeys": _NO_DETACH,
                    **({"Env": [how.mark]} if how.mark else {}),
                },
            )
            connection = await self.http.open(
                "POST",
                f"/exec/{made['Id']}/start",
                body={"Detach": False, "Tty": command.tty},
                upgrade=True,
            )
            pipe = _Piped(connection, "run a command", command.tty)
            return _Running(pipe, self.http, made["Id"], how)

    async def connect(self, address: str, port: int) -> Stream:
        """A TCP connection to a container on one of its networks."""
        try:
            async with asyncio.timeout(_CONNECT_S):
                pair = await asyncio.open_connection(address, port, limit=_PIECE_BYTES * 2)
        except (OSError, TimeoutError) as exc:
            raise RetryableError(
                f"cannot connect to port {port}: nobody listens there", reason="Refused"
            ) from exc
        return _Piped(Connection(*pair), f"forward port {port}", raw=True)


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Vendor errors become ours at this boundary."""
    try:
        yield
    except EngineError as exc:
        raise _meaning(exc, what) from exc


def _meaning(exc: EngineError, what: str) -> Exception:
    if isinstance(exc, EngineRefusedError):
        if exc.status == 404:
            return NotFoundError(f"cannot {what}: the container is gone")
        if exc.status == 409:
            return ForbiddenError(
                f"cannot {what}: the container is not running", reason="NotRunning"
            )
        if exc.status == 400:
            return ForbiddenError(f"cannot {what}: {exc}", reason="EngineRefused")
    return translate(exc, what)


class Demux:
    """Takes the engine's marked pieces cut anywhere, and gives what they carry."""

    def __init__(self) -> None:
        self._header = b""
        self._left = 0
        self._channel = Channel.STDOUT

    def feed(self, data: bytes) -> list[Frame]:
        """What came, neighbours of one channel together: a log of short lines is few frames."""
        found: list[tuple[Channel, bytearray]] = []
        at = 0
        while at < len(data):
            if self._left == 0:
                at += self._read_header(data[at : at + _HEADER.size - len(self._header)])
                continue
            piece = data[at : at + self._left]
            at += len(piece)
            self._left -= len(piece)
            if found and found[-1][0] is self._channel:
                found[-1][1].extend(piece)
            else:
                found.append((self._channel, bytearray(piece)))
        return [Frame(channel, bytes(piece)) for channel, piece in found]

    def _read_header(self, data: bytes) -> int:
        self._header += data
        if len(self._header) == _HEADER.size:
            number, self._left = _HEADER.unpack(self._header)
            self._channel = Channel.STDERR if number == _STDERR else Channel.STDOUT
            self._header = b""
        return len(data)


@dataclass(slots=True)
class _Piped:
    """What a connection carries: raw bytes, or pieces marked as standard output and error."""

    connection: Connection
    what: str
    raw: bool = False
    _demux: Demux = field(default_factory=Demux)
    _pending: deque[Frame] = field(default_factory=deque)

    async def read(self) -> Frame | None:
        while not self._pending:
            try:
                data = await self.connection.reader.read(_PIECE_BYTES)
            except OSError as exc:
                raise translate(EngineAwayError("the connection broke"), self.what) from exc
            if not data:
                return None
            if self.raw:
                return Frame(Channel.STDOUT, data)
            self._pending.extend(self._demux.feed(data))
        return self._pending.popleft()

    async def write(self, frame: Frame, /) -> None:
        writer = self.connection.writer
        # a process that has ended takes no more input: its exit code is still to be read
        with suppress(OSError, RuntimeError):
            if frame.channel is Channel.CLOSE and not writer.transport.is_closing():
                writer.write_eof()
            elif frame.channel is Channel.STDIN:
                writer.write(frame.data)
                await writer.drain()

    async def aclose(self) -> None:
        self.connection.close()


@dataclass(slots=True)
class _Running:
    """A command: its pieces, then its exit code. Ends with its user."""

    pipe: _Piped
    http: EngineHttp
    exec_id: str
    ending: Ending
    _ended: bool = False
    _closed: bool = field(default=False, repr=False)

    async def read(self) -> Frame | None:
        if self._ended:
            return None
        frame = await self.pipe.read()
        if frame is not None:
            return frame
        self._ended = True
        with _translated("learn how the command ended"):
            state = await self._until(lambda state: not state["Running"], _ENDED_TRIES)
        code = state["ExitCode"]
        return Frame(Channel.EXIT, str(0 if code is None else code).encode())

    async def write(self, frame: Frame, /) -> None:
        if frame.channel is Channel.RESIZE:
            await self._resize(*frame.data.decode().split())
        else:
            await self.pipe.write(frame)

    async def _resize(self, columns: str, rows: str) -> None:
        for attempt in range(_RESIZE_TRIES):
            try:
                await self.http.ask(
                    "POST", f"/exec/{self.exec_id}/resize", query={"w": columns, "h": rows}
                )
            except EngineRefusedError:
                if self._ended or attempt + 1 == _RESIZE_TRIES:
                    return  # it has ended
                await asyncio.sleep(_ENDED_S)
            except EngineError:
                return
            else:
                return

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        await self.pipe.aclose()
        if not self._ended:
            await finished(self.ending.end(self.exec_id))

    async def _state(self) -> Any:
        return await self.http.ask("GET", f"/exec/{self.exec_id}/json")

    async def _until(self, done: Callable[[Any], bool], tries: int) -> Any:
        state = await self._state()
        for _ in range(tries):
            if done(state):
                break
            await asyncio.sleep(_ENDED_S)
            state = await self._state()
        return state
