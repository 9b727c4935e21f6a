"""How containers are started, paused, stopped and entered, on the fake and on a real engine."""

import pytest

from controlplane.errors import ConflictError, RetryableError
from tests.contract.worlds import World, expect, owner, spec, started, the_id, with_network


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


async def test_a_container_keeps_its_address_while_others_come_and_go(world: World) -> None:
    """After a restart of the engine as well, which starts them in any order."""
    wanted = [await with_network(world, name=name) for name in ("shop", "blog", "wiki")]
    net = wanted[0].networks[0].network
    made = [await world.driver.ensure_container(each) for each in wanted]

    async def addresses() -> list[str]:
        return [each.networks[net] for each in await world.driver.list_containers()]

    for each in made:
        await world.driver.start_container(each.id)
    before = await addresses()
    for each in made:
        await world.driver.stop_container(each.id, timeout_s=0)
    for each in reversed(made):
        await world.driver.start_container(each.id)
    assert await addresses() == before
    assert len(set(before)) == 3


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
