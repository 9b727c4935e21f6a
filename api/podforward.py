"""`kubectl port-forward`: TCP connections to a Pod through one WebSocket.

kubectl tunnels SPDY: each connection is a pair of streams, one for its bytes and one for what goes
wrong. Other clients speak v4 channels: two for each port asked for, and one connection each.
"""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from aiohttp import WSCloseCode, web

from api import audit, errors, spdy
from api.channels import SPDY, V4
from api.context import Call
from api.podpaths import authorized, pod_path, ref_of
from api.podsockets import Session, protocol_of, upgraded
from api.routes import Route
from controlplane.errors import ControlPlaneError
from controlplane.records import Stored
from controlplane.streams import Channel, Frame, Stream
from resources.network import port_of

_MAX_STREAMS: Final = 512
"""Of one session: 256 connections."""
_MAX_PORTS: Final = 64
_ODD: Final = 1


async def forward(call: Call) -> web.StreamResponse:
    """Connections to a Pod's ports. Raises StatusError before the upgrade."""
    pod = authorized(call, "create", "portforward")
    protocol = protocol_of(call, (SPDY, V4))
    ports = Ports(call, pod)
    if protocol == SPDY:
        return await upgraded(call, protocol, "pods/portforward", partial(_tunnel, ports=ports))
    wanted = _ports(call)
    use = partial(_channels, ports=ports, wanted=wanted)
    return await upgraded(call, protocol, "pods/portforward", use)


def _ports(call: Call) -> list[int]:
    texts = [t for given in call.request.query.getall("ports", []) for t in given.split(",")]
    found = [port_of(text) for text in texts]
    if not found or None in found or len(found) > _MAX_PORTS:
        raise errors.bad_request(f"say which ports: 1 to {_MAX_PORTS} numbers from 1 to 65535")
    return [port for port in found if port is not None]


@dataclass(slots=True)
class Ports:
    """Opens ports of one Pod for one session; the first use of each is told."""

    call: Call
    pod: Stored
    _told: set[int] = field(default_factory=set)
    _telling: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def open(self, port: int) -> Stream:
        """Raises ControlPlaneError."""
        async with self._telling:
            if port not in self._told:
                await audit.tell(self.call, self.pod, "PortForwarded", f"forwarded port {port}")
                self._told.add(port)
        assert self.call.ctx.streams is not None
        return await self.call.ctx.streams.open_port(ref_of(self.pod), port)


Send = Callable[[bytes], Awaitable[None]]


async def _pump(stream: Stream, send: Send) -> str:
    """All that comes from the port; what went wrong in the end, or nothing."""
    try:
        while (frame := await stream.read()) is not None:
            await send(frame.data)
    except ControlPlaneError as exc:
        return str(exc)
    return ""


# --- SPDY in a WebSocket -------------------------------------------------------------------------


@dataclass(slots=True)
class _Pair:
    """The two streams of one connection, as they arrive."""

    data: int = 0
    error: int = 0
    port: int | None = None
    inbox: asyncio.Queue[Frame] = field(default_factory=lambda: asyncio.Queue(maxsize=4))
    """To the port: at most 128 KiB, beyond which the whole session waits."""


class _Tunnel:
    """One session's connections."""

    def __init__(self, session: Session, ports: Ports, tasks: asyncio.TaskGroup) -> None:
        self._session = session
        self._ports = ports
        self._tasks = tasks
        self._reader, self._writer = spdy.Reader(), spdy.Writer()
        self._pairs: dict[str, _Pair] = {}
        self._by_stream: dict[int, _Pair] = {}
        self._running: dict[int, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Until the client is done. Raises SpdyError."""
        while (message := await self._session.receive()) is not None:
            for event in self._reader.feed(message):
                await self._take(event)

    async def _take(self, event: spdy.Event) -> None:
        match event:
            case spdy.Opened():
                await self._open(event)
            case spdy.Data(stream=stream, data=content, fin=fin):
                await self._to_port(stream, content, fin=fin)
            case spdy.Reset(stream=stream):
                self._end(stream)
            case spdy.Ping(id=id_):
                if id_ % 2 == _ODD:  # the client's own; even ones would be answers to ours
                    await self._session.send(spdy.ping(id_))
            case spdy.Goaway():
                pass

    async def _open(self, event: spdy.Opened) -> None:
        stream, headers = event.stream, event.headers
        if stream == 0 or stream in self._by_stream:
            raise spdy.SpdyError("a stream has no number of its own")
        if len(self._by_stream) >= _MAX_STREAMS:
            await self._session.send(spdy.reset(stream, spdy.REFUSED_STREAM))
            return
        key = headers.get("requestid", headers.get("port", ""))
        pair = self._pairs.setdefault(key, _Pair())
        if headers.get("streamtype") == "error":
            pair.error = stream
        else:
            pair.data, pair.port = stream, port_of(headers.get("port", ""))
        self._by_stream[stream] = pair
        await self._session.send(self._writer.accepted(stream))
        if pair.data and pair.error:
            del self._pairs[key]
            self._running[pair.data] = self._tasks.create_task(self._connection(pair))

    async def _to_port(self, stream: int, content: bytes, *, fin: bool) -> None:
        pair = self._by_stream.get(stream)
        if pair is None or pair.data != stream:
            return  # of a connection that is over, or the end of the error stream's other half
        if content:
            await self._put(pair, Frame(Channel.STDIN, content))
        if fin:
            await self._put(pair, Frame(Channel.CLOSE))

    async def _put(self, pair: _Pair, frame: Frame) -> None:
        """Wait for room, but not for a connection that ends meanwhile: its inbox is emptied."""
        if pair.data in self._by_stream:
            await pair.inbox.put(frame)

    def _end(self, stream: int) -> None:
        pair = self._by_stream.get(stream)
        if pair is not None and (task := self._running.get(pair.data)) is not None:
            task.cancel()

    async def _connection(self, pair: _Pair) -> None:
        try:
            problem = await self._carry(pair)
            told = spdy.data(pair.error, problem.encode(), fin=True)
            await self._session.send(told + spdy.data(pair.data, b"", fin=True))
        except ConnectionError:
            return  # the client is gone: whoever receives from it learns that too
        finally:
            self._forget(pair)

    async def _carry(self, pair: _Pair) -> str:
        if pair.port is None:
            return "the port header must be a number from 1 to 65535"
        try:
            stream = await self._ports.open(pair.port)
        except ControlPlaneError as exc:
            return str(exc)
        filling = self._tasks.create_task(_fill(stream, pair.inbox))
        try:
            return await _pump(stream, partial(self._from_port, pair.data))
        finally:
            filling.cancel()
            await stream.aclose()

    async def _from_port(self, stream: int, content: bytes) -> None:
        await self._session.send(spdy.data(stream, content))

    def _forget(self, pair: _Pair) -> None:
        for stream in (pair.data, pair.error):
            self._by_stream.pop(stream, None)
        self._running.pop(pair.data, None)
        while not pair.inbox.empty():  # whoever waits for room in it
            pair.inbox.get_nowait()


async def _fill(stream: Stream, inbox: asyncio.Queue[Frame]) -> None:
    while True:
        await stream.write(await inbox.get())


async def _tunnel(session: Session, *, ports: Ports) -> None:
    async def serve() -> None:
        async with asyncio.TaskGroup() as tasks:
            try:
                await _Tunnel(session, ports, tasks).run()
            except spdy.SpdyError:
                await session.socket.close(code=WSCloseCode.PROTOCOL_ERROR)
            raise _DoneError

    await session.run(_until_done(serve()))


class _DoneError(Exception):
    """The client is done, and so all its connections are."""


async def _until_done(serving: Awaitable[None]) -> None:
    try:
        await serving
    except BaseExceptionGroup as group:
        _, rest = group.split(_DoneError)
        if rest is not None:
            raise rest from None


# --- v4 channels ---------------------------------------------------------------------------------


async def _channels(session: Session, *, ports: Ports, wanted: list[int]) -> None:
    opened: dict[int, Stream] = {}
    try:
        for index, port in enumerate(wanted):
            await _begin(session, ports, index, port, opened)
        await session.run(_outputs(session, opened), _inputs(session, opened))
    finally:
        for stream in opened.values():
            await stream.aclose()


async def _begin(
    session: Session, ports: Ports, index: int, port: int, opened: dict[int, Stream]
) -> None:
    """Say which port two channels are, and connect to it."""
    number, head = 2 * index, struct.pack("<H", port)
    await session.send(bytes([number]) + head)
    await session.send(bytes([number + 1]) + head)
    try:
        opened[number] = await ports.open(port)
    except ControlPlaneError as exc:
        await session.send(bytes([number + 1]) + str(exc).encode())


async def _outputs(session: Session, opened: dict[int, Stream]) -> None:
    """What comes from the ports; over when all are."""
    await asyncio.gather(*(_channel(session, *each) for each in opened.items()))


async def _channel(session: Session, number: int, stream: Stream) -> None:
    async def send(content: bytes) -> None:
        await session.send(bytes([number]) + content)

    if problem := await _pump(stream, send):
        await session.send(bytes([number + 1]) + problem.encode())


async def _inputs(session: Session, opened: dict[int, Stream]) -> None:
    while (message := await session.receive()) is not None:
        stream = opened.get(message[0]) if message else None
        if stream is not None:
            await stream.write(Frame(Channel.STDIN, message[1:]))


ROUTES: Final = tuple(
    Route(method, pod_path("portforward"), forward, streams=True, resource="pods/portforward")
    for method in ("GET", "POST")
)
