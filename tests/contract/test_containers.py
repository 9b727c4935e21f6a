"""How a container runtime makes and removes: one suite on the fake and on a real engine."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from controlplane.errors import RetryableError, TerminalError
from drivers.containers import ContainerSpec, ContainerState, Limits, NetworkAttachment, VolumeMount
from drivers.digest import container_digest
from tests.contract.worlds import World, owner, spec, started, the_id, with_network

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
