"""Networks, volumes, images and the engine itself, on the fake and on a real one."""

import asyncio
from dataclasses import replace

import pytest

from controlplane.errors import RetryableError
from drivers.containers import VolumeMount, VolumeSpec
from tests.contract.worlds import World, network_spec, owner, spec, with_network

# -- networks and volumes


async def test_taken_subnet_is_told_as_such(world: World) -> None:
    await world.driver.ensure_network(network_spec(world))
    with pytest.raises(RetryableError) as caught:
        await world.driver.ensure_network(network_spec(world, "second"))
    assert caught.value.reason == "SubnetInUse"


async def test_ensure_network_twice_is_once(world: World) -> None:
    wanted = network_spec(world)
    assert await world.driver.observe_network(wanted.name) is None
    made = await asyncio.gather(*(world.driver.ensure_network(wanted) for _ in range(4)))
    assert len({state.id for state in made}) == 1
    assert (made[0].owner, made[0].subnet) == (wanted.owner, world.subnet)
    assert [state.name for state in await world.driver.list_networks()] == [wanted.name]


async def test_ensure_network_finds_it_when_the_reply_was_lost(world: World) -> None:
    wanted = network_spec(world)
    world.lose_next_reply("ensure_network")
    with pytest.raises(RetryableError):
        await world.driver.ensure_network(wanted)
    made = await world.driver.ensure_network(wanted)
    assert [state.id for state in await world.driver.list_networks()] == [made.id]


async def test_ensure_network_refuses_another_owner_or_subnet(world: World) -> None:
    wanted = network_spec(world)
    await world.driver.ensure_network(wanted)
    for other in (
        replace(wanted, owner=replace(wanted.owner, uid="other")),
        replace(wanted, subnet="10.239.255.0/28"),
    ):
        with pytest.raises(RetryableError):
            await world.driver.ensure_network(other)


async def test_network_tells_who_is_in_it_and_stays_while_used(world: World) -> None:
    wanted = await with_network(world)
    made = await world.driver.ensure_container(wanted)
    await world.driver.start_container(made.id)
    network = await world.driver.observe_network(wanted.networks[0].network)
    assert network is not None
    assert network.container_ids == (made.id,)
    with pytest.raises(RetryableError):
        await world.driver.delete_network(network.name)
    await world.driver.delete_container(made.id, stop_timeout_s=1)
    for _ in range(2):
        await world.driver.delete_network(network.name)
    assert await world.driver.observe_network(network.name) is None


async def test_observe_routes_tells_used_subnets(world: World) -> None:
    await world.driver.ensure_network(network_spec(world))
    assert world.subnet in await world.driver.observe_routes()


async def test_volume_lives_until_it_is_deleted(world: World) -> None:
    wanted = VolumeSpec(f"{world.instance}-data", owner(world))
    assert await world.driver.observe_volume(wanted.name) is None
    for _ in range(2):
        made = await world.driver.ensure_volume(wanted)
        assert made.owner == wanted.owner
    assert [state.name for state in await world.driver.list_volumes()] == [wanted.name]
    for _ in range(2):
        await world.driver.delete_volume(wanted.name)
    assert await world.driver.observe_volume(wanted.name) is None


async def test_ensure_volume_refuses_another_owner(world: World) -> None:
    wanted = VolumeSpec(f"{world.instance}-data", owner(world))
    await world.driver.ensure_volume(wanted)
    with pytest.raises(RetryableError):
        await world.driver.ensure_volume(VolumeSpec(wanted.name, owner(world, "other")))


async def test_volume_outlives_its_container_and_stays_while_used(world: World) -> None:
    volume = await world.driver.ensure_volume(VolumeSpec(f"{world.instance}-data", owner(world)))
    made = await world.driver.ensure_container(
        spec(world, volumes=(VolumeMount(volume.name, "/data"),))
    )
    with pytest.raises(RetryableError) as caught:
        await world.driver.delete_volume(volume.name)
    assert caught.value.reason == "VolumeInUse"
    await world.driver.delete_container(made.id)
    assert await world.driver.observe_volume(volume.name) == volume


async def test_no_container_is_made_on_a_volume_that_is_gone(world: World) -> None:
    """The engine would make it anew, empty, and a server would start on it as if new."""
    volume = VolumeSpec(f"{world.instance}-data", owner(world))
    wanted = spec(world, volumes=(VolumeMount(volume.name, "/data"),))
    with pytest.raises(RetryableError) as caught:
        await world.driver.ensure_container(wanted)
    assert caught.value.reason == "VolumeMissing"
    assert await world.driver.observe_container(wanted.name, wanted.owner.uid) is None
    await world.driver.ensure_volume(volume)  # refused, had the engine made one of that name
    await world.driver.ensure_container(wanted)


async def test_a_volume_is_never_given_to_containers_of_two_records(world: World) -> None:
    volume = await world.driver.ensure_volume(VolumeSpec(f"{world.instance}-data", owner(world)))
    mounts = (VolumeMount(volume.name, "/data"),)
    first = spec(world, volumes=mounts)
    made = [
        await world.driver.ensure_container(wanted)
        for wanted in (first, replace(first, name=f"{first.name}-1"))
    ]
    other = spec(world, "other", volumes=mounts)
    for state in made:
        with pytest.raises(RetryableError) as caught:
            await world.driver.ensure_container(other)
        assert caught.value.reason == "VolumeInUse"
        assert await world.driver.observe_container(other.name, other.owner.uid) is None
        await world.driver.delete_container(state.id, stop_timeout_s=1)
    await world.driver.ensure_container(other)


async def test_a_volume_made_by_hand_is_told_as_nobodys_and_left_alone(world: World) -> None:
    name, user = f"{world.instance}-theirs", f"{world.instance}-user"
    world.add_foreign_volume(name, user=user)
    found = await world.driver.observe_volume(name)
    assert found is not None
    assert (found.name, found.owner) == (name, None)
    assert await world.driver.list_volumes() == ()
    with pytest.raises(RetryableError) as caught:
        await world.driver.ensure_volume(VolumeSpec(name, owner(world)))
    assert caught.value.reason == "NameTaken"
    with pytest.raises(RetryableError) as caught:
        await world.driver.delete_volume(name)
    assert caught.value.reason == "NotOurs"


async def test_a_volume_made_by_hand_is_not_shared_with_what_runs_on_it(world: World) -> None:
    name, user = f"{world.instance}-theirs", f"{world.instance}-user"
    world.add_foreign_volume(name, user=user)
    wanted = spec(world, volumes=(VolumeMount(name, "/data"),))
    with pytest.raises(RetryableError) as caught:
        await world.driver.ensure_container(wanted)
    assert caught.value.reason == "VolumeInUse"
    world.kill(user)
    await world.driver.ensure_container(wanted)


# -- engine and images


async def test_observe_engine_measures_the_host(world: World) -> None:
    engine = await world.driver.observe_engine()
    assert engine.cpus >= 1
    assert engine.memory_bytes > 1 << 28
    assert engine.root_dir.startswith("/")


async def test_ensure_image_present_is_observed(world: World) -> None:
    image = await world.driver.ensure_image(world.image)
    assert image == await world.driver.observe_image(world.image)
