"""Addresses in networks that a real engine shares with others."""

from ipaddress import ip_network

import pytest

from drivers.containers import ContainerState, NetworkAttachment, NetworkState
from tests.contract.worlds import DockerWorld, observed, spec, with_network

pytestmark = pytest.mark.docker


def _hosts(network: NetworkState) -> list[str]:
    """The first is the gateway's; the last three of six are given first."""
    return [str(host) for host in ip_network(network.subnet).hosts()]


async def _stopped(world: DockerWorld) -> tuple[ContainerState, str]:
    """A container that ran, and the network it is in."""
    wanted = await with_network(world)
    made = await world.driver.ensure_container(wanted)
    await world.driver.start_container(made.id)
    state = await observed(world, wanted.name)
    await world.driver.stop_container(made.id, timeout_s=0)
    return state, wanted.networks[0].network


async def test_who_comes_back_to_find_its_address_taken_gets_another(world: DockerWorld) -> None:
    before, network = await _stopped(world)
    world.add_foreign_at(f"{world.instance}-squatter", network, before.networks[network])
    await world.driver.start_container(before.id)
    after = await observed(world, before.name)
    assert after.running
    assert after.networks[network] not in {"", before.networks[network]}
    assert set(after.aliases[network]) == {"db", "shop"}


async def test_it_keeps_those_that_nobody_took(world: DockerWorld) -> None:
    nets = [(await world.driver.ensure_network(each)).name for each in world.two_networks()]
    wanted = spec(world, networks=tuple(NetworkAttachment(net, ("shop",)) for net in nets))
    made = await world.driver.ensure_container(wanted)
    await world.driver.start_container(made.id)
    before = (await observed(world, wanted.name)).networks
    await world.driver.stop_container(made.id, timeout_s=0)
    world.add_foreign_at(f"{world.instance}-squatter", nets[1], before[nets[1]])
    await world.driver.start_container(made.id)
    after = (await observed(world, wanted.name)).networks
    assert after[nets[0]] == before[nets[0]]
    assert after[nets[1]] not in {"", before[nets[1]]}


async def test_who_lets_the_engine_choose_takes_no_address_that_is_kept(world: DockerWorld) -> None:
    """As containers of earlier releases do, which may start first after a restart."""
    before, network = await _stopped(world)
    for number in range(3):
        world.add_foreign_at(f"{world.instance}-other{number}", network, None)
    await world.driver.start_container(before.id)
    after = await observed(world, before.name)
    assert after.networks == before.networks


async def test_an_address_that_was_given_up_is_not_the_next_to_be_given(
    world: DockerWorld,
) -> None:
    """Whoever still goes by it would find another's server there."""
    before, network = await _stopped(world)
    await world.driver.delete_container(before.id)
    after, _ = await _stopped(world)
    assert after.networks[network] != before.networks[network]


async def test_a_running_container_joins_at_another_address_if_the_next_is_taken(
    world: DockerWorld,
) -> None:
    home, other = [await world.driver.ensure_network(each) for each in world.two_networks()]
    first = spec(world, "first", networks=(NetworkAttachment(other.name),))
    made = await world.driver.ensure_container(first)  # its address begins a round
    await world.driver.start_container(made.id)
    (seen,) = await world.driver.list_containers()
    held = seen.networks[other.name]
    for number, address in enumerate(_hosts(other)[-3:]):
        if address != held:
            world.add_foreign_at(f"{world.instance}-squatter{number}", other.name, address)
    wanted = spec(world, networks=(NetworkAttachment(home.name),))
    made = await world.driver.ensure_container(wanted)
    await world.driver.start_container(made.id)
    both = spec(world, networks=(*wanted.networks, NetworkAttachment(other.name)))
    joined = await world.driver.ensure_container(both)
    assert joined.networks[other.name] in _hosts(other)[1:3]
    left = await world.driver.ensure_container(wanted)
    assert set(left.networks) == {home.name}


async def test_a_network_that_could_not_be_joined_is_not_taken_for_joined(
    world: DockerWorld,
) -> None:
    """The engine lists it all the same."""
    home, other = [await world.driver.ensure_network(each) for each in world.two_networks()]
    wanted = spec(world, networks=(NetworkAttachment(home.name),))
    made = await world.driver.ensure_container(wanted)
    await world.driver.start_container(made.id)
    taken = _hosts(other)[-1]
    world.add_foreign_at(f"{world.instance}-squatter", other.name, taken)
    world.fail_to_join(made.name, other.name, taken)
    assert set((await observed(world, wanted.name)).networks) == {home.name}
    assert set((await world.driver.ensure_container(wanted)).networks) == {home.name}
    both = spec(world, networks=(*wanted.networks, NetworkAttachment(other.name)))
    joined = await world.driver.ensure_container(both)
    assert joined.networks[other.name] not in {"", taken}
