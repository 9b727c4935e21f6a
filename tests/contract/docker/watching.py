"""A container that runs, and somebody who reads the driver's events all the time."""

import asyncio
import time
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
    """Reads events all the time, notes when each came."""

    def __init__(self) -> None:
        self.told: list[tuple[float, OwnerChanged]] = []
        self.news = asyncio.Event()

    async def until(self, what: str, count: int = 1) -> float:
        """When `what` had been told `count` times."""
        async with asyncio.timeout(10):
            while True:
                times = [at for at, change in self.told if what in change.what]
                if len(times) >= count:
                    return times[count - 1]
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
                listener.told.append((time.monotonic(), change))
                listener.news.set()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(read())
        await listener.until("connected")
        yield listener
        task.cancel()
