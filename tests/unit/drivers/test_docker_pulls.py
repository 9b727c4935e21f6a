"""Pulls of the Docker driver: beside its other calls, and behind nobody's back."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import pytest

from controlplane.errors import RetryableError, UnderWayError
from drivers import docker_images
from drivers.containers import ContainerSpec, ImageState, Limits, Owner
from drivers.docker import DockerContainers
from drivers.docker_calls import DockerConfig
from drivers.docker_errors import EngineRefusedError
from drivers.docker_sdk import Engine

GIVE_UP_S = 5.0
ENDS_S = 30.0


class SlowRegistry(Engine):
    """An engine that does at once what it is asked, but whose registry waits for `go`."""

    def __init__(self, failure: str = "") -> None:
        super().__init__("unix:///nowhere", timeout_s=1, pool_size=1)
        self.go = threading.Event()
        self.failure = failure
        self.here: set[str] = set()
        self.missed = 0
        self.asked: list[str] = []

    def call(
        self,
        method: str,
        path: str,
        *args: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
    ) -> Any:
        if path == "/images/{}/json" and args[0] not in self.here:
            self.missed += 1
            raise EngineRefusedError(404, "No such image")
        if path == "/containers/{}/json":
            raise EngineRefusedError(404, "No such container")
        if path == "/containers/json":
            return []
        if path == "/containers/create":
            raise EngineRefusedError(404, "No such image")
        return {"Id": "sha256:1"}

    def pull(self, reference: str) -> Iterator[Mapping[str, Any]]:
        self.asked.append(reference)
        self.go.wait(ENDS_S)
        if self.failure:
            yield {"error": self.failure}
            return
        self.here.add(reference)
        yield {"status": "Pull complete"}


@pytest.fixture
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_images, "PULL_WAIT_S", 0.01)


async def pulled(driver: DockerContainers, reference: str) -> ImageState:
    """As the engine asks: again and again."""
    while True:
        try:
            return await driver.ensure_image(reference)
        except UnderWayError:
            await asyncio.sleep(0.01)


async def test_many_long_pulls_keep_no_container_from_being_stopped() -> None:
    registry = SlowRegistry()
    driver = DockerContainers(DockerConfig(instance="me"), engine=registry)
    many = [f"shop:{number}" for number in range(32)]
    async with asyncio.TaskGroup() as group:
        pulls = [group.create_task(pulled(driver, image)) for image in many]
        while registry.missed < len(many):  # noqa: ASYNC110  # counted on threads
            await asyncio.sleep(0.001)
        asyncio.get_running_loop().call_later(GIVE_UP_S, registry.go.set)
        await driver.stop_container("c1", timeout_s=1)
        waited = registry.go.is_set()
        registry.go.set()
    assert not waited
    assert [pull.result().reference for pull in pulls] == many
    await driver.aclose()


@pytest.mark.usefixtures("no_wait")
async def test_a_long_pull_is_one_and_goes_on_without_who_asked_for_it() -> None:
    registry = SlowRegistry()
    driver = DockerContainers(DockerConfig(instance="me"), engine=registry)
    for _ in range(3):
        with pytest.raises(UnderWayError) as told:
            await driver.ensure_image("shop:1")
        assert told.value.reason == "Pulling"
        assert str(told.value) == "image 'shop:1' is being pulled"
    registry.go.set()
    assert (await pulled(driver, "shop:1")).reference == "shop:1"
    assert registry.asked == ["shop:1"]
    await driver.aclose()


@pytest.mark.usefixtures("no_wait")
async def test_no_more_than_a_few_pull_at_once() -> None:
    registry = SlowRegistry()
    driver = DockerContainers(DockerConfig(instance="me"), engine=registry)
    many = [f"shop:{number}" for number in range(3 * docker_images.PULLS)]
    for image in many:
        with pytest.raises(UnderWayError):
            await driver.ensure_image(image)
    assert len(registry.asked) == docker_images.PULLS
    registry.go.set()
    for image in many:
        await pulled(driver, image)
    assert sorted(registry.asked) == sorted(many)
    await driver.aclose()


@pytest.mark.usefixtures("no_wait")
async def test_all_who_ask_are_told_why_it_failed_and_later_it_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry = SlowRegistry(failure="dial tcp: connection refused")
    driver = DockerContainers(DockerConfig(instance="me"), engine=registry)
    registry.go.set()
    for _ in range(3):
        with pytest.raises(RetryableError) as told:
            await pulled(driver, "shop:1")
        assert told.value.reason == "PullFailed"
        assert "connection refused" in str(told.value)
    assert registry.asked == ["shop:1"]
    monkeypatch.setattr(docker_images, "LOOK_AGAIN_S", 0.0)
    registry.failure = ""
    await pulled(driver, "shop:1")
    assert registry.asked == ["shop:1", "shop:1"]
    await driver.aclose()


async def test_an_image_that_is_absent_is_asked_for_once_and_looked_for_before_a_pull() -> None:
    registry = SlowRegistry()
    driver = DockerContainers(DockerConfig(instance="me"), engine=registry)
    driver.cache.connected()
    for _ in range(3):
        assert await driver.observe_image("shop:1") is None
    assert registry.missed == 1
    registry.here.add("shop:1")  # by something that told nobody
    assert (await driver.ensure_image("shop:1")).reference == "shop:1"
    assert registry.asked == []
    assert await driver.observe_image("shop:1") is not None
    registry.here.clear()
    driver.cache.images.clear()  # as its untagging is told
    assert await driver.observe_image("shop:1") is None
    await driver.aclose()


async def test_an_image_that_went_and_told_nobody_is_missed_once_it_is_needed() -> None:
    registry = SlowRegistry()
    registry.here.add("shop:1")
    driver = DockerContainers(DockerConfig(instance="me"), engine=registry)
    driver.cache.connected()
    assert await driver.observe_image("shop:1") is not None
    registry.here.clear()
    owner = Owner("u", "App", "shop", "web")
    spec = ContainerSpec("web", owner, image="shop:1", digest="", limits=Limits(100, 2**26))
    with pytest.raises(RetryableError, match="No such image"):
        await driver.ensure_container(spec)
    assert await driver.observe_image("shop:1") is None
    await driver.aclose()


@pytest.mark.parametrize(
    ("images", "reference", "way_out", "names_setting"),
    [
        pytest.param("upstream", "bunker.local/absent:1", "scripts/images", False, id="ours"),
        pytest.param("local", "bunker.local/absent:1", "scripts/images", False, id="ours, local"),
        pytest.param("local", "shop:1", "'upstream'", True, id="another's, local"),
    ],
)
async def test_what_no_registry_may_be_asked_for_is_not_pulled(
    images: Literal["upstream", "local"], reference: str, way_out: str, names_setting: bool
) -> None:
    registry = SlowRegistry()
    registry.go.set()
    driver = DockerContainers(DockerConfig(instance="me", images=images), engine=registry)
    with pytest.raises(RetryableError) as told:
        await driver.ensure_image(reference)
    assert told.value.reason == "ImageNotFound"
    assert way_out in str(told.value)
    assert ("CP_IMAGES" in str(told.value)) is names_setting
    assert registry.asked == []
    await driver.aclose()


def test_a_process_ends_though_a_registry_says_nothing() -> None:
    code = """
import asyncio
from tests.unit.drivers.test_docker_pulls import *

async def main():
    registry = SlowRegistry()
    registry.go.wait = lambda _: threading.Event().wait()
    driver = DockerContainers(DockerConfig(instance="me"), engine=registry)
    try:
        await driver.ensure_image("shop:1")
    except UnderWayError:
        assert registry.asked == ["shop:1"]
    await driver.aclose()

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], timeout=ENDS_S, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
