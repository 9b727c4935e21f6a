"""The container of a Model: its endpoint, and how it fetches, checks, loads and lets go."""

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from controlplane.errors import RetryableError
from drivers.models import ModelServer, ModelState
from reconcilers._images import service_image
from tests.containers import bench, docker
from tests.contract.model_worlds import (
    KEYS,
    LlamaWorld,
    answering,
    llama_world,
    settled,
    state_of,
    until,
)
from tests.support.files import serving
from tests.support.gguf import tiny_gguf

pytestmark = [pytest.mark.docker]
HOST = "172.17.0.1"
CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 8}
OCI = "application/vnd.oci.image.manifest.v1+json"


@pytest.fixture
async def world() -> AsyncIterator[LlamaWorld]:
    async with llama_world() as made:
        yield made


async def ready(world: LlamaWorld, **changes: Any) -> None:
    await world.models.ensure_model(world.server, world.order(**changes))
    found = await until(world, settled)
    assert found.phase == "ready", found


async def post(
    world: LlamaWorld, path: str, body: Any, *, key: str = KEYS["token"]
) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{world.server.url}{path}", data=json.dumps(body), headers=headers) as answer,
    ):
        return answer.status, await answer.json()


async def test_it_serves_chat_completions_and_embeddings_for_who_has_the_key(
    world: LlamaWorld,
) -> None:
    status, body = await post(world, "/v1/chat/completions", CHAT)
    assert (status, body["error"]["code"]) == (503, "NotReady")
    await ready(world)
    status, body = await post(world, "/v1/chat/completions", CHAT)
    assert (status, body["object"]) == (200, "chat.completion")
    completion = {"model": "tiny", "prompt": "a", "max_tokens": 3}
    assert (await post(world, "/v1/completions", completion))[0] == 200
    status, body = await post(world, "/v1/embeddings", {"model": "tiny", "input": "one"})
    assert (status, len(body["data"][0]["embedding"])) == (200, 64)


@pytest.mark.parametrize("key", ["", "wrong", KEYS["admin"], KEYS["token"] + "x"])
async def test_another_key_opens_nothing(world: LlamaWorld, key: str) -> None:
    for path in ("/v1/chat/completions", "/v1/completions", "/v1/embeddings"):
        status, body = await post(world, path, CHAT, key=key)
        assert (status, body["error"]["code"]) == (401, "invalid_api_key")


async def test_the_users_key_orders_nothing(world: LlamaWorld) -> None:
    users = ModelServer(world.server.url, KEYS["token"])
    with pytest.raises(Exception, match="admin key"):
        await world.models.ensure_model(users, world.order())
    assert (await state_of(world)).phase == "empty"


async def test_another_model_is_unknown_and_a_bad_body_refused(world: LlamaWorld) -> None:
    await ready(world)
    status, body = await post(world, "/v1/chat/completions", {**CHAT, "model": "other"})
    assert (status, body["error"]["code"]) == (404, "model_not_found")
    refused: tuple[Any, ...] = ([], "x", {"messages": []})
    for bad in refused:
        assert (await post(world, "/v1/chat/completions", bad))[0] == 400


async def test_a_rotated_key_counts_at_once(world: LlamaWorld) -> None:
    await ready(world)
    (world.secrets / "token").write_text("another")
    assert (await post(world, "/v1/chat/completions", CHAT))[0] == 401
    assert (await post(world, "/v1/chat/completions", CHAT, key="another"))[0] == 200


async def test_it_streams_as_words_are_made_and_stops_when_nobody_listens(
    world: LlamaWorld,
) -> None:
    await ready(world)
    body = {**CHAT, "stream": True, "max_tokens": 100}
    headers = {"Authorization": f"Bearer {KEYS['token']}"}
    url = f"{world.server.url}/v1/chat/completions"
    async with aiohttp.ClientSession() as session:
        async with session.post(url, json=body, headers=headers) as answer:
            assert answer.content_type == "text/event-stream"
            told = await answer.read()
        # events, not reads: on a busy host several come in one
        assert told.count(b"data: ") > 2
        assert told.endswith(b"data: [DONE]\n\n")
        async with session.post(url, json=body, headers=headers) as answer:
            await answer.content.readany()
    assert (await post(world, "/v1/chat/completions", CHAT))[0] == 200


async def test_a_cut_fetch_goes_on_where_it_was(world: LlamaWorld) -> None:
    world.files.chunk, world.files.cut_after = 50_000, 150_000
    order = world.order()
    await world.models.ensure_model(world.server, order)
    found = await until(world, settled)
    assert found.failure is not None
    assert (found.failure.reason, found.failure.lasting) == ("SourceUnavailable", False)
    await world.models.ensure_model(world.server, order)
    found = await until(world, settled)
    assert (found.phase, found.digest) == ("ready", world.digest)
    assert world.files.ranges == ["bytes=150000-"]


async def test_a_source_that_changed_meanwhile_is_fetched_anew(world: LlamaWorld) -> None:
    world.files.chunk, world.files.cut_after = 50_000, 150_000
    order = world.order()
    await world.models.ensure_model(world.server, order)
    await until(world, settled)
    world.files.files["/tiny.gguf"] = other = tiny_gguf(seed=1)
    await world.models.ensure_model(world.server, order)
    found = await until(world, settled)
    assert found.digest == f"sha256:{hashlib.sha256(other).hexdigest()}"


async def test_a_changed_file_is_dropped_and_a_touched_one_kept(world: LlamaWorld) -> None:
    await ready(world)
    world.container.exec("touch", "/data/model.gguf")
    assert (await until(world, lambda state: state.phase != "checking")).phase == "ready"
    world.container.exec("sh", "-c", "printf x >> /data/model.gguf")
    assert (await until(world, lambda state: state.phase != "checking")).phase == "empty"
    assert world.container.exec("ls", "/data") == ""


async def test_a_started_again_container_serves_what_it_had(world: LlamaWorld) -> None:
    await ready(world)
    world.hide_source()
    docker("restart", "--time", "2", world.container.id)
    world.server = ModelServer(f"http://{world.container.address}:8080", KEYS["admin"])
    await answering(world)
    found = await state_of(world)
    assert (found.phase, found.digest, found.loaded) == ("ready", world.digest, False)
    assert (await post(world, "/v1/chat/completions", CHAT))[0] == 200
    assert (await state_of(world)).loaded


async def test_what_is_no_model_is_refused(world: LlamaWorld) -> None:
    world.files.files["/tiny.gguf"] = b"<html>not found</html>"
    await world.models.ensure_model(world.server, world.order())
    found = await until(world, settled)
    assert found.failure is not None
    assert (found.failure.reason, found.failure.lasting) == ("NotGguf", True)
    world.files.files["/tiny.gguf"] = tiny_gguf()[:100_000]
    await world.models.ensure_model(world.server, world.order())
    found = await until(world, settled)
    assert found.failure is not None
    assert found.failure.reason == "LoadFailed"
    world.files.files["/tiny.gguf"] = tiny_gguf()
    await ready(world, source="good again")


async def test_it_leaves_memory_after_its_time_and_comes_back_when_used() -> None:
    async with llama_world("--env=KEEP_ALIVE_S=1") as world:
        await ready(world)
        assert (await state_of(world)).loaded
        await until(world, lambda state: not state.loaded)
        assert (await post(world, "/v1/chat/completions", CHAT))[0] == 200
        assert (await state_of(world)).loaded


async def test_a_full_disk_is_called_by_its_name() -> None:
    small = ("--tmpfs=/small:size=128k,mode=1777", "--env=DATA_PATH=/small")
    async with llama_world(*small) as world:
        await world.models.ensure_model(world.server, world.order())
        found = await until(world, settled)
        assert found.failure is not None
        assert (found.failure.reason, found.failure.lasting) == ("DiskFull", False)
        assert world.container.exec("ls", "/small") == ""


async def settled_after_restarts(world: LlamaWorld) -> ModelState:
    """Its server may end meanwhile, and holds nothing until it has started again: maybe at another
    address, while another container has the one before, and answers."""
    async with asyncio.timeout(60):
        while True:
            address = await asyncio.to_thread(lambda: world.container.address)
            if address:
                world.server = replace(world.server, url=f"http://{address}:8080")
                with suppress(RetryableError):
                    found = await world.models.observe_model(world.server, world.name)
                    if found is not None and settled(found):
                        return found
            await asyncio.sleep(0.05)


async def test_too_little_memory_is_called_by_its_name() -> None:
    async with llama_world("--env=CONTEXT_LENGTH=200000", memory="96m") as world:
        await world.models.ensure_model(world.server, world.order())
        found = await settled_after_restarts(world)
        assert found.failure is not None
        assert found.failure.reason == "OutOfMemory"


async def test_a_file_comes_from_a_registry(world: LlamaWorld, tmp_path: Path) -> None:
    image = service_image("registry", source="local")
    config = tmp_path / "registry.yml"
    config.write_text(
        "version: 0.1\nstorage: {filesystem: {rootdirectory: /tmp}}\nhttp: {addr: ':5000'}\n"
    )
    with bench() as made:
        options = (f"--volume={config}:/registry.yml:ro", "--tmpfs=/tmp:mode=1777")
        registry = made.run(image.reference, "/registry.yml", options=options)
        async with aiohttp.ClientSession(f"http://{registry.address}:5000") as session:
            await _until_answers(session)
            layer = await _pushed(session, world.data)
            blob = await _pushed(session, b"{}")
            manifest = {
                "schemaVersion": 2,
                "mediaType": OCI,
                "config": {**blob, "mediaType": "application/vnd.oci.empty.v1+json"},
                "layers": [{**layer, "mediaType": "application/vnd.ollama.image.model"}],
            }
            headers = {"Content-Type": OCI}
            path = "/v2/models/tiny/manifests/1"
            async with session.put(path, json=manifest, headers=headers) as answer:
                assert answer.status == 201, await answer.text()
        url = f"http://{registry.address}:5000{path}"
        await ready(world, url=url, source="image", oci=True)
        assert (await state_of(world)).digest == world.digest
        wrong = world.order(url=url, oci=True, digest="sha256:" + "0" * 64)
        await world.models.ensure_model(world.server, wrong)
        found = await until(world, settled)
        assert found.failure is not None
        assert found.failure.reason == "DigestMismatch"


async def _until_answers(session: aiohttp.ClientSession) -> None:
    end = time.monotonic() + 20
    while True:
        try:
            async with session.get("/v2/") as answer:
                if answer.status == 200:
                    return
        except aiohttp.ClientError:
            assert time.monotonic() < end
        await asyncio.sleep(0.05)


async def _pushed(session: aiohttp.ClientSession, data: bytes) -> dict[str, Any]:
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    async with session.post("/v2/models/tiny/blobs/uploads/") as answer:
        place = answer.headers["Location"]
    async with session.put(f"{place}&digest={digest}", data=data) as answer:
        assert answer.status == 201, await answer.text()
    return {"digest": digest, "size": len(data)}


async def test_a_registry_that_wants_a_token_gets_one(world: LlamaWorld) -> None:
    """As public ones do: https://distribution.github.io/distribution/spec/auth/token/."""
    layer = {"mediaType": "application/gguf", "digest": world.digest, "size": len(world.data)}

    def admitted(request: web.Request) -> None:
        if request.headers.get("Authorization") != "Bearer short-lived":
            where = (
                f'Bearer realm="http://{request.host}/token",service="s",scope="repository:m:pull"'
            )
            raise web.HTTPUnauthorized(headers={"WWW-Authenticate": where})

    async def manifest(request: web.Request) -> web.Response:
        admitted(request)
        return web.json_response({"layers": [layer]})

    async def blob(request: web.Request) -> web.Response:
        admitted(request)
        return web.Response(body=world.data)

    async def token(request: web.Request) -> web.Response:
        assert request.query["scope"] == "repository:m:pull"
        assert request.headers["Authorization"] == "Basic bWU6cHc="
        return web.json_response({"token": "short-lived"})

    app = web.Application()
    app.router.add_get("/v2/m/manifests/1", manifest)
    app.router.add_get(f"/v2/m/blobs/{world.digest}", blob)
    app.router.add_get("/token", token)
    async with serving(app, host="0.0.0.0") as port:
        url = f"http://{HOST}:{port}/v2/m/manifests/1"
        await ready(world, url=url, oci=True, headers={"Authorization": "Basic bWU6cHc="})
    assert (await state_of(world)).digest == world.digest
