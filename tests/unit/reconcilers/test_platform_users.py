"""Platform: it is in the networks of those who use it."""

from typing import Any

from controlplane.plan import Plan
from tests.unit.reconcilers.platforms import NAME, network_of, platform, settled, user
from tests.unit.reconcilers.world import NETWORK


async def test_it_is_in_the_networks_of_those_who_use_it() -> None:
    world = await settled()
    await network_of(world, "a", "10.202.0.0/24")
    await network_of(world, "b", "10.203.0.0/24")
    starts = world.engine.by_name(NAME).starts
    world.dependents = (user("a"), user("a", name="more"), user("b"), user("c"))
    report = await world.settle(platform())
    state = world.engine.by_name(NAME).state
    assert state.aliases == {
        NETWORK: ("shop",),
        "namespace-a": ("shop",),
        "namespace-b": ("shop",),
    }
    assert world.engine.by_name(NAME).starts == starts
    assert report.status.model_dump()["usedBy"] == ("a", "b", "c")
    assert (await world.look(platform()))[0] == Plan()
    world.dependents = (user("b"),)
    await world.settle(platform())
    assert set(world.engine.by_name(NAME).state.networks) == {NETWORK, "namespace-b"}
    world.dependents = ()
    await world.settle(platform())
    assert set(world.engine.by_name(NAME).state.networks) == {NETWORK}


async def test_a_network_made_again_is_joined_again() -> None:
    world = await settled()
    await network_of(world, "a", "10.202.0.0/24")
    world.dependents = (user("a"),)
    await world.settle(platform())
    world.engine.remove_network("namespace-a")
    await network_of(world, "a", "10.202.0.0/24")
    await world.settle(platform())
    state = world.engine.by_name(NAME).state
    network = world.engine.network_named("namespace-a")
    assert network is not None
    assert state.network_ids["namespace-a"] == network.id


async def test_a_namespace_that_is_not_ready_for_a_moment_stays_joined() -> None:
    world = await settled()
    await network_of(world, "a", "10.202.0.0/24")
    world.dependents = (user("a", network_ready=False),)
    await world.settle(platform())
    assert set(world.engine.by_name(NAME).state.networks) == {NETWORK}
    world.dependents = (user("a"),)
    await world.settle(platform())
    world.dependents = (user("a", network_ready=False),)
    await world.settle(platform())
    assert set(world.engine.by_name(NAME).state.networks) == {NETWORK, "namespace-a"}
    world.dependents = (user("a", network_ready=False, deleting=True),)
    await world.settle(platform())
    assert set(world.engine.by_name(NAME).state.networks) == {NETWORK}


async def test_who_waits_to_be_admitted_brings_it_nowhere() -> None:
    """A neighbour may have the service's name there."""
    world = await settled()
    for namespace, subnet in (("a", "10.202.0.0/24"), ("b", "10.203.0.0/24")):
        await network_of(world, namespace, subnet)
    edited: dict[str, Any] = {"names": [], "spec": {}}
    holds = {"scope": "network", "name": "shop in b", "of": "Platform/shop"}
    world.dependents = (
        user("a", status={}),
        user("a", name="edited", status={"allocation": edited}),
        user("b", name="edited", status={"allocation": {**edited, "names": [holds]}}),
    )
    await world.settle(platform())
    assert set(world.engine.by_name(NAME).state.networks) == {NETWORK, "namespace-b"}
