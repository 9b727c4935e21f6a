"""What comes of commands, of their time limits, and of calls that nobody waits for any more."""

import asyncio

import pytest

from controlplane.errors import RetryableError
from tests.contract.docker.watching import run
from tests.contract.worlds import DockerWorld, owner, spec

pytestmark = pytest.mark.docker


async def test_exec_output_is_whole_or_refused(world: DockerWorld) -> None:
    container = await run(world, spec(world))
    code, output = await world.driver.exec_container(
        container, ("sh", "-c", "yes | head -c 1000000"), timeout_s=20
    )
    assert (code, len(output)) == (0, 1_000_000)
    with pytest.raises(RetryableError) as caught:
        await world.driver.exec_container(
            container, ("sh", "-c", "yes | head -c 5000000"), timeout_s=20
        )
    assert caught.value.reason == "OutputTooLong"


async def test_exec_never_loses_the_output_of_a_fast_process(world: DockerWorld) -> None:
    container = await run(world, spec(world))
    outputs = [
        await world.driver.exec_container(container, ("echo", "hello"), timeout_s=10)
        for _ in range(10)
    ]
    assert outputs == [(0, "hello\n")] * 10


async def test_exec_ends_after_its_timeout(world: DockerWorld) -> None:
    container = await run(world, spec(world))
    with pytest.raises(RetryableError) as caught:
        await world.driver.exec_container(container, ("sleep", "30"), timeout_s=0.5)
    assert caught.value.reason == "CommandTimedOut", "not the engine's fault"
    left = world.raw.call("GET", "/containers/{}/top", container)["Processes"]
    assert any("sleep 30" in " ".join(row) for row in left), "it was waited for to its end"


async def test_cancelled_call_is_waited_for(world: DockerWorld) -> None:
    made = await world.driver.ensure_container(
        spec(world, command=("sh", "-c", "trap '' TERM; sleep 100 & wait"))
    )
    await world.driver.start_container(made.id)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(world.driver.stop_container(made.id, timeout_s=1))
        await asyncio.sleep(0.3)
        task.cancel()
    state = await world.driver.observe_container(made.name, owner(world).uid)
    assert state is not None
    assert not state.running, "the stop went on after its caller was let go"
