"""Pods over HTTP and WebSocket: rights, refusals, protocols, ends; on streams in memory."""

import asyncio
import ssl
from contextlib import suppress
from functools import partial
from urllib.parse import urlsplit

import aiohttp
import orjson
import pytest

from api.channels import SPDY, V4, V5
from controlplane.events import Happening
from controlplane.records import Key
from controlplane.store.records import Actor
from resources.meta import API_VERSION
from tests.integration.api.client import client_of
from tests.integration.api.pods import OWNER, POD, SPEC, Spdy, World, received, until

pytestmark = pytest.mark.postgres

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


async def test_nobody_makes_the_event_of_their_command_say_something_else(world: World) -> None:
    events = "/api/v1/namespaces/default/events"
    what = Happening(
        kind=OWNER.kind,
        api_version=API_VERSION,
        namespace=OWNER.namespace,
        name=OWNER.name,
        uid=OWNER.uid,
        severity="Normal",
        reason="CommandRun",
        message="editor ran 'echo' (1 argument) in Pod app-web-0",
    )
    forged = {
        "metadata": {"name": what.event_name, "labels": {"a": "b"}},
        "involvedObject": {"kind": "ConfigMap", "name": "x", "namespace": "default"},
        "message": "nothing happened",
        "count": 2**31 - 1,
        "action": "resting",
        "firstTimestamp": "9999-12-31T00:00:00Z",
    }
    async with client_of(world.served, world.served.editor) as editor:
        assert (await editor("POST", events, forged)).code == 201
    async with world.socket(
        "exec?command=echo&command=s3cr3t&stdout=1", token=world.served.editor
    ) as ws:
        await received(ws)
    (event,) = (await world.client("GET", events)).body["items"]
    assert event["message"] == what.message
    assert (event["involvedObject"]["kind"], event["involvedObject"]["uid"]) == ("App", OWNER.uid)
    assert (event["reason"], event["source"]) == ("CommandRun", {"component": "bunker-api"})
    assert event["firstTimestamp"] == event["lastTimestamp"]
    assert 1 <= event["count"] < 2**31
    assert "action" not in event
    assert "labels" not in event["metadata"]


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


@pytest.mark.parametrize("path", ["log?follow=true", "exec?command=cat", "portforward"])
async def test_a_stream_has_no_head(world: World, path: str) -> None:
    answer = await world.client("HEAD", f"{POD}/{path}")
    assert (answer.code, answer.headers["Allow"]) == (405, "GET")
