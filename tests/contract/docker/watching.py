"""A container that runs, and somebody who reads the driver's events all the time."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import cast

from drivers.containers import ContainerSpec, OwnerChanged
from drivers.docker import DockerContainers
from tests.contract.worlds import DockerWorld


async def run(world: DockerWorld, wanted: ContainerSpec) -> str:
    made = await world.driver.ensure_container(wanted)
    await world.driver.start_container(made.id)
    return made.id


class Listener:
    """Reads events all the time."""

    def __init__(self) -> None:
        self.told: list[OwnerChanged] = []
        self.news = asyncio.Event()

    async def until(self, what: str, count: int = 1) -> None:
        """Return once `what` has been told `count` times."""
        async with asyncio.timeout(10):
            while sum(what in change.what for change in self.told) < count:
                self.news.clear()
                await self.news.wait()


@asynccontextmanager
async def listening(driver: DockerContainers) -> AsyncIterator[Listener]:
    listener = Listener()

    async def read() -> None:
        # The Protocol promises an iterator; ours can be closed, too.
        generator = cast("AsyncGenerator[OwnerChanged, None]", driver.events())
        async with aclosing(generator) as events:
            async for change in events:
                listener.told.append(change)
                listener.news.set()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(read())
        await listener.until("connected")
        yield listener
        task.cancel()
