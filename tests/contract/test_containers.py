"""What every container runtime must do: one suite on the fake and on a real Docker engine.

Over 400 lines, because the contract of a runtime is read as one list.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from controlplane.errors import ConflictError, RetryableError, TerminalError
from drivers.containers import (
    LABEL_SLOT,
    ContainerSpec,
    ContainerState,
    Limits,
    NetworkAttachment,
    OwnerChanged,
    VolumeMount,
    VolumeSpec,
)
from drivers.digest import container_digest
from tests.contract.worlds import World, network_spec, owner, spec, with_network

# -- making


def as_asked(state: ContainerState) -> ContainerState:
    """But for what only a look tells."""
    return replace(state, image_id="", created_at="")


async def seen_as_asked(world: World, wanted: ContainerSpec) -> ContainerState:
    seen = await world.driver.observe_container(wanted.name, wanted.owner.uid)
    assert seen is not None
    return as_asked(seen)


async def test_observe_container_is_none_when_absent(world: World) -> None:
    assert await world.driver.observe_container("nobody", "no-uid") is None


async def test_ensure_container_makes_it_without_starting(world: World) -> None:
    wanted = spec(world)
    made = await world.driver.ensure_container(wanted)
    assert (made.name, made.owner, made.digest) == (wanted.name, wanted.owner, wanted.digest)
    assert made.limits == wanted.limits
    assert not made.running
    assert as_asked(made) == await seen_as_asked(world, wanted)


async def test_ensure_container_twice_is_once(world: World) -> None:
    wanted = await with_network(world)
    first = await world.driver.ensure_container(wanted)
    await world.driver.start_container(first.id)
    before = await world.driver.observe_container(wanted.name, wanted.owner.uid)
    assert await world.driver.ensure_container(wanted) == before
    assert len(await world.driver.list_containers()) == 1


async def test_ensure_container_is_single_flight(world: World) -> None:
    wanted = spec(world)
    made = await asyncio.gather(*(world.driver.ensure_container(wanted) for _ in range(4)))
    assert len({state.id for state in made}) == 1


async def test_ensure_container_finds_it_when_the_reply_was_lost(world: World) -> None:
    wanted = spec(world)
    world.lose_next_reply("ensure_container")
    try:
        made = await world.driver.ensure_container(wanted)
    except RetryableError:
        made = await world.driver.ensure_container(wanted)
    assert [state.id for state in await world.driver.list_containers()] == [made.id]


async def test_ensure_container_refuses_another_digest(world: World) -> None:
    wanted = spec(world)
    made = await world.driver.ensure_container(wanted)
    other = replace(wanted, env={"A": "b"})
    with pytest.raises(RetryableError) as caught:
        await world.driver.ensure_container(replace(other, digest=container_digest(other)))
    assert caught.value.reason == "DigestDiffers"
    assert await seen_as_asked(world, wanted) == as_asked(made)


async def test_ensure_container_never_takes_over_a_foreign_name(world: World) -> None:
    wanted = spec(world)
    foreign = world.add_foreign(wanted.name)
    assert await world.driver.observe_container(wanted.name, wanted.owner.uid) is None
    with pytest.raises(RetryableError) as caught:
        await world.driver.ensure_container(wanted)
    assert caught.value.reason == "NameTaken"
    assert wanted.name in str(caught.value)
    assert world.exists(foreign)


async def test_ensure_container_never_takes_over_another_owners(world: World) -> None:
    wanted = spec(world)
    made = await world.driver.ensure_container(wanted)
    other = replace(wanted, owner=replace(wanted.owner, uid="someone-else"))
    assert await world.driver.observe_container(wanted.name, "someone-else") is None
    with pytest.raises(RetryableError):
        await world.driver.ensure_container(other)
    assert await seen_as_asked(world, wanted) == as_asked(made)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"keep_caps": ("SYS_ADMIN",)}, id="capability"),
        pytest.param({"capabilities": ("NET_ADMIN",)}, id="capability of a platform service"),
        pytest.param({"devices": ("/dev/net/tun",)}, id="device of a platform service"),
        pytest.param({"sysctls": {"net.ipv4.ip_forward": "1"}}, id="sysctl of a platform service"),
        pytest.param({"secrets_dir": "/etc"}, id="host path"),
        pytest.param({"networks": (NetworkAttachment("host"),)}, id="host network"),
        pytest.param({"volumes": (VolumeMount("/", "/data"),)}, id="host path as volume"),
        pytest.param({"limits": Limits(0, 32 << 20)}, id="no CPU limit"),
    ],
)
async def test_ensure_container_refuses_what_none_may_have(
    world: World, changes: dict[str, Any]
) -> None:
    with pytest.raises(TerminalError):
        await world.driver.ensure_container(spec(world, **changes))
    assert await world.driver.list_containers() == ()


async def test_a_service_of_the_platform_may_have_more(world: World) -> None:
    wanted = await with_network(
        world,
        owner=replace(owner(world), kind="Platform", namespace="platform"),
        capabilities=("NET_ADMIN",),
        devices=("/dev/net/tun",),
        sysctls={"net.ipv4.ip_forward": "1"},
    )
    made = await world.driver.ensure_container(wanted)
    await world.driver.start_container(made.id)
    seen = await world.driver.observe_container(wanted.name, wanted.owner.uid)
    assert seen is not None
    assert seen.running
    assert await world.driver.ensure_container(wanted) == seen


async def test_ensure_container_waits_for_a_missing_network(world: World) -> None:
    with pytest.raises(RetryableError):
        await world.driver.ensure_container(
            spec(world, networks=(NetworkAttachment(f"{world.instance}-absent"),))
        )


async def test_list_containers_filters_by_owner(world: World) -> None:
    await world.driver.ensure_container(spec(world, "a"))
    await world.driver.ensure_container(spec(world, "b"))
    world.add_foreign(f"{world.instance}-foreign")
    names = [state.name for state in await world.driver.list_containers()]
    assert names == [f"{world.instance}-a", f"{world.instance}-b"]
    mine = await world.driver.list_containers(owner(world, "b").uid)
    assert [state.name for state in mine] == [f"{world.instance}-b"]


# -- running


async def test_start_container_runs_it_and_again_has_no_effect(world: World) -> None:
    wanted = await with_network(world)
    made = await world.driver.ensure_container(wanted)
    await world.driver.start_container(made.id)
    first = await world.driver.observe_container(wanted.name, wanted.owner.uid)
    await world.driver.start_container(made.id)
    assert first is not None
    assert first.running
    assert first.networks[wanted.networks[0].network].startswith("10.23")
    assert first == await world.driver.observe_container(wanted.name, wanted.owner.uid)


async def test_start_container_is_a_conflict_when_it_is_gone(world: World) -> None:
    made = await world.driver.ensure_container(spec(world))
    world.remove(made.name)
    with pytest.raises(ConflictError):
        await world.driver.start_container(made.id)


async def test_start_container_thaws_a_paused_one(world: World) -> None:
    made = await started(world)
    world.pause(made)
    await expect(world, made, running=True, paused=True)
    await world.driver.start_container(await the_id(world, made))
    await expect(world, made, running=True, paused=False)


async def test_pause_container_twice_is_once(world: World) -> None:
    made = await started(world)
    for _ in range(2):
        await world.driver.pause_container(await the_id(world, made))
    await expect(world, made, running=True, paused=True)


async def test_pause_container_is_refused_when_it_is_stopped(world: World) -> None:
    made = await world.driver.ensure_container(spec(world))
    with pytest.raises(RetryableError):
        await world.driver.pause_container(made.id)


async def test_stop_container_twice_is_once(world: World) -> None:
    made = await started(world)
    for _ in range(2):
        await world.driver.stop_container(await the_id(world, made), timeout_s=1)
    await expect(world, made, running=False, paused=False)


async def test_stop_container_stops_a_paused_one(world: World) -> None:
    made = await started(world)
    world.pause(made)
    await world.driver.stop_container(await the_id(world, made), timeout_s=1)
    await expect(world, made, running=False, paused=False)


async def test_killed_container_is_seen_dead_and_starts_again(world: World) -> None:
    made = await started(world)
    world.kill(made)
    state = await world.driver.observe_container(made, owner(world).uid)
    assert state is not None
    assert (state.running, state.exit_code) == (False, 137)
    await world.driver.start_container(state.id)
    await expect(world, made, running=True, paused=False)


async def test_exec_container_feeds_stdin_and_returns_output(world: World) -> None:
    made = await started(world)
    code, output = await world.driver.exec_container(
        await the_id(world, made), ("cat",), stdin=b"hello", timeout_s=10
    )
    assert (code, output) == (0, "hello")


async def test_exec_container_is_refused_when_it_is_stopped(world: World) -> None:
    made = await world.driver.ensure_container(spec(world))
    with pytest.raises(RetryableError):
        await world.driver.exec_container(made.id, ("true",), timeout_s=5)


# -- correcting in place


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


# -- removing


async def test_delete_container_removes_a_running_one(world: World) -> None:
    name = await started(world)
    container = await the_id(world, name)
    await world.driver.delete_container(container, stop_timeout_s=1)
    assert await world.driver.observe_container(name, owner(world).uid) is None
    assert not world.exists(container)


async def test_delete_container_of_an_absent_one_succeeds(world: World) -> None:
    made = await world.driver.ensure_container(spec(world))
    for _ in range(2):
        await world.driver.delete_container(made.id)
    assert await world.driver.list_containers() == ()


async def test_delete_container_removes_a_paused_one(world: World) -> None:
    name = await started(world)
    world.pause(name)
    await world.driver.delete_container(await the_id(world, name), stop_timeout_s=1)
    assert await world.driver.list_containers() == ()


async def test_delete_container_leaves_foreign_ones_alone(world: World) -> None:
    foreign = world.add_foreign(f"{world.instance}-foreign")
    with pytest.raises(RetryableError) as caught:
        await world.driver.delete_container(foreign)
    assert caught.value.reason == "NotOurs"
    assert world.exists(foreign)


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


# -- engine and images


async def test_observe_engine_measures_the_host(world: World) -> None:
    engine = await world.driver.observe_engine()
    assert engine.cpus >= 1
    assert engine.memory_bytes > 1 << 28
    assert engine.root_dir.startswith("/")


async def test_ensure_image_present_is_observed(world: World) -> None:
    image = await world.driver.ensure_image(world.image)
    assert image == await world.driver.observe_image(world.image)


# -- events


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


async def started(world: World) -> str:
    """The name of a container that runs."""
    made = await world.driver.ensure_container(spec(world))
    await world.driver.start_container(made.id)
    return made.name


async def observed(world: World, name: str) -> ContainerState:
    state = await world.driver.observe_container(name, owner(world).uid)
    assert state is not None
    return state


async def the_id(world: World, name: str) -> str:
    return (await observed(world, name)).id


async def expect(world: World, name: str, *, running: bool, paused: bool) -> None:
    state = await observed(world, name)
    assert (state.running, state.paused) == (running, paused)


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
