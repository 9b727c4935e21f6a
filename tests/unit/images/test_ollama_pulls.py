"""Our image of Ollama's API ends a pull with the last who asked for it, as Ollama itself does."""

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from drivers.models import ModelOrder, ModelServer, ModelState
from drivers.ollama import Ollama
from tests.support.files import Files, file_server, serving
from tests.unit.images.beside import load

OLDER, NEWER = b"GGUF" + bytes(20_000), b"GGUF" + b"n" * 20_000
CHUNK = 1000
ONE, OTHER = "bunker/one:a", "bunker/one:b"


library, serve = load("ollama", "library", "serve")


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass
class Registry:
    """Where models are pulled from."""

    files: Files

    @property
    def source(self) -> str:
        return f"127.0.0.1:{self.files.port}/models/tiny:1"

    def publish(self, data: bytes) -> None:
        kind = "application/vnd.ollama.image.model"
        layer = {"mediaType": kind, "digest": digest_of(data), "size": len(data)}
        self.files.files["/v2/models/tiny/manifests/1"] = json.dumps({"layers": [layer]}).encode()
        self.files.files[f"/v2/models/tiny/blobs/{digest_of(data)}"] = data

    def slow(self) -> None:
        self.files.pause_s, self.files.chunk = 0.05, CHUNK

    def quick(self) -> None:
        """What is under way, too."""
        self.files.pause_s = 0.0


@dataclass
class Server:
    """The API at a port of this host, and what it holds."""

    port: int
    models: Any

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def names(self) -> list[str]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.url}/api/tags") as answer,
        ):
            return [each["name"] for each in (await answer.json())["models"]]

    async def pull(self, source: str, **more: Any) -> None:
        body = {"model": source, "insecure": True, **more}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.url}/api/pull", json=body) as answer,
        ):
            assert b"success" in await answer.read()


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    async with file_server() as files:
        made = Registry(files)
        made.publish(OLDER)
        yield made


@pytest.fixture
def shelf(tmp_path: Path) -> Any:
    """The models on disk."""
    made = library.Library(tmp_path)
    made.open()
    return made


@pytest.fixture
async def server(shelf: Any) -> AsyncIterator[Server]:
    host = serve.Host(shelf, 256, 300.0)
    app = web.Application(middlewares=[serve.worded])
    app.router.add_routes(host.routes())
    async with serving(app) as port:
        yield Server(port, shelf)
    await host.session.close()


@pytest.fixture
async def driver() -> AsyncIterator[Ollama]:
    made = Ollama()
    async with contextlib.aclosing(made):
        yield made


async def until(claim: Callable[[], bool]) -> None:
    for _ in range(1000):
        if claim():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came true")


async def ended(driver: Ollama, server: Server, order: ModelOrder) -> ModelState:
    """How an order did."""
    await driver.ensure_model(ModelServer(server.url), order)
    async with asyncio.timeout(10):
        while True:
            found = await driver.observe_model(ModelServer(server.url), order.name)
            assert found is not None
            if found.phase != "pulling":
                return found
            await asyncio.sleep(0.02)


def order(registry: Registry, name: str, **more: Any) -> ModelOrder:
    given = {"max_bytes": 1 << 20, "insecure": True, **more}
    return ModelOrder(name, name, registry.source, **given)


async def test_what_is_removed_in_mid_pull_leaves_no_version_for_the_next(
    registry: Registry, server: Server, driver: Ollama
) -> None:
    registry.slow()
    await driver.ensure_model(ModelServer(server.url), order(registry, ONE))
    await until(lambda: registry.files.sent > 2 * CHUNK)
    await driver.delete_model(ModelServer(server.url), ONE)
    registry.quick()
    await asyncio.sleep(0.5)
    assert not await server.names()
    assert not server.models.pulls
    registry.publish(NEWER)
    found = await ended(driver, server, order(registry, OTHER, digest=digest_of(NEWER)))
    assert (found.phase, found.digest) == ("ready", digest_of(NEWER))
    assert await server.names() == [OTHER]


async def test_what_is_too_large_leaves_nothing_once_it_is_cut(
    registry: Registry, server: Server, driver: Ollama
) -> None:
    registry.slow()
    found = await ended(driver, server, order(registry, ONE, max_bytes=len(OLDER) - 1))
    assert found.failure is not None
    assert found.failure.reason == "TooLarge"
    registry.quick()
    await asyncio.sleep(0.5)
    assert not await server.names()
    assert not server.models.pulls


@pytest.mark.parametrize("stream", [True, False])
async def test_a_pull_ends_with_who_asked_and_goes_on_with_the_next(
    registry: Registry, server: Server, stream: bool
) -> None:
    registry.slow()
    asking = asyncio.create_task(server.pull(registry.source, stream=stream))
    await until(lambda: registry.files.sent > 2 * CHUNK)
    asking.cancel()
    await until(lambda: not server.models.pulls)
    await asyncio.sleep(0.1)
    assert 0 < registry.files.sent < len(OLDER)
    assert not await server.names()
    registry.quick()
    await server.pull(registry.source, stream=stream)
    assert await server.names() == [registry.source]
    assert len(registry.files.ranges) == 1  # what had come was kept
    assert not server.models.pulls


async def test_it_goes_on_for_another_who_asked_for_the_same(
    registry: Registry, server: Server
) -> None:
    registry.slow()
    one, other = (asyncio.create_task(server.pull(registry.source)) for _ in range(2))
    await until(lambda: registry.files.sent > 2 * CHUNK)
    one.cancel()
    await asyncio.sleep(0.5)
    assert not other.done()
    registry.quick()
    await other
    assert await server.names() == [registry.source]
    assert not registry.files.ranges  # nor was it begun again
    assert registry.files.sent < 2 * len(OLDER)


async def test_it_ends_though_its_registry_says_nothing(server: Server) -> None:
    asked, never = asyncio.Event(), asyncio.Event()

    async def silent(_: web.Request) -> web.Response:
        asked.set()
        await never.wait()
        return web.Response()

    app = web.Application()
    app.router.add_get("/{path:.*}", silent)
    async with serving(app) as port:
        asking = asyncio.create_task(server.pull(f"127.0.0.1:{port}/models/tiny:1"))
        await asyncio.wait_for(asked.wait(), 10)
        asking.cancel()
        await until(lambda: not server.models.pulls)


async def test_who_leaves_before_it_heard_of_success_leaves_nothing(
    registry: Registry, shelf: Any, tmp_path: Path
) -> None:
    pulled = shelf.pull(registry.source, "now", insecure=True)
    async with contextlib.aclosing(pulled) as lines:
        async for line in lines:
            if line["status"] == "writing manifest":
                break
    assert not shelf.here()
    assert not shelf.pulls
    assert not list(tmp_path.glob("*.gguf"))
    told = [line async for line in shelf.pull(registry.source, "now", insecure=True)]
    assert told[-1] == {"status": "success"}
    assert list(shelf.here()) == [registry.source]
    assert shelf.here()[registry.source]["size"] == len(OLDER)


async def test_two_who_hear_of_it_do_not_bring_back_what_was_deleted_between(
    registry: Registry, shelf: Any
) -> None:
    first, second = (shelf.pull(registry.source, "now", insecure=True) for _ in range(2))
    async with contextlib.aclosing(second) as lines:
        assert (await anext(lines))["status"] == "pulling manifest"
        await anext(lines)  # it has joined
        assert [line async for line in first][-1] == {"status": "success"}
        assert shelf.delete(registry.source)
        assert [line async for line in lines][-1] == {"status": "success"}
    assert not shelf.here()
