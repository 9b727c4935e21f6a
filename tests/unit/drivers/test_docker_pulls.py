"""Pulls of the Docker driver beside its other calls."""

import asyncio
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from drivers.docker import DockerContainers
from drivers.docker_calls import DockerConfig
from drivers.docker_errors import EngineRefusedError
from drivers.docker_sdk import Engine

GIVE_UP_S = 5.0


class SlowRegistry(Engine):
    """An engine that does at once what it is asked, but whose registry waits for `go`."""

    def __init__(self) -> None:
        super().__init__("unix:///nowhere", timeout_s=1, pool_size=1)
        self.go = threading.Event()
        self.missed = 0

    def call(
        self,
        method: str,
        path: str,
        *args: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
    ) -> Any:
        if path == "/images/{}/json" and not self.go.is_set():
            self.missed += 1
            raise EngineRefusedError(404, "No such image")
        if path == "/containers/{}/json":
            raise EngineRefusedError(404, "No such container")
        return {"Id": "sha256:1"}

    def pull(self, reference: str) -> Iterator[Mapping[str, Any]]:
        self.go.wait()
        yield {"status": "Pull complete"}


async def test_many_long_pulls_keep_no_container_from_being_stopped() -> None:
    registry = SlowRegistry()
    driver = DockerContainers(DockerConfig(instance="me"), engine=registry)
    many = [f"shop:{number}" for number in range(32)]
    async with asyncio.TaskGroup() as group:
        pulls = [group.create_task(driver.ensure_image(image)) for image in many]
        while registry.missed < len(many):  # noqa: ASYNC110  # counted on threads
            await asyncio.sleep(0.001)
        asyncio.get_running_loop().call_later(GIVE_UP_S, registry.go.set)
        await driver.stop_container("c1", timeout_s=1)
        waited = registry.go.is_set()
        registry.go.set()
    assert not waited
    assert [pull.result().reference for pull in pulls] == many
    await driver.aclose()
