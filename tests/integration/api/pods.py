"""An API with one Pod, on streams in memory, and kubectl's side of a tunnel."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from api import spdy
from api.channels import V5
from api.context import Limits
from controlplane.clock import SystemClock
from controlplane.engine.board import Board
from controlplane.engine.cache import Cache
from controlplane.store.connect import Database
from drivers.containers import ContainerSpec, NetworkAttachment, NetworkSpec, Owner
from drivers.containers import Limits as Size
from drivers.fake.containers import FakeContainers
from drivers.fake.engine import FakeEngine
from drivers.fake.streams import FakeStreams
from reconcilers.podboard import PodBoard
from reconcilers.podstreams import PodStreams
from tests.integration.api.client import Client, client_of
from tests.integration.api.server import Served, api_on

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


@asynccontextmanager
async def world_on(database: Database, folder: Path) -> AsyncIterator[World]:
    """One that runs for the length of a block; in the end nothing of it may be open."""
    engine = FakeEngine("test")
    engine.add_image("demo")
    containers, streams, clock = FakeContainers(engine), FakeStreams(engine), SystemClock()
    board = PodBoard(containers, Cache(), frozenset(), clock, Board(clock))
    limits = Limits(write_s=1.0, ping_s=0.4)
    async with (
        api_on(
            database, folder, pods=board, streams=PodStreams(board, streams), limits=limits
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


async def until(so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while True:
            if so():
                return
            await asyncio.sleep(0.02)


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
