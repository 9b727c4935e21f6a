"""Which containers may be entered at all, whoever asks."""

import asyncio
from dataclasses import replace

import pytest

from controlplane.clock import SystemClock
from controlplane.engine.board import Board
from controlplane.engine.cache import Cache
from controlplane.errors import ForbiddenError
from controlplane.streams import Command, LogQuery, PodRef
from drivers.fake.streams import FakeStreams
from reconcilers.podboard import PodBoard
from reconcilers.podstreams import PodStreams
from tests.contract.worlds import FakeWorld, owner, with_network


@pytest.mark.parametrize(("kind", "closed"), [("VpnNetwork", True), ("App", False)])
async def test_a_tunnels_container_takes_no_commands(kind: str, closed: bool) -> None:
    world = FakeWorld()
    world.engine.add_image(world.image)
    clock = SystemClock()
    board = PodBoard(world.driver, Cache(), frozenset(), clock, Board(clock))
    ways = PodStreams(board, FakeStreams(world.engine))
    spec = await with_network(world, owner=replace(owner(world), kind=kind))
    state = await world.driver.ensure_container(spec)
    await world.driver.start_container(state.id)
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(board.run())
        async with asyncio.timeout(20):
            while True:
                found = board.view.list("Pod")
                if found and b'"running"' in found[0].body:
                    break
                await asyncio.sleep(0.01)
        ref = PodRef(found[0].key.namespace, found[0].key.name, found[0].uid)
        if closed:
            with pytest.raises(ForbiddenError) as caught:
                await ways.open_exec(ref, Command(("sh",)))
            assert caught.value.reason == "Closed"
        else:
            await (await ways.open_exec(ref, Command(("sh",)))).aclose()
        await (await ways.open_logs(ref, LogQuery())).aclose()
        following.cancel()
