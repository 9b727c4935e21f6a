"""The board follows containers and records: what is shown is what there is."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import orjson
import pytest

from controlplane.clock import SystemClock
from controlplane.engine.board import Board
from controlplane.engine.cache import Cache
from controlplane.errors import DriverUnavailableError, NotFoundError
from controlplane.records import Key, Stored
from controlplane.streams import PodRef
from drivers.containers import ContainerSpec, Limits, Owner
from drivers.fake.containers import FakeContainers
from reconcilers.podboard import PodBoard
from tests.clock import settle

OWNER = Owner("1f2e3d4c-0000-4000-8000-000000000001", "App", "shop", "web")
SPEC = ContainerSpec("app-shop-web-1f2e3d4c-0", OWNER, "demo", "v1:1", Limits(100, 2**26))


def record(*, ready: bool, revision: int, **told: object) -> Stored:
    conditions = [{"type": "Ready", "status": str(ready), "lastTransitionTime": ""}]
    status: dict[str, object] = {"conditions": conditions, **told}
    body = {"metadata": {"name": "web"}, "status": status}
    return Stored(Key("App", "shop", "web"), OWNER.uid, revision, 1, orjson.dumps(body))


class World:
    def __init__(self) -> None:
        self.containers = FakeContainers()
        self.records = Cache()
        clock = SystemClock()
        self.pods = PodBoard(self.containers, self.records, frozenset({"App"}), clock, Board(clock))

    def shown(self) -> list[str]:
        found = []
        for stored in self.pods.view.list("Pod"):
            status = orjson.loads(stored.body)["status"]
            ready = next(c["status"] for c in status["conditions"] if c["type"] == "Ready")
            found.append(f"{stored.key.name} {ready}")
        return found

    def ports(self) -> list[list[int]]:
        """Of each Pod's container."""
        found = []
        for stored in self.pods.view.list("Pod"):
            (container,) = orjson.loads(stored.body)["spec"]["containers"]
            found.append([port["containerPort"] for port in container.get("ports", [])])
        return found

    async def until(self, wanted: list[str]) -> None:
        changes = self.pods.view.watch(frozenset({"Pod"}), self.pods.view.revision)
        async with asyncio.timeout(5):
            while self.shown() != wanted:
                await anext(changes)


@asynccontextmanager
async def following(*there: Stored) -> AsyncIterator[World]:
    world = World()
    world.records.apply([("create", stored) for stored in there])
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(world.pods.run())
        yield world
        running.cancel()


async def run_one(world: World, spec: ContainerSpec = SPEC) -> str:
    world.containers.engine.add_image("demo")
    state = await world.containers.ensure_container(spec)
    await world.containers.start_container(state.id)
    return state.id


async def test_pods_come_change_and_go() -> None:
    async with following() as world:
        await world.until([])
        id_ = await run_one(world)
        await world.until(["app-web-0 False"])
        world.records.apply([("create", record(ready=True, revision=1))])
        await world.until(["app-web-0 True"])
        world.records.apply([("update", record(ready=False, revision=2))])
        await world.until(["app-web-0 False"])
        await world.containers.delete_container(id_)
        await world.until([])


async def test_every_step_is_one_change_at_a_version_of_its_own() -> None:
    async with following() as world:
        await world.until([])
        start = world.pods.view.revision
        watcher = world.pods.view.watch(frozenset({"Pod"}), start)
        id_ = await run_one(world)
        await world.until(["app-web-0 False"])
        await world.containers.delete_container(id_)
        await world.until([])
        changes = [await anext(watcher) for _ in range(world.pods.view.revision - start)]
        assert changes[0].verb == "create"
        assert changes[-1].verb == "delete"
        assert [c.revision for c in changes] == list(range(start + 1, start + 1 + len(changes)))


async def test_a_pod_is_reached_by_its_uid_alone() -> None:
    async with following() as world:
        id_ = await run_one(world)
        await world.until(["app-web-0 False"])
        (stored,) = world.pods.view.list("Pod")
        ref = PodRef("shop", "app-web-0", stored.uid)
        assert world.pods.container_of(ref).id == id_
        with pytest.raises(NotFoundError):
            world.pods.container_of(replace(ref, uid="another"))


NO_PORTS = ("web:99999999999999999999", f"web:{'9' * 5000}", "web:65536", "web:0", "web:\u0663")


@pytest.mark.parametrize("endpoint", NO_PORTS)
async def test_an_endpoint_that_is_none_ends_nothing(endpoint: str) -> None:
    async with following(record(ready=True, revision=1, endpoint=endpoint)) as world:
        await run_one(world)
        await world.until(["app-web-0 True"])
        assert world.ports() == [[]]
        for revision, port, ports in ((2, "web:80", [80]), (4, "web:443", [443])):
            sound = record(ready=True, revision=revision, endpoint=port)
            world.records.apply([("update", sound)])
            await settle()
            assert world.ports() == [ports]
            wrong = record(ready=True, revision=revision + 1, endpoint=endpoint)
            world.records.apply([("update", wrong)])
            await settle()
            assert world.ports() == [[]]


async def test_a_record_that_cannot_be_shown_is_skipped_and_ends_nothing() -> None:
    wrong = record(ready=True, revision=1, conditions=[{}])
    async with following(wrong) as world:
        await run_one(world)
        other = replace(OWNER, uid="1f2e3d4c-0000-4000-8000-000000000002", name="other")
        await run_one(world, replace(SPEC, owner=other, name="app-shop-other-1f2e3d4c-0"))
        await world.until(["app-other-0 False"])
        world.records.apply([("update", record(ready=True, revision=2))])
        await world.until(["app-other-0 False", "app-web-0 True"])
        world.records.apply([("update", replace(wrong, revision=3))])
        await world.until(["app-other-0 False"])


async def test_nothing_is_told_before_everything_is_known() -> None:
    world = World()
    with pytest.raises(DriverUnavailableError):
        world.pods.require()
