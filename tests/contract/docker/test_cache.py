"""What the Docker driver knows from events, and what it asks the engine for."""

import asyncio
from typing import cast

import pytest

from drivers.containers import NetworkAttachment
from drivers.docker import DockerContainers
from tests.contract.docker.watching import listening, run
from tests.contract.worlds import DockerWorld, owner, spec, with_network

pytestmark = pytest.mark.docker


async def test_unchanged_world_costs_the_engine_no_call(world: DockerWorld) -> None:
    driver = cast("DockerContainers", world.driver)
    wanted = await with_network(world)
    uid, network = wanted.owner.uid, wanted.networks[0].network
    await run(world, wanted)
    async with listening(driver):
        await asyncio.sleep(0.3)
        for _ in range(2):
            await driver.observe_container(wanted.name, uid)
            await driver.list_containers(uid)
            await driver.observe_network(network)
            await driver.observe_image(world.image)
        cache = driver.cache
        before = (cache.containers.misses, cache.networks.misses, cache.images.misses)
        for _ in range(5):
            assert await driver.observe_container(wanted.name, uid) is not None
            assert len(await driver.list_containers(uid)) == 1
            assert await driver.observe_network(network) is not None
            assert await driver.observe_image(world.image) is not None
        assert before == (cache.containers.misses, cache.networks.misses, cache.images.misses)


async def test_a_new_container_costs_the_engine_few_calls(world: DockerWorld) -> None:
    driver = cast("DockerContainers", world.driver)
    wanted = await with_network(world)
    uid, network = wanted.owner.uid, wanted.networks[0].network
    async with listening(driver) as listener:
        await asyncio.sleep(0.3)  # the list that tells who owns what is taken
        await driver.observe_network(network)
        await driver.observe_engine()
        await driver.observe_container("nobody", uid)
        # the first in a network asks which of its addresses are free
        await driver.ensure_container(await with_network(world, name="first"))
        world.lossy.asked.clear()
        made = await driver.ensure_container(wanted)
        await driver.start_container(made.id)
        await listener.until("container start")
        await asyncio.gather(*(driver.list_containers(uid) for _ in range(3)))
        found = await driver.observe_network(network)
        await driver.observe_engine()
        assert found is not None
        assert found.container_ids == (made.id,)
        assert world.lossy.asked == {
            "POST /containers/create": 1,
            "POST /containers/{}/start": 1,
            "GET /containers/{}/json": 1,  # once started
        }
        assert "network connect" not in {change.what for change in listener.told}


async def test_a_start_that_several_are_told_of_is_looked_at_once(world: DockerWorld) -> None:
    driver = cast("DockerContainers", world.driver)
    made = await driver.ensure_container(spec(world))
    uid = owner(world).uid
    async with listening(driver) as one, listening(driver) as other, asyncio.TaskGroup() as tasks:
        await asyncio.sleep(0.3)  # the lists that tell who owns what are taken
        world.lossy.asked.clear()
        world.lossy.hold = "/containers/{}/start"
        starting = tasks.create_task(driver.start_container(made.id))
        await one.until("container start")
        seen = await driver.list_containers(uid)
        await other.until("container start")
        assert await driver.list_containers(uid) == seen
        world.lossy.go.set()
        await starting
        assert await driver.list_containers(uid) == seen
        assert [state.running for state in seen] == [True]
        assert world.lossy.asked["GET /containers/{}/json"] == 1


async def test_renamed_container_is_found_while_events_are_read(world: DockerWorld) -> None:
    driver = cast("DockerContainers", world.driver)
    wanted = spec(world)
    async with listening(driver) as listener:
        made = await driver.ensure_container(wanted)
        world.rename(wanted.name, f"{world.instance}-hidden")
        await listener.until("container rename")
        seen = await driver.observe_container(wanted.name, wanted.owner.uid)
        assert seen is not None
        assert seen.name == f"{world.instance}-hidden"
        healed = await driver.ensure_container(wanted)
        assert (healed.id, healed.name) == (made.id, wanted.name)


async def test_own_changes_are_seen_at_once(world: DockerWorld) -> None:
    driver = cast("DockerContainers", world.driver)
    wanted = await with_network(world)
    made = await driver.ensure_container(wanted)
    async with listening(driver):
        for _ in range(3):
            await driver.start_container(made.id)
            state = await driver.observe_container(wanted.name, wanted.owner.uid)
            assert state is not None
            assert state.running
            await driver.stop_container(made.id, timeout_s=1)
            state = await driver.observe_container(wanted.name, wanted.owner.uid)
            assert state is not None
            assert not state.running
        renamed = (NetworkAttachment(wanted.networks[0].network, ("new",)),)
        after = await driver.ensure_container(spec(world, networks=renamed))
        assert after == await driver.observe_container(wanted.name, wanted.owner.uid)
        await driver.delete_container(made.id)
        assert await driver.list_containers(wanted.owner.uid) == ()
