"""Events of a real engine: each is told, they come back, and they end."""

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import aclosing
from typing import cast

import pytest

from controlplane.errors import DriverUnavailableError
from drivers.docker import DockerContainers
from drivers.docker_calls import DockerConfig
from tests.contract.docker.proxy import Proxy
from tests.contract.docker.watching import listening, run
from tests.contract.worlds import DockerWorld, owner, spec

pytestmark = pytest.mark.docker


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    made = Proxy()
    yield made
    made.close()


async def test_events_come_back_after_the_engine_was_away(world: DockerWorld, proxy: Proxy) -> None:
    config = DockerConfig(instance=world.instance, images="local", url=f"unix://{proxy.path}")
    async with aclosing(DockerContainers(config)) as driver:
        made = await driver.ensure_container(spec(world))
        await driver.start_container(made.id)
        async with listening(driver) as listener:
            proxy.cut()
            with pytest.raises(DriverUnavailableError):
                await driver.observe_container(made.name, owner(world).uid)
            world.kill(made.name)
            proxy.mend()
            await listener.until("connected", count=2)
            state = await driver.observe_container(made.name, owner(world).uid)
            assert state is not None
            assert not state.running
            await driver.start_container(made.id)
            await listener.until("container start")


async def test_every_death_is_told(world: DockerWorld) -> None:
    driver = cast("DockerContainers", world.driver)
    container = await run(world, spec(world))
    async with listening(driver) as listener:
        for count in (1, 2, 3):
            await asyncio.to_thread(world.kill, spec(world).name)
            await listener.until("container die", count=count)
            await driver.start_container(container)


async def test_threads_end_with_the_driver() -> None:
    async with aclosing(DockerContainers(DockerConfig(instance=f"t{os.getpid()}"))) as driver:
        before = set(threading.enumerate())
        await driver.observe_engine()
        async with listening(driver):
            pass
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith("docker-"):
            await asyncio.to_thread(thread.join, 5)
            assert not thread.is_alive()
