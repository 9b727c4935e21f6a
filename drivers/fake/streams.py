"""Streams in memory: logs that tests write, a few commands, and ports that say back what they hear.

Knows echo, cat, sleep and `sh -c "exit N"`; any other program is not there.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from controlplane.errors import (
    DriverUnavailableError,
    ForbiddenError,
    NotFoundError,
    RetryableError,
)
from controlplane.streams import Channel, Command, Frame, Stream
from drivers.fake.engine import FakeEngine
from drivers.streams import LogRange


@dataclass(slots=True, eq=False)
class _Pipe:
    """One stream; `feed` is the other end's side of it."""

    owner: "FakeStreams"
    argv: Sequence[str] = ()
    echoes: bool = False
    _frames: asyncio.Queue[Frame | Exception | None] = field(
        default_factory=lambda: asyncio.Queue(maxsize=64)
    )
    _over: bool = False

    def feed(self, *frames: Frame | Exception | None) -> None:
        for frame in frames:
            with suppress(asyncio.QueueFull):  # a reader that is this far behind is a test's own
                self._frames.put_nowait(frame)

    async def read(self) -> Frame | None:
        if self._over:
            return None
        frame = await self._frames.get()
        if isinstance(frame, Exception):
            raise frame
        self._over = frame is None
        return frame

    async def write(self, frame: Frame, /) -> None:
        await self.owner.takes_input.wait()
        if not self.echoes:
            return
        if frame.channel is Channel.STDIN:
            await self._frames.put(Frame(Channel.STDOUT, frame.data))
        elif frame.channel is Channel.CLOSE:
            ends = [Frame(Channel.EXIT, b"0")] if self.argv else []
            self.feed(*ends, None)

    async def aclose(self) -> None:
        self.owner.open.discard(self)


@dataclass(slots=True)
class FakeStreams:
    """Implements streams.ContainerStreams beside a fake engine."""

    engine: FakeEngine
    open: set[_Pipe] = field(default_factory=set)
    """What nobody has closed: a leak, at a test's end."""
    ports: set[int] = field(default_factory=set)
    """Ports where somebody listens, on any address."""
    takes_input: asyncio.Event = field(default_factory=asyncio.Event)
    """Cleared: processes and ports are busy with something else than reading."""
    _logs: dict[str, list[tuple[str, Frame]]] = field(default_factory=dict)
    _followers: dict[str, list[_Pipe]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.takes_input.set()

    def say(self, container_id: str, line: str, *, error: bool = False) -> None:
        """A line of its process."""
        channel = Channel.STDERR if error else Channel.STDOUT
        frame = Frame(channel, line.encode() + b"\n")
        moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
        self._logs.setdefault(container_id, []).append((moment, frame))
        for follower in self._followers.get(container_id, ()):
            follower.feed(frame)

    def go_away(self) -> None:
        """What is open breaks, as when the engine is restarted."""
        for pipe in self.open:
            pipe.feed(DriverUnavailableError("docker", "the connection broke"))

    async def logs(self, container_id: str, part: LogRange) -> Stream:
        self._known(container_id)
        lines = [
            Frame(f.channel, f"{moment} ".encode() + f.data) if part.timestamps else f
            for moment, f in self._logs.get(container_id, ())
        ]
        if part.tail != "all":
            lines = lines[-int(part.tail) :] if int(part.tail) else []
        pipe = self._pipe()
        pipe.feed(*lines)
        if part.follow:
            self._followers.setdefault(container_id, []).append(pipe)
        else:
            pipe.feed(None)
        return pipe

    async def attach(self, container_id: str, *, stdin: bool) -> Stream:
        del stdin
        self._running(container_id)
        pipe = self._pipe()
        self._followers.setdefault(container_id, []).append(pipe)
        return pipe

    async def exec(self, container_id: str, command: Command) -> Stream:
        self._running(container_id)
        pipe = self._pipe(command.argv, echoes=command.argv[0] == "cat")
        match command.argv:
            case ("echo" | "/bin/echo", *words):
                pipe.feed(Frame(Channel.STDOUT, " ".join(words).encode() + b"\n"))
                pipe.feed(Frame(Channel.EXIT, b"0"), None)
            case ("sh", "-c", script) if script.startswith("exit "):
                pipe.feed(Frame(Channel.EXIT, script.removeprefix("exit ").encode()), None)
            case ("cat" | "sleep", *_):
                pass
            case _:
                why = f"exec failed: {command.argv[0]!r}: no such file".encode()
                pipe.feed(Frame(Channel.STDOUT, why), Frame(Channel.EXIT, b"126"), None)
        return pipe

    async def connect(self, address: str, port: int) -> Stream:
        del address
        if port not in self.ports:
            raise RetryableError(
                f"cannot connect to port {port}: nobody listens there", reason="Refused"
            )
        return self._pipe(echoes=True)

    def _pipe(self, argv: Sequence[str] = (), *, echoes: bool = False) -> _Pipe:
        pipe = _Pipe(self, argv, echoes)
        self.open.add(pipe)
        return pipe

    def _known(self, container_id: str) -> None:
        if container_id not in self.engine.containers:
            raise NotFoundError("cannot read the log: the container is gone")

    def _running(self, container_id: str) -> None:
        self._known(container_id)
        if not self.engine.containers[container_id].state.running:
            raise ForbiddenError(
                "cannot run a command: the container is not running", reason="NotRunning"
            )
