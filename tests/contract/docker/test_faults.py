"""What the Docker driver makes of an engine that is away, lacks something or has too much."""

import asyncio
from contextlib import aclosing

import pytest
from docker import APIClient

from controlplane.errors import DriverUnavailableError, RetryableError, StaleEpochError
from drivers.containers import LABEL_EPOCH
from drivers.docker import DockerContainers
from drivers.docker_body import network_body
from drivers.docker_calls import DockerConfig
from tests.contract.worlds import DockerWorld, network_spec, owner, spec

pytestmark = pytest.mark.docker


async def test_broken_command_is_seen_as_a_restart_loop(world: DockerWorld) -> None:
    # With an init in between the container starts; it is the init that ends with 127, ever again.
    made = await world.driver.ensure_container(spec(world, command=("no-such-program",)))
    await world.driver.start_container(made.id)
    async with asyncio.timeout(20):
        while True:
            state = await world.driver.observe_container(made.name, owner(world).uid)
            assert state is not None
            if state.restarting and state.restart_count > 1:
                break
            await asyncio.sleep(0.1)
    assert (state.running, state.exit_code) == (False, 127)


@pytest.mark.parametrize(
    ("reference", "way_out"),
    [
        ("bunker.local/absent:1", "scripts/images --all"),
        ("absent:1", "build, load or pull it here"),
    ],
)
async def test_missing_image_is_told_with_the_way_out_and_looked_for_again(
    world: DockerWorld, reference: str, way_out: str
) -> None:
    with pytest.raises(RetryableError) as caught:
        await world.driver.ensure_image(reference)
    assert caught.value.reason == "ImageNotFound"
    assert way_out in str(caught.value)


async def test_engine_away_is_unavailable() -> None:
    config = DockerConfig(instance="x", url="unix:///nowhere/docker.sock")
    async with aclosing(DockerContainers(config)) as driver:
        with pytest.raises(DriverUnavailableError):
            await driver.observe_engine()
        with pytest.raises(DriverUnavailableError):
            await driver.list_containers()


async def test_process_that_lost_its_lease_changes_nothing(world: DockerWorld) -> None:
    def deposed() -> int:
        raise StaleEpochError("deposed")

    config = DockerConfig(instance=world.instance)
    async with aclosing(DockerContainers(config, guard=deposed)) as driver:
        with pytest.raises(StaleEpochError):
            await driver.ensure_container(spec(world))
        with pytest.raises(StaleEpochError):
            await driver.ensure_network(network_spec(world))
        assert await driver.list_containers() == ()
        assert await driver.list_networks() == ()


async def test_objects_carry_the_epoch_they_were_made_under(world: DockerWorld) -> None:
    config = DockerConfig(instance=world.instance)
    async with aclosing(DockerContainers(config, guard=lambda: 42)) as driver:
        made = await driver.ensure_container(spec(world))
    assert made.labels[LABEL_EPOCH] == "42"


async def test_duplicate_networks_are_resolved_to_the_oldest(world: DockerWorld) -> None:
    wanted = network_spec(world)
    body = {**network_body(wanted, instance=world.instance, epoch=0), "CheckDuplicate": False}
    first = world.raw.call("POST", "/networks/create", body=body)["Id"]
    # The engine takes the same name again, and only refuses the same subnet.
    other_subnet = {**body, "IPAM": {"Driver": "default"}}
    world.raw.call("POST", "/networks/create", body=other_subnet)
    assert len(await world.driver.list_networks()) == 2
    assert (await world.driver.ensure_network(wanted)).id == first
    assert [state.id for state in await world.driver.list_networks()] == [first]


async def test_delete_container_leaves_no_anonymous_volume(
    world: DockerWorld, docker_client: APIClient
) -> None:
    body = {"Image": world.image, "Volumes": {"/data": {}}}
    made = await world.driver.ensure_container(spec(world))
    labels = world.raw.call("GET", "/containers/{}/json", made.id)["Config"]["Labels"]
    await world.driver.delete_container(made.id)
    query = {"name": made.name}
    again = world.raw.call(
        "POST", "/containers/create", query=query, body={**body, "Labels": labels}
    )["Id"]
    world.raw.call("POST", "/containers/{}/start", again)
    (mount,) = world.raw.call("GET", "/containers/{}/json", again)["Mounts"]
    await world.driver.delete_container(again, stop_timeout_s=1)
    volumes = docker_client.volumes()["Volumes"] or ()
    assert mount["Name"] not in {volume["Name"] for volume in volumes}
