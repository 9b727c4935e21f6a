"""Addresses in networks that a real engine shares with others."""

from drivers.containers import ContainerState
from tests.contract.worlds import DockerWorld, observed, with_network


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


async def test_an_address_that_was_given_up_is_not_the_next_to_be_given(
    world: DockerWorld,
) -> None:
    """Whoever still goes by it would find another's server there."""
    before, network = await _stopped(world)
    await world.driver.delete_container(before.id)
    after, _ = await _stopped(world)
    assert after.networks[network] != before.networks[network]
