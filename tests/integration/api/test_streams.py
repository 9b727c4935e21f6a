"""Pods over HTTP and WebSocket: rights, refusals, protocols, ends; on streams in memory."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import orjson
import pytest

from api import spdy
from api.channels import SPDY, V4, V5
from api.context import Limits
from controlplane.clock import SystemClock
from controlplane.engine.board import Board
from controlplane.engine.cache import Cache
from controlplane.records import Key
from controlplane.store.connect import Database
from controlplane.store.records import Actor
from drivers.containers import ContainerSpec, NetworkAttachment, NetworkSpec, Owner
from drivers.containers import Limits as Size
from drivers.fake.containers import FakeContainers
from drivers.fake.engine import FakeEngine
from drivers.fake.streams import FakeStreams
from reconcilers.podboard import PodBoard
from reconcilers.podstreams import PodStreams
from tests.integration.api.client import Client, client_of
from tests.integration.api.server import Served, api_on

pytestmark = pytest.mark.postgres

OWNER = Owner("1f2e3d4c-0000-4000-8000-000000000001", "App", "default", "web")
SPEC = ContainerSpec(
    "app-default-web-1f2e3d4c-0",
    OWNER,
    "demo",
    "v1:1",
    Size(100, 2**26),
    networks=(NetworkAttachment("net"),),
)
POD = "/api/v1/namespaces/default/pods/app-web-0"


@dataclass(frozen=True, slots=True)
class World:
    """An API with a Pod, and what its streams are made of."""

    served: Served
    client: Client
    viewer: Client
    engine: FakeEngine
    streams: FakeStreams
    container_id: str

    @asynccontextmanager
    async def socket(
        self, path: str, protocol: str = V5, token: str = ""
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        headers = {"Authorization": f"Bearer {token or self.served.admin}"}
        async with (
            asyncio.timeout(20),
            self.client.session.ws_connect(
                f"{self.served.url}{POD}/{path}",
                protocols=(protocol,),
                headers=headers,
            ) as ws,
        ):
            assert ws.protocol == protocol
            yield ws

    async def status(self, path: str, protocol: str, token: str = "") -> int:
        """The code an upgrade is refused with."""
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with self.socket(path, protocol, token):
                pass
        return refused.value.status


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    engine = FakeEngine("test")
    engine.add_image("demo")
    containers, streams, clock = FakeContainers(engine), FakeStreams(engine), SystemClock()
    board = PodBoard(containers, Cache(), frozenset(), clock, Board(clock))
    limits = Limits(write_s=1.0, ping_s=0.4)
    async with (
        api_on(
            database, tmp_path, pods=board, streams=PodStreams(board, streams), limits=limits
        ) as served,
        client_of(served) as client,
        client_of(served, served.viewer) as viewer,
        asyncio.TaskGroup() as tasks,
    ):
        following = tasks.create_task(board.run())
        await containers.ensure_network(NetworkSpec("net", OWNER, "10.0.0.0/24"))
        state = await containers.ensure_container(SPEC)
        await containers.start_container(state.id)
        changes = board.view.watch(frozenset({"Pod"}), board.view.revision)
        while not _running(board):
            await anext(changes)
        changes.close()
        yield World(served, client, viewer, engine, streams, state.id)
        following.cancel()
    assert streams.open == set(), "a stream was left open"


def _running(board: PodBoard) -> bool:
    return any(b'"running"' in stored.body for stored in board.view.list("Pod"))


async def received(ws: aiohttp.ClientWebSocketResponse) -> dict[int, bytes]:
    """What came on each channel, to the end."""
    found: dict[int, bytes] = {}
    async for message in ws:
        assert message.type is aiohttp.WSMsgType.BINARY
        number = message.data[0]
        found[number] = found.get(number, b"") + message.data[1:]
    return found


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["exec?command=cat&stdin=1", "attach?stdout=1", "portforward"])
async def test_a_viewer_goes_nowhere(world: World, path: str) -> None:
    assert await world.status(path, V4, world.served.viewer) == 403
    assert (await world.client("GET", "/api/v1/events")).body["items"] == []


async def test_a_viewer_reads_logs(world: World) -> None:
    world.streams.say(world.container_id, "hello")
    answer = await world.viewer("GET", f"{POD}/log")
    assert (answer.code, answer.body) == (200, "hello\n")
    assert answer.headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        pytest.param(f"{POD}x/log", 404, id="no such Pod"),
        pytest.param(f"{POD}/log?container=other", 400, id="no such container"),
        pytest.param(f"{POD}/log?tailLines=-1", 400, id="a negative tail"),
        pytest.param(f"{POD}/log?tailLines=ten", 400, id="a tail in words"),
        pytest.param(f"{POD}/log?sinceSeconds=0", 400, id="since nothing"),
        pytest.param(f"{POD}/log?sinceTime=yesterday", 400, id="a time in words"),
        pytest.param(f"{POD}/log?sinceTime=2026-01-01T00:00:00", 400, id="a time without zone"),
        pytest.param(
            f"{POD}/log?sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z", 400, id="since twice"
        ),
        pytest.param(f"{POD}/log?limitBytes=0", 400, id="no bytes"),
        pytest.param(f"{POD}/log?stream=Both", 400, id="an unknown stream"),
        pytest.param(f"{POD}/log?previous=true", 400, id="no run before"),
        pytest.param(f"{POD}/exec?command=cat&stdout=1", 400, id="no upgrade"),
        pytest.param(f"{POD}/portforward", 400, id="no upgrade, ports"),
        pytest.param(f"{POD}/nothing", 404, id="no such subresource"),
    ],
)
async def test_what_makes_no_sense_is_a_status(world: World, path: str, code: int) -> None:
    answer = await world.client("GET", path)
    assert (answer.code, answer.body["kind"], "details" in answer.body) == (code, "Status", True)


@pytest.mark.parametrize(
    ("path", "protocol", "code"),
    [
        pytest.param("exec?stdout=1", V5, 400, id="no command"),
        pytest.param("exec?command=cat", V5, 400, id="no channel"),
        pytest.param("exec?command=cat&stdout=1", "v3.channel.k8s.io", 400, id="old protocol"),
        pytest.param("exec?command=cat&stdout=1&container=x", V5, 400, id="no such container"),
        pytest.param("portforward?ports=0", V4, 400, id="port 0"),
        pytest.param("portforward", V4, 400, id="no port"),
    ],
)
async def test_upgrades_are_refused_with_a_status(
    world: World, path: str, protocol: str, code: int
) -> None:
    assert await world.status(path, protocol) == code


async def test_a_pod_that_does_not_run_is_not_entered(world: World) -> None:
    world.engine.kill(SPEC.name)
    await asyncio.sleep(0.2)
    assert await world.status("exec?command=cat&stdin=1", V5) == 409
    answer = await world.client("GET", f"{POD}/log")
    assert answer.code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_a_pod_cannot_be_written(world: World, method: str) -> None:
    answer = await world.client(method, POD, {})
    assert (answer.code, answer.body["reason"]) == (405, "MethodNotAllowed")
    assert "change or delete the App" in answer.body["message"]


# --- what passes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [V4, V5])
async def test_a_command_tells_its_exit_code(world: World, protocol: str) -> None:
    path = "exec?command=sh&command=-c&command=exit%207&stdout=1&stderr=1"
    async with world.socket(path, protocol) as ws:
        found = await received(ws)
    status = orjson.loads(found[3])
    assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "7"}]


async def test_input_has_an_end_in_v5(world: World) -> None:
    async with world.socket("exec?command=cat&stdin=1&stdout=1") as ws:
        await ws.send_bytes(b"\0one ")
        await ws.send_bytes(b"\0two")
        await ws.send_bytes(b"\4{nonsense")
        await ws.send_bytes(b"\xff\0")
        found = await received(ws)
    assert (found[1], orjson.loads(found[3])["status"]) == (b"one two", "Success")


async def test_a_command_is_told_as_an_event(world: World) -> None:
    for _ in range(2):
        async with world.socket("exec?command=/bin/echo&command=s3cr3t&stdout=1") as ws:
            await received(ws)
    (event,) = (await world.client("GET", "/api/v1/namespaces/default/events")).body["items"]
    assert event["message"] == "admin ran 'echo' (1 argument) in Pod app-web-0"
    assert (event["involvedObject"]["kind"], event["count"]) == ("App", 2)
    assert b"s3cr3t" not in orjson.dumps(event)


async def test_each_of_many_at_once_is_told(world: World) -> None:
    async def go_in() -> None:
        async with world.socket("exec?command=echo&stdout=1") as ws:
            await received(ws)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(12):
            tasks.create_task(go_in())
    (event,) = (await world.client("GET", "/api/v1/namespaces/default/events")).body["items"]
    assert event["count"] == 12


async def test_what_cannot_be_told_is_not_done(world: World) -> None:
    world.streams.ports.add(8080)
    home = Key("Namespace", "", "default")
    stored = world.served.cache.get(home)
    assert stored is not None
    await world.served.records.delete(stored, actor=Actor("test", "test"))
    await until(lambda: world.served.cache.get(home) is None)
    assert await world.status("exec?command=echo&stdout=1", V5) == 503
    async with world.socket("portforward", SPDY) as ws:
        tunnel = Spdy(ws)
        for first in (1, 5):
            await tunnel.connect("8080", first)
            await tunnel.until(partial({first, first + 2}.issubset, tunnel.ended))
            assert b"Event" in tunnel.got[first]


async def test_a_client_that_vanishes_takes_its_command_along(world: World) -> None:
    async with world.socket("exec?command=sleep&command=1000&stdout=1") as ws:
        await until(lambda: len(world.streams.open) == 1)
        transport = ws._response.connection
        assert transport is not None
        assert transport.transport is not None
        transport.transport.abort()
        await until(lambda: not world.streams.open)


async def test_a_revoked_token_ends_what_it_began(world: World) -> None:
    async with world.socket("exec?command=sleep&command=1000&stdout=1") as ws:
        await world.served.ctx.access.revoke(world.served.admin)
        message = await ws.receive()
    assert message.type is aiohttp.WSMsgType.CLOSE


async def test_a_client_that_answers_no_ping_is_cut_off(world: World) -> None:
    async with world.socket("exec?command=sleep&command=1000&stdout=1") as ws:
        await until(lambda: len(world.streams.open) == 1)
        connection = ws._response.connection
        assert connection is not None
        assert isinstance(connection.transport, asyncio.Transport)
        connection.transport.pause_reading()  # as a host that lost its network
        await until(lambda: not world.streams.open)
        connection.transport.abort()


async def test_input_waits_for_a_process_that_is_busy_for_long(world: World) -> None:
    """As psql is with an index, while the rest of a dump comes in."""
    world.streams.takes_input.clear()
    pieces = [bytes([number]) * 32 * 1024 for number in range(64)]
    headers = {"Authorization": f"Bearer {world.served.admin}"}
    url = f"{world.served.url}{POD}/exec?command=cat&stdin=1&stdout=1"
    got = bytearray()
    async with (
        asyncio.timeout(20),
        world.client.session.ws_connect(
            url, protocols=(V5,), headers=headers, autoping=False
        ) as ws,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(_dump(ws, pieces))
        for _ in range(3):  # longer than a client may leave a ping unanswered
            assert (await ws.receive()).type is aiohttp.WSMsgType.PONG
        world.streams.takes_input.set()
        async for message in ws:
            if message.type is aiohttp.WSMsgType.BINARY and message.data[0] == 1:
                got += message.data[1:]
    assert bytes(got) == b"".join(pieces)


async def test_a_client_that_vanishes_while_its_input_waits_is_found_out(world: World) -> None:
    world.streams.takes_input.clear()
    async with world.socket("exec?command=cat&stdin=1&stdout=1") as ws:
        await until(lambda: len(world.streams.open) == 1)
        connection = ws._response.connection
        assert connection is not None
        assert isinstance(connection.transport, asyncio.Transport)
        sending = asyncio.ensure_future(_dump(ws, [b"x" * 2**20] * 8))
        await asyncio.sleep(0.1)
        connection.transport.abort()
        await until(lambda: not world.streams.open)
        sending.cancel()
        await asyncio.wait([sending])


async def _dump(ws: aiohttp.ClientWebSocketResponse, pieces: list[bytes]) -> None:
    for piece in pieces:
        await ws.send_bytes(b"\0" + piece)
    await ws.send_bytes(b"\xff\0")


class Spdy:
    """kubectl's side of a tunnel."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self._ws = ws
        self._reader, self._writer = spdy.Reader(), spdy.Writer()
        self.got: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.other: list[spdy.Event] = []

    async def connect(self, port: str, first: int) -> None:
        """A pair of streams, as kubectl opens them."""
        for stream, kind in ((first, "error"), (first + 2, "data")):
            headers = {"streamtype": kind, "port": port, "requestid": str(first)}
            await self.send(self._writer.opened(stream, headers))
        await self.send(spdy.data(first, b"", fin=True))

    async def send(self, frame: bytes) -> None:
        """In two pieces: a tunnel's messages cut frames anywhere."""
        await self._ws.send_bytes(frame[:5])
        await self._ws.send_bytes(frame[5:])

    async def until(self, so: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not so():
                for event in self._reader.feed(await self._ws.receive_bytes()):
                    self._take(event)

    def _take(self, event: spdy.Event) -> None:
        if not isinstance(event, spdy.Data):
            self.other.append(event)
            return
        self.got[event.stream] = self.got.get(event.stream, b"") + event.data
        if event.fin:
            self.ended.add(event.stream)


async def test_connections_in_a_tunnel(world: World) -> None:
    world.streams.ports.add(8080)
    async with world.socket("portforward", SPDY) as ws:
        tunnel = Spdy(ws)
        for first in (1, 5, 9):
            await tunnel.connect("8080", first)
            await tunnel.send(spdy.data(first + 2, b"hello %d" % first))
        await tunnel.until(lambda: {3, 7, 11} <= tunnel.got.keys())
        assert {tunnel.got[n] for n in (3, 7, 11)} == {b"hello 1", b"hello 5", b"hello 9"}
        await tunnel.send(spdy.data(7, b"", fin=True))
        await tunnel.until(lambda: {5, 7} <= tunnel.ended)
        await tunnel.send(spdy.reset(11, spdy.CANCEL))
        await tunnel.send(spdy.ping(1))
        await tunnel.until(lambda: spdy.Ping(1) in tunnel.other)
        await until(lambda: len(world.streams.open) == 1)
        await tunnel.send(spdy.data(3, b", still there"))
        await tunnel.until(lambda: tunnel.got[3].endswith(b"still there"))
        assert tunnel.got.get(5, b"") == b""


@pytest.mark.parametrize(
    ("port", "told"), [("9", b"nobody listens"), ("none", b"number from 1 to 65535")]
)
async def test_what_goes_wrong_comes_on_the_error_stream(
    world: World, port: str, told: bytes
) -> None:
    async with world.socket("portforward", SPDY) as ws:
        tunnel = Spdy(ws)
        await tunnel.connect(port, 1)
        await tunnel.until(lambda: {1, 3} <= tunnel.ended)
    assert told in tunnel.got[1]


async def test_a_tunnel_of_garbage_is_closed(world: World) -> None:
    async with world.socket("portforward", SPDY) as ws:
        await ws.send_bytes(b"\xff" * 64)
        message = await ws.receive()
    assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1002)


@pytest.mark.parametrize("stream", [0, 1])
async def test_a_tunnel_whose_streams_are_not_told_apart_is_closed(
    world: World, stream: int
) -> None:
    """Each was kept, with its headers: more than the bound on streams."""
    async with world.socket("portforward", SPDY) as ws:
        writer = spdy.Writer()
        for number in range(2):
            headers = {"streamtype": "error", "port": "1", "requestid": str(number)}
            await ws.send_bytes(writer.opened(stream, headers))
        async for message in ws:
            assert message.type is aiohttp.WSMsgType.BINARY
    assert ws.close_code == 1002


async def test_a_tunnel_has_so_many_connections(world: World) -> None:
    world.streams.ports.add(8080)
    async with world.socket("portforward", SPDY) as ws:
        tunnel = Spdy(ws)
        for index in range(257):
            await tunnel.connect("8080", 4 * index + 1)
        await tunnel.until(lambda: spdy.Reset(4 * 256 + 1) in tunnel.other)
        assert len(world.streams.open) <= 256


async def test_ports_in_v4_channels(world: World) -> None:
    world.streams.ports |= {8080, 9090}
    async with world.socket("portforward?ports=8080&ports=9090,7", V4) as ws:
        heads = [(await ws.receive_bytes()) for _ in range(6)]
        refusal = await ws.receive_bytes()
        await ws.send_bytes(b"\0hello")
        await ws.send_bytes(b"\2there")
        echoes = {await ws.receive_bytes() for _ in range(2)}
    ports = [8080, 8080, 9090, 9090, 7, 7]
    assert heads == [bytes([i]) + port.to_bytes(2, "little") for i, port in enumerate(ports)]
    assert refusal.startswith(b"\5cannot connect to port 7")
    assert echoes == {b"\0hello", b"\2there"}


async def test_a_follower_that_reads_nothing_is_cut_off(world: World) -> None:
    headers = {"Authorization": f"Bearer {world.served.admin}"}
    url = f"{world.served.url}{POD}/log?follow=1"
    async with world.client.session.get(url, headers=headers) as response:
        assert response.status == 200
        line = "x" * 2**20
        async with asyncio.timeout(20):
            while world.streams.open:
                world.streams.say(world.container_id, line)
                await asyncio.sleep(0.01)


async def test_a_log_that_breaks_is_cut_off(world: World) -> None:
    """Not ended as if it were whole, and with no second answer in the midst of the first."""
    world.streams.say(world.container_id, "hello")
    url = urlsplit(world.served.url)
    context = ssl.create_default_context(cafile=str(world.served.ca))
    reader, writer = await asyncio.open_connection(url.hostname, url.port, ssl=context)
    head = f"GET {POD}/log?follow=1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "
    writer.write(f"{head}{world.served.admin}\r\n\r\n".encode())
    got = await reader.readuntil(b"hello\n\r\n")
    world.streams.go_away()
    with suppress(ConnectionError):
        got += await reader.read()
    writer.close()
    assert (got.count(b"HTTP/1.1"), got.endswith(b"hello\n\r\n")) == (1, True)


async def until(so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while True:
            if so():
                return
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("path", ["log?follow=true", "exec?command=cat", "portforward"])
async def test_a_stream_has_no_head(world: World, path: str) -> None:
    answer = await world.client("HEAD", f"{POD}/{path}")
    assert (answer.code, answer.headers["Allow"]) == (405, "GET")
