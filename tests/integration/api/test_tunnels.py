"""Forwarded ports: connections in a tunnel, and in a WebSocket's channels; on streams in memory."""

import aiohttp
import pytest

from api import spdy
from api.channels import SPDY, V4
from tests.integration.api.pods import Spdy, World, until

pytestmark = pytest.mark.postgres


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
