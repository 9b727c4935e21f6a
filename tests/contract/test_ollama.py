"""Ollama's odd ways, and the gateway that stands before it."""

import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from controlplane.errors import RetryableError
from drivers import model_calls, ollama_loads
from drivers.models import ModelServer
from drivers.ollama import Ollama
from reconcilers._images import LLAMACPP
from tests.containers import Running, bench
from tests.contract.model_worlds import (
    KEYS,
    OllamaWorld,
    ollama_world,
    settled,
    state_of,
    until,
)
from tests.support.files import serving
from tests.support.ollama import OllamaServer


@pytest.fixture
async def world() -> AsyncIterator[OllamaWorld]:
    async with ollama_world() as made:
        yield made


async def ready(world: OllamaWorld, **changes: Any) -> None:
    await world.models.ensure_model(world.server, world.order(**changes))
    found = await until(world, settled)
    assert found.phase == "ready", found


@pytest.mark.parametrize(
    ("odd", "says"),
    [
        ("error_mid_stream", "unexpected EOF"),
        ("no_success", "without success"),
        ("cut", "cut"),
        ("long_line", "makes no sense"),
        ("server_error", "terminated"),
    ],
)
async def test_a_pull_that_ends_badly_is_a_failure_and_goes_on_when_mended(
    world: OllamaWorld, odd: str, says: str
) -> None:
    world.contract.odd = {odd}
    order = world.order()
    await world.models.ensure_model(world.server, order)
    if odd == "server_error":
        await asyncio.sleep(0.1)  # it can't be asked either
        world.contract.odd = set()
    found = await until(world, settled)
    assert found.failure is not None
    assert not found.failure.lasting
    assert says in found.failure.message
    world.contract.odd = set()
    await world.models.ensure_model(world.server, order)
    assert (await until(world, settled)).phase == "ready"
    assert world.contract.fetched == world.size  # what was there came once


async def test_progress_is_told_though_completed_is_missing(world: OllamaWorld) -> None:
    world.contract.odd = {"no_completed"}
    world.contract.pause_s = 0.02
    await world.models.ensure_model(world.server, world.order())
    pulling = await until(world, lambda state: state.total_bytes > 0)
    assert (pulling.phase, pulling.completed_bytes) == ("pulling", 0)
    assert (await until(world, settled)).phase == "ready"


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        ("garbage", "BadAnswer"),
        ("html", "Refused"),
        ("server_error", "Refused"),
        ("error_in_200", "Refused"),
    ],
)
async def test_what_it_should_not_answer_is_an_error_with_a_reason(
    world: OllamaWorld, odd: str, reason: str
) -> None:
    world.contract.odd = {odd}
    models, server = world.models, world.server
    calls: tuple[Callable[[], Awaitable[object]], ...] = (
        lambda: models.observe_model(server, world.name),
        lambda: models.load_model(server, world.name, keep_alive_s=60),
        lambda: models.delete_model(server, world.name),
    )
    for call in calls:
        with pytest.raises(RetryableError) as caught:
            await call()
        assert caught.value.reason == reason
        assert "\n" not in str(caught.value)


async def test_the_pulled_name_goes_and_its_layers_stay_once(world: OllamaWorld) -> None:
    await ready(world)
    assert list(world.contract.manifests) == ["records/one:a"]
    assert world.contract.fetched == world.size
    await world.models.delete_model(world.server, world.name)
    assert not world.contract.manifests
    assert not world.contract.blobs  # its disk is free


async def test_a_name_that_was_there_before_is_somebody_elses(world: OllamaWorld) -> None:
    async with aiohttp.ClientSession(world.server.url) as session:
        await session.post("/api/pull", json={"model": "tiny:1b", "stream": False})
    await ready(world)
    await world.models.delete_model(world.server, world.name)
    assert list(world.contract.manifests) == ["tiny:1b"]
    assert world.contract.blobs


async def test_two_tenants_share_a_pull_and_neither_takes_it_from_the_other(
    world: OllamaWorld,
) -> None:
    world.contract.pause_s = 0.01
    await world.models.ensure_model(world.server, world.order())
    await world.models.ensure_model(world.server, world.order(name="records/two:a"))
    await until(world, settled)
    end = time.monotonic() + 10
    while time.monotonic() < end:
        other = await world.models.observe_model(world.server, "records/two:a")
        if other is not None and settled(other):
            break
        await asyncio.sleep(0.02)
    assert sorted(world.contract.manifests) == ["records/one:a", "records/two:a"]
    assert world.contract.fetched == world.size
    await world.models.delete_model(world.server, "records/two:a")
    assert (await state_of(world)).phase == "ready"
    assert world.contract.blobs


@pytest.mark.parametrize("mended", [True, False], ids=["corrected", "left out"])
async def test_an_order_that_fails_leaves_what_is_there_and_pulls_once(
    world: OllamaWorld, mended: bool
) -> None:
    await ready(world)
    before, pulls = await state_of(world), world.contract.calls.count("POST /api/pull")
    wrong = world.order(digest="sha256:" + "0" * 64)
    await world.models.ensure_model(world.server, wrong)
    failed = await until(world, settled)
    assert (failed.phase, failed.order, failed.digest) == ("failed", wrong.order, before.digest)
    assert failed.failure is not None
    assert (failed.failure.reason, failed.failure.attempts) == ("DigestMismatch", 1)
    assert list(world.contract.manifests) == ["records/one:a"]
    assert world.contract.calls.count("POST /api/pull") == pulls + 1
    world.hide_source()  # what is there needs no other
    await ready(world, digest=world.digest if mended else "")
    assert (await state_of(world)).failure is None
    assert world.contract.calls.count("POST /api/pull") == pulls + 1
    assert world.contract.fetched == world.size


async def test_a_pull_that_fails_beside_an_earlier_digest_rests_like_any(
    world: OllamaWorld,
) -> None:
    await ready(world)
    world.hide_source()
    order = world.order(digest="sha256:" + "0" * 64)
    for attempts in (1, 2):
        await world.models.ensure_model(world.server, order)
        found = await until(world, settled)
        assert found.failure is not None
        assert (found.failure.reason, found.failure.lasting) == ("SourceUnavailable", False)
        assert found.failure.attempts == attempts


async def test_a_source_that_became_what_is_asked_for_takes_the_place(world: OllamaWorld) -> None:
    await ready(world)
    before = (await state_of(world)).digest
    world.contract.registry["tiny:1b"] = (b"another",)
    await world.models.ensure_model(world.server, world.order(digest="sha256:" + "0" * 64))
    found = await until(world, settled)
    assert found.failure is not None
    now = found.failure.message.split()[3].rstrip(",")
    assert now != before
    await ready(world, digest=now)
    assert (await state_of(world)).digest == now


async def test_an_earlier_source_of_the_same_record_is_found(world: OllamaWorld) -> None:
    await ready(world)
    found = await world.models.observe_model(world.server, "records/one:b")
    assert found is not None
    assert (found.phase, found.others) == ("empty", ("records/one:a",))


async def test_what_is_fetched_of_an_earlier_source_goes_with_its_record(
    world: OllamaWorld,
) -> None:
    world.contract.registry["slow:1b"] = (b"s" * 300,)
    gate = world.contract.gates["slow:1b"] = asyncio.Event()
    await world.models.ensure_model(world.server, world.order(source="slow:1b"))
    await until(world, lambda state: state.completed_bytes > 0)
    world.name = "records/one:b"
    await ready(world)
    for name in (world.name, *(await state_of(world)).others):
        await world.models.delete_model(world.server, name)
    gate.set()
    await asyncio.sleep(0.3)  # were it still pulled, it would be copied now
    found = await state_of(world)
    assert (found.phase, found.others) == ("empty", ())
    assert not world.contract.manifests


async def test_how_long_it_stays_is_told_and_set(world: OllamaWorld) -> None:
    await ready(world)
    await world.models.load_model(world.server, world.name, keep_alive_s=None)
    found = await state_of(world)
    assert found.expires_in_s is not None
    assert found.expires_in_s > 365 * 86_400
    await world.models.load_model(world.server, world.name, keep_alive_s=60)
    found = await state_of(world)
    assert found.expires_in_s is not None
    assert 50 < found.expires_in_s <= 60


async def test_a_model_for_embeddings_alone_is_loaded_as_such(world: OllamaWorld) -> None:
    world.contract.registry["embed:1"] = (b"e" * 100,)
    world.name = "records/embed:a"
    await ready(world, source="embed:1", name=world.name)
    await world.models.load_model(world.server, world.name, keep_alive_s=60)
    assert (await state_of(world)).loaded
    await world.models.unload_model(world.server, world.name)
    assert not (await state_of(world)).loaded


async def test_another_control_plane_takes_over_a_pull(world: OllamaWorld) -> None:
    """The first one ends in the middle: what is there stays, and comes once."""
    world.contract.pause_s = 0.05
    await world.models.ensure_model(world.server, world.order())
    await until(world, lambda state: state.completed_bytes > 0)
    await world.models.aclose()
    world.models = Ollama()
    assert (await state_of(world)).phase == "empty"
    await ready(world)
    assert world.contract.fetched <= world.size + world.contract.chunk


async def loaded_beside(world: OllamaWorld, monkeypatch: pytest.MonkeyPatch, *odd: str) -> None:
    """A load that takes longer than anybody waits, and has ended."""
    await ready(world)
    gate = world.contract.gates[world.name] = asyncio.Event()
    with monkeypatch.context() as impatient:
        impatient.setattr(model_calls, "LOAD_TIMEOUT_S", 0.05)
        with pytest.raises(RetryableError) as caught:
            await world.models.load_model(world.server, world.name, keep_alive_s=60)
        assert caught.value.reason == "Loading"
    world.contract.odd = set(odd)
    gate.set()
    await asyncio.sleep(0.3)
    world.contract.odd = set()


async def test_a_load_that_ended_beside_is_not_the_answer_to_a_later_one(
    world: OllamaWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    await loaded_beside(world, monkeypatch)
    assert (await state_of(world)).loaded
    await world.unload_behind()
    await world.models.load_model(world.server, world.name, keep_alive_s=60)
    assert (await state_of(world)).loaded


async def test_a_load_that_failed_beside_is_told_to_who_asks_next(
    world: OllamaWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    await loaded_beside(world, monkeypatch, "load_fails")
    with pytest.raises(RetryableError, match="terminated") as caught:
        await world.models.load_model(world.server, world.name, keep_alive_s=60)
    assert caught.value.reason == "Refused"
    await world.models.load_model(world.server, world.name, keep_alive_s=60)
    assert (await state_of(world)).loaded


async def test_a_load_that_failed_long_ago_says_nothing_of_now(
    world: OllamaWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ollama_loads, "TOLD_WITHIN_S", 0.01)
    await loaded_beside(world, monkeypatch, "load_fails")
    await world.models.load_model(world.server, world.name, keep_alive_s=60)
    assert (await state_of(world)).loaded


# --- the gateway ---


async def _gateway(made: Any, folder: str, port: int) -> Running:
    secrets = Path(folder)
    secrets.chmod(0o755)
    for name, value in KEYS.items():
        (secrets / name).write_text(value)
    options = (
        *("--user=1000:1000", "--memory=128m", "--tmpfs=/tmp", "--env=BACKEND=ollama"),
        *(f"--volume={secrets}:/run/secrets:ro", "--env=MODEL_NAME=chat"),
        *(f"--env=UPSTREAM=http://172.17.0.1:{port}", "--env=INNER_NAME=records/one:a"),
    )
    container: Running = made.run(LLAMACPP, options=options)
    async with aiohttp.ClientSession() as session:
        for _ in range(200):
            try:
                async with session.get(f"http://{container.address}:8080/healthz"):
                    return container
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)
    raise AssertionError(container.logs())


@pytest.mark.docker
async def test_the_gateway_lets_in_who_has_the_key_and_streams_unbuffered() -> None:
    contract = OllamaServer()
    contract.registry["tiny:1b"] = (b"x",)
    with bench() as made, tempfile.TemporaryDirectory() as folder:
        async with serving(contract.app(), host="0.0.0.0") as port:
            gateway = await _gateway(made, folder, port)
            url = f"http://{gateway.address}:8080/v1/chat/completions"
            body = {"model": "chat", "messages": [], "stream": True}
            headers = {"Authorization": f"Bearer {KEYS['token']}"}
            async with aiohttp.ClientSession() as session:
                async with session.post(url, json=body) as answer:
                    assert answer.status == 401
                async with session.post(
                    url, json={**body, "model": "records/two:a"}, headers=headers
                ) as answer:
                    assert answer.status == 404
                assert not contract.chats  # nothing of it went further
                async with session.post(url, json=body, headers=headers) as answer:
                    assert answer.status == 404  # Ollama's own
                async with session.post(
                    f"http://127.0.0.1:{port}/api/pull", json={"model": "tiny:1b", "stream": False}
                ):
                    contract.manifests["records/one:a"] = contract.manifests["tiny:1b"]
                contract.breath = asyncio.Semaphore(1)
                async with (
                    asyncio.timeout(60),
                    session.post(url, json=body, headers=headers) as answer,
                ):
                    assert answer.content_type == "text/event-stream"
                    async for _ in answer.content.iter_any():
                        contract.breath.release()  # a word is said once the last one was heard
                assert contract.chats[-1]["model"] == "records/one:a"
                # the paths of Ollama itself are not there
                for path in ("/api/tags", "/api/delete", "/bunker/model"):
                    async with session.get(
                        f"http://{gateway.address}:8080{path}", headers=headers
                    ) as answer:
                        assert answer.status in (401, 404)
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, json=body, headers=headers) as answer,
        ):
            assert answer.status == 502
            assert json.loads(await answer.read())["error"]["code"] == "backend_unavailable"


def test_a_key_is_never_shown() -> None:
    assert "hush" not in repr(ModelServer("http://x", "hush"))
