"""What every server of models does alike: the fake, a container with llama.cpp, Ollama's API, and
our image of Ollama's API."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from controlplane.errors import RetryableError
from tests.contract.model_worlds import (
    FakeWorld,
    LlamaWorld,
    ModelWorld,
    OllamaImageWorld,
    OllamaWorld,
    llama_world,
    ollama_image_world,
    ollama_world,
    settled,
    state_of,
    until,
)


@pytest.fixture(
    params=[
        "fake",
        "ollama",
        pytest.param("llamacpp", marks=pytest.mark.docker),
        pytest.param("ollama-image", marks=pytest.mark.docker),
    ]
)
async def world(request: Any) -> AsyncIterator[ModelWorld]:
    if request.param == "fake":
        yield FakeWorld()
    elif request.param == "ollama":
        async with ollama_world() as ollama:
            yield ollama
    elif request.param == "llamacpp":
        async with llama_world() as llama:
            yield llama
    else:
        async with ollama_image_world() as image:
            yield image


def slow(world: ModelWorld) -> None:
    """Let a pull last for a while."""
    match world:
        case LlamaWorld() | OllamaImageWorld():
            world.files.pause_s, world.files.chunk = 0.05, 10_000
        case OllamaWorld():
            world.contract.pause_s, world.contract.chunk = 0.05, 50
        case FakeWorld():
            world.fake.looks = 5
        case _:
            raise AssertionError(world)


def quick(world: ModelWorld) -> None:
    """Let one under way soon end."""
    match world:
        case LlamaWorld() | OllamaImageWorld():
            world.files.pause_s = 0.0
        case OllamaWorld():
            world.contract.pause_s = 0.0
        case FakeWorld():
            world.fake.looks = 1
        case _:
            raise AssertionError(world)


async def ready(world: ModelWorld, **changes: Any) -> None:
    await world.models.ensure_model(world.server, world.order(**changes))
    assert (await until(world, settled)).phase == "ready"


async def test_what_was_never_ordered_is_not_there(world: ModelWorld) -> None:
    found = await state_of(world)
    assert (found.phase, found.digest, found.failure) == ("empty", "", None)


async def test_what_is_fetched_of_an_earlier_source_is_told_and_can_be_removed(
    world: ModelWorld,
) -> None:
    if isinstance(world, LlamaWorld):
        return  # it holds one model, whatever its name
    slow(world)
    models, server, earlier = world.models, world.server, world.name
    await models.ensure_model(server, world.order())
    assert (await state_of(world)).phase == "pulling"
    world.name = earlier.replace(":a", ":b")
    found = await state_of(world)
    assert (found.phase, found.others) == ("empty", (earlier,))
    await models.delete_model(server, earlier)
    assert not (await state_of(world)).others
    world.name = earlier
    assert (await state_of(world)).phase == "empty"


async def test_an_order_is_fetched_with_progress_and_then_there(world: ModelWorld) -> None:
    slow(world)
    order = world.order()
    await world.models.ensure_model(world.server, order)
    pulling = await until(world, lambda state: 0 < state.completed_bytes < world.size)
    assert (pulling.phase, pulling.order) == ("pulling", order.order)
    found = await until(world, settled)
    assert (found.phase, found.digest, found.size_bytes) == ("ready", world.digest, world.size)
    assert (found.order, found.failure) == (order.order, None)


async def test_the_same_order_twice_is_carried_out_once(world: ModelWorld) -> None:
    order = world.order()
    await world.models.ensure_model(world.server, order)
    await world.models.ensure_model(world.server, order)
    before = await until(world, settled)
    world.hide_source()  # it would now fail
    await world.models.ensure_model(world.server, order)
    assert (await until(world, settled)).digest == before.digest


async def test_the_right_digest_is_taken(world: ModelWorld) -> None:
    await ready(world, digest=world.digest)
    assert (await state_of(world)).digest == world.digest


async def test_another_digest_is_a_lasting_failure_that_leaves_nothing(world: ModelWorld) -> None:
    wrong = "sha256:" + "0" * 64
    await world.models.ensure_model(world.server, world.order(digest=wrong))
    found = await until(world, settled)
    assert found.phase == "failed"
    assert found.failure is not None
    assert (found.failure.reason, found.failure.lasting) == ("DigestMismatch", True)
    assert wrong in found.failure.message
    assert world.digest in found.failure.message
    assert (found.digest, found.size_bytes) == ("", 0)
    await ready(world)


async def test_another_digest_of_what_is_there_is_told_and_taken_back(world: ModelWorld) -> None:
    await ready(world)
    wrong = world.order(digest="sha256:" + "0" * 64)
    await world.models.ensure_model(world.server, wrong)
    found = await until(world, settled)
    assert (found.phase, found.order) == ("failed", wrong.order)
    assert found.failure is not None
    assert (found.failure.reason, found.failure.lasting) == ("DigestMismatch", True)
    await ready(world, digest=world.digest)
    found = await state_of(world)
    assert (found.digest, found.size_bytes, found.failure) == (world.digest, world.size, None)


async def test_what_does_not_fit_is_a_lasting_failure(world: ModelWorld) -> None:
    await world.models.ensure_model(world.server, world.order(max_bytes=world.size - 1))
    found = await until(world, settled)
    assert found.failure is not None
    assert (found.failure.reason, found.failure.lasting) == ("TooLarge", True)


async def test_a_missing_source_fails_and_works_once_it_is_there(world: ModelWorld) -> None:
    world.hide_source()
    order = world.order()
    await world.models.ensure_model(world.server, order)
    found = await until(world, settled)
    assert found.failure is not None
    assert not found.failure.lasting
    assert found.failure.attempts == 1
    world.show_source()
    await world.models.ensure_model(world.server, order)
    assert (await until(world, settled)).phase == "ready"


async def test_one_removed_behind_its_back_is_seen_and_fetched_again(world: ModelWorld) -> None:
    await ready(world)
    await world.remove_behind()
    assert (await until(world, lambda state: state.phase == "empty")).digest == ""
    await ready(world)


async def test_it_is_loaded_and_unloaded(world: ModelWorld) -> None:
    await ready(world)
    for _ in range(2):
        await world.models.load_model(world.server, world.name, keep_alive_s=None)
        assert (await state_of(world)).loaded
    for _ in range(2):
        await world.models.unload_model(world.server, world.name)
        assert not (await state_of(world)).loaded
    await world.models.load_model(world.server, world.name, keep_alive_s=300)
    await world.unload_behind()
    await until(world, lambda state: not state.loaded)
    await world.models.load_model(world.server, world.name, keep_alive_s=300)
    assert (await state_of(world)).loaded


async def test_deleting_leaves_nothing_and_twice_is_once(world: ModelWorld) -> None:
    await ready(world)
    await world.models.delete_model(world.server, world.name)
    await world.models.delete_model(world.server, world.name)
    assert (await state_of(world)).phase == "empty"


async def test_deleting_ends_a_pull(world: ModelWorld) -> None:
    slow(world)
    await world.models.ensure_model(world.server, world.order())
    await until(world, lambda state: state.phase == "pulling" and state.completed_bytes > 0)
    await world.models.delete_model(world.server, world.name)
    quick(world)
    await asyncio.sleep(0.3)
    assert (await state_of(world)).phase == "empty"
    world.hide_source()  # nothing was brought that could be taken instead
    await world.models.ensure_model(world.server, world.order())
    assert (await until(world, settled)).phase == "failed"


async def test_a_new_order_takes_the_place_of_one_under_way(world: ModelWorld) -> None:
    slow(world)
    first = world.order(digest="sha256:" + "0" * 64)
    await world.models.ensure_model(world.server, first)
    await until(world, lambda state: state.phase == "pulling")
    await world.models.ensure_model(world.server, replace(first, order="second", digest=""))
    found = await until(world, settled)
    assert (found.phase, found.order) == ("ready", "second")


async def test_a_server_that_is_away_is_nothing_seen_and_an_error_when_it_should_act(
    world: ModelWorld,
) -> None:
    await world.stop()
    assert await world.models.observe_model(world.server, world.name) is None
    models, server = world.models, world.server
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: models.load_model(server, world.name, keep_alive_s=None),
        lambda: models.unload_model(server, world.name),
        lambda: models.delete_model(server, world.name),
    ]
    if isinstance(world, OllamaWorld | OllamaImageWorld):
        # it pulls in the background, and tells there
        await models.ensure_model(server, world.order())
        calls.insert(0, lambda: models.delete_model(server, world.name))
    else:
        calls.insert(0, lambda: models.ensure_model(server, world.order()))
    for call in calls:
        with pytest.raises(RetryableError) as caught:
            await call()
        assert caught.value.reason == "ServerUnavailable"
