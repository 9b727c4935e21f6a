"""What of a container is corrected while it is there, on the fake and on a real engine."""

from dataclasses import replace

import pytest

from controlplane.errors import RetryableError
from drivers.containers import LABEL_PREFIX, LABEL_SLOT, Limits, NetworkAttachment
from tests.contract.worlds import World, network_spec, observed, owner, spec, started, with_network

LABEL_NOTE = LABEL_PREFIX + "note"


async def test_ensure_container_renames_back(world: World) -> None:
    wanted = spec(world, labels={LABEL_SLOT: "0"})
    made = await world.driver.ensure_container(wanted)
    world.rename(wanted.name, f"{world.instance}-hidden")
    hidden = await world.driver.observe_container(wanted.name, wanted.owner.uid)
    assert hidden is not None
    assert (hidden.id, hidden.name) == (made.id, f"{world.instance}-hidden")
    healed = await world.driver.ensure_container(wanted)
    assert (healed.id, healed.name) == (made.id, wanted.name)


async def test_observe_container_tells_slots_of_one_owner_apart(world: World) -> None:
    first = spec(world, labels={LABEL_SLOT: "0"})
    second = spec(world, labels={LABEL_SLOT: "1"}, name=f"{first.name}-1")
    await world.driver.ensure_container(first)
    made = await world.driver.ensure_container(second)
    world.rename(second.name, f"{world.instance}-hidden")
    seen = await world.driver.observe_container(second.name, second.owner.uid)
    assert seen is not None
    assert seen.id == made.id


async def test_a_note_stays_as_it_was_when_the_container_was_made(world: World) -> None:
    first = spec(world, notes={LABEL_NOTE: "one"})
    made = await world.driver.ensure_container(first)
    again = await world.driver.ensure_container(replace(first, notes={LABEL_NOTE: "two"}))
    seen = await world.driver.observe_container(first.name, first.owner.uid)
    assert seen is not None
    assert made.id == again.id == seen.id
    assert {each.labels[LABEL_NOTE] for each in (made, again, seen)} == {"one"}


async def test_rename_back_is_refused_when_a_foreign_one_has_the_name(world: World) -> None:
    wanted = spec(world)
    await world.driver.ensure_container(wanted)
    world.rename(wanted.name, f"{world.instance}-hidden")
    foreign = world.add_foreign(wanted.name)
    with pytest.raises(RetryableError) as caught:
        await world.driver.ensure_container(wanted)
    assert caught.value.reason == "NameTaken"
    assert world.exists(foreign)


@pytest.mark.parametrize(
    "limits",
    [
        pytest.param(Limits(400, 64 << 20, 128), id="grow"),
        pytest.param(Limits(100, 16 << 20, 32), id="shrink"),
    ],
)
async def test_ensure_container_changes_limits_without_a_restart(
    world: World, limits: Limits
) -> None:
    name = await started(world)
    before = await world.driver.observe_container(name, owner(world).uid)
    after = await world.driver.ensure_container(spec(world, limits=limits))
    assert before is not None
    assert after.limits == limits
    assert (after.id, after.started_at) == (before.id, before.started_at)
    assert after.running


async def test_ensure_container_corrects_limits_changed_outside(world: World) -> None:
    name = await started(world)
    world.update(name, Limits(300, 48 << 20, 99))
    seen = await world.driver.observe_container(name, owner(world).uid)
    assert seen is not None
    assert seen.limits == Limits(300, 48 << 20, 99)
    assert (await world.driver.ensure_container(spec(world))).limits == spec(world).limits


@pytest.mark.parametrize("stopped", [False, True])
async def test_ensure_container_has_the_engine_restart_it_again_without_a_restart(
    world: World, stopped: bool
) -> None:
    name = await started(world)
    before = await observed(world, name)
    assert before.restarts
    if stopped:
        await world.driver.stop_container(before.id, timeout_s=1)
    world.forbid_restarts(name)
    assert not (await observed(world, name)).restarts
    after = await world.driver.ensure_container(spec(world))
    assert after.restarts
    assert after.limits == spec(world).limits
    assert (after.id, after.started_at, after.running) == (
        before.id,
        before.started_at,
        not stopped,
    )


async def test_ensure_container_reconnects_a_running_one(world: World) -> None:
    wanted = await with_network(world)
    network = wanted.networks[0]
    made = await world.driver.ensure_container(wanted)
    await world.driver.start_container(made.id)
    before = await world.driver.observe_container(wanted.name, wanted.owner.uid)
    world.disconnect(wanted.name, network.network)
    seen = await world.driver.observe_container(wanted.name, wanted.owner.uid)
    assert seen is not None
    assert seen.networks == {}
    healed = await world.driver.ensure_container(wanted)
    assert before is not None
    assert set(healed.aliases[network.network]) == {"db", "shop"}
    assert healed.networks[network.network] != ""
    assert (healed.running, healed.started_at) == (True, before.started_at)


async def test_ensure_container_reconnects_to_a_network_made_anew(world: World) -> None:
    wanted = await with_network(world)
    made = await world.driver.ensure_container(wanted)
    await world.driver.start_container(made.id)
    world.remove_network(wanted.networks[0].network)
    network = await world.driver.ensure_network(network_spec(world))
    healed = await world.driver.ensure_container(wanted)
    assert healed.network_ids[network.name] == network.id
    assert healed.running


async def test_stopped_container_starts_in_a_network_made_anew(world: World) -> None:
    wanted = await with_network(world)
    made = await world.driver.ensure_container(wanted)
    await world.driver.start_container(made.id)
    await world.driver.stop_container(made.id, timeout_s=1)
    world.remove_network(wanted.networks[0].network)
    network = await world.driver.ensure_network(network_spec(world))
    await world.driver.ensure_container(wanted)
    await world.driver.start_container(made.id)
    healed = await world.driver.observe_container(wanted.name, wanted.owner.uid)
    assert healed is not None
    assert healed.running
    assert healed.network_ids[network.name] == network.id


async def test_ensure_container_changes_aliases_in_place(world: World) -> None:
    wanted = await with_network(world)
    made = await world.driver.ensure_container(wanted)
    await world.driver.start_container(made.id)
    network = wanted.networks[0].network
    renamed = replace(wanted, networks=(NetworkAttachment(network, ("other",)),))
    after = await world.driver.ensure_container(renamed)
    assert after.aliases[network] == ("other",)
    assert (after.id, after.running) == (made.id, True)
