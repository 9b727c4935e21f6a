"""One suite for the probe over real sockets (on the loopback) and its fake."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Protocol

import pytest
import uvloop

from controlplane.errors import TerminalError
from drivers.fake.probe import FakeProbe
from drivers.probe import Probe, SocketProbe, Target

HOST = "127.0.0.1"


class World(Protocol):
    """Servers that a test starts, and the probe that is to find them."""

    probe: Probe

    async def serve(self, status: int | None) -> int:
        """A server that answers HTTP with a status (None: says nothing HTTP); its port."""
        ...

    async def hang(self) -> int:
        """A server that accepts and never answers; its port."""
        ...

    async def close(self) -> None: ...


class FakeWorld:
    def __init__(self) -> None:
        self.fake = FakeProbe()
        self.probe: Probe = self.fake
        self._next = 1000

    async def serve(self, status: int | None) -> int:
        self._next += 1
        self.fake.listening[HOST, self._next] = status
        return self._next

    async def hang(self) -> int:
        self._next += 1
        self.fake.hanging.add((HOST, self._next))
        return self._next

    async def close(self) -> None: ...


class RealWorld:
    def __init__(self) -> None:
        self.probe: Probe = SocketProbe()
        self._servers: list[asyncio.Server] = []
        self._closing = asyncio.Event()

    async def _start(self, answer: bytes | None) -> int:
        async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await reader.read(1)
                if answer is None:
                    await self._closing.wait()
                else:
                    writer.write(answer)
                    await writer.drain()
            except OSError:
                pass  # the probe has what it needs and is gone
            finally:
                writer.close()

        server = await asyncio.start_server(respond, HOST, 0)
        self._servers.append(server)
        port: int = server.sockets[0].getsockname()[1]
        return port

    async def serve(self, status: int | None) -> int:
        text = "SSH-2.0-OpenSSH_9" if status is None else f"HTTP/1.1 {status} X\r\n\r\n"
        return await self._start(text.encode())

    async def hang(self) -> int:
        return await self._start(None)

    async def close(self) -> None:
        self._closing.set()
        for server in self._servers:
            server.close()
            await server.wait_closed()


@pytest.fixture(params=["fake", "real"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    made: World = FakeWorld() if request.param == "fake" else RealWorld()
    yield made
    await made.close()


@pytest.mark.parametrize(
    ("status", "path", "ok", "reason"),
    [
        pytest.param(None, None, True, "Answered", id="tcp: a connection is enough"),
        pytest.param(200, "/healthz", True, "Answered", id="http 200"),
        pytest.param(302, "/", True, "Answered", id="http redirect"),
        pytest.param(404, "/", False, "BadStatus", id="http 404"),
        pytest.param(503, "/healthz?deep=1", False, "BadStatus", id="http 503"),
        pytest.param(None, "/", False, "NotHTTP", id="http expected, something else there"),
    ],
)
async def test_probe_tells_what_the_server_answers(
    world: World, status: int | None, path: str | None, ok: bool, reason: str
) -> None:
    port = await world.serve(status)
    health = await world.probe.observe(Target(HOST, port, path), timeout_s=2)
    assert (health.ok, health.reason) == (ok, reason)


async def test_probe_tells_that_nothing_listens(world: World) -> None:
    with socket.create_server((HOST, 0)) as free:
        port = free.getsockname()[1]
    assert (await world.probe.observe(Target(HOST, port))).reason == "Refused"


async def test_probe_gives_up_on_a_hanging_server(world: World) -> None:
    port = await world.hang()
    assert (await world.probe.observe(Target(HOST, port, "/"), timeout_s=0.05)).reason == "TimedOut"


@pytest.mark.parametrize("path", ["healthz", "/a b", "/a\r\nHost: evil", "/ü"])
async def test_probe_refuses_a_path_that_no_request_can_carry(world: World, path: str) -> None:
    with pytest.raises(TerminalError):
        await world.probe.observe(Target(HOST, 1, path))


def test_real_probe_works_on_the_loop_that_the_control_plane_uses() -> None:
    async def both() -> tuple[str, str, str]:
        world = RealWorld()
        try:
            port, stuck = await world.serve(200), await world.hang()
            probe = world.probe
            answers = [
                await probe.observe(Target(HOST, port, "/")),
                await probe.observe(Target(HOST, port)),
                await probe.observe(Target(HOST, stuck, "/"), timeout_s=0.05),
            ]
        finally:
            await world.close()
        return (answers[0].reason, answers[1].reason, answers[2].reason)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(both()) == ("Answered", "Answered", "TimedOut")


@pytest.mark.parametrize(("host", "port"), [("a..b", 80), ("192.0.2.1", 99_999)])
async def test_what_is_no_address_is_unreachable(host: str, port: int) -> None:
    health = await SocketProbe().observe(Target(host, port))
    assert (health.ok, health.reason) == (False, "Unreachable")
