"""What a runtime tells of what others do, on the fake and on a real engine."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from drivers.containers import Limits, OwnerChanged, VolumeSpec
from tests.contract.worlds import (
    World,
    expect,
    network_spec,
    observed,
    owner,
    started,
    with_network,
)


async def test_events_begin_with_everything(world: World) -> None:
    async with listening(world) as told:
        assert await told() == OwnerChanged(None, "connected")


@pytest.mark.parametrize("what", ["kill", "pause", "rename", "remove", "update", "disconnect"])
async def test_events_tell_the_owner_of_what_others_do(world: World, what: str) -> None:
    wanted = await with_network(world)
    made = await world.driver.ensure_container(wanted)
    await world.driver.start_container(made.id)
    async with listening(world) as told:
        await told()
        match what:
            case "rename":
                world.rename(wanted.name, f"{world.instance}-hidden")
            case "update":
                world.update(wanted.name, Limits(300, 48 << 20, 99))
            case "disconnect":
                world.disconnect(wanted.name, wanted.networks[0].network)
            case _:
                getattr(world, what)(wanted.name)
        assert (await told()).owner == wanted.owner


async def test_who_is_told_of_a_kill_sees_it_dead(world: World) -> None:
    """Not that a signal was sent: whoever looked then would ask a server that is dying."""
    name = await started(world)
    async with listening(world) as told:
        await told()
        await expect(world, name, running=True, paused=False)
        world.kill(name)
        await told()
        await expect(world, name, running=False, paused=False)


async def test_events_tell_the_owner_of_a_removed_network(world: World) -> None:
    wanted = network_spec(world)
    async with listening(world) as told:
        await told()
        await world.driver.ensure_network(wanted)
        world.remove_network(wanted.name)
        assert (await told()).owner == wanted.owner


async def test_events_tell_the_owner_of_a_removed_volume(world: World) -> None:
    wanted = VolumeSpec(f"{world.instance}-data", owner(world))
    async with listening(world) as told:
        await told()
        await world.driver.ensure_volume(wanted)
        world.remove_volume(wanted.name)
        assert (await told()).owner == wanted.owner


async def test_observe_container_is_never_stale_after_an_event(world: World) -> None:
    name = await started(world)
    async with listening(world) as told:
        await told()
        await expect(world, name, running=True, paused=False)
        world.kill(name)
        while (await observed(world, name)).running:
            await told()


# -- helpers


class Told:
    """The next change, within 5 s."""

    def __init__(self, events: AsyncIterator[OwnerChanged]) -> None:
        self._events = events

    async def __call__(self) -> OwnerChanged:
        async with asyncio.timeout(5):
            return await anext(self._events)


@asynccontextmanager
async def listening(world: World) -> AsyncIterator[Told]:
    events = world.driver.events()
    try:
        yield Told(events)
    finally:
        await events.aclose()  # type: ignore[attr-defined]  # both are async generators
