"""Which containers may be entered at all, whoever asks."""

import asyncio
from dataclasses import replace

import pytest

from controlplane.clock import SystemClock
from controlplane.engine.board import Board
from controlplane.engine.cache import Cache
from controlplane.errors import ForbiddenError
from controlplane.streams import Command, LogQuery, PodRef
from drivers.containers import NetworkAttachment
from drivers.fake.streams import FakeStreams
from reconcilers.podboard import PodBoard
from reconcilers.podstreams import PodStreams
from tests.contract.worlds import FakeWorld, network_spec, owner, with_network


@pytest.mark.parametrize(
    ("kind", "second", "closed"),
    [
        ("VpnNetwork", False, True),
        ("Model", False, True),
        ("App", False, False),
        ("App", True, True),
    ],
)
async def test_a_container_with_ways_of_its_own_takes_no_commands(
    kind: str, second: bool, closed: bool
) -> None:
    world = FakeWorld()
    world.engine.add_image(world.image)
    clock = SystemClock()
    board = PodBoard(world.driver, Cache(), frozenset(), clock, Board(clock))
    ways = PodStreams(board, FakeStreams(world.engine))
    spec = await with_network(world, owner=replace(owner(world), kind=kind))
    if second:
        other = await world.driver.ensure_network(
            replace(network_spec(world), name="other", subnet="10.231.1.0/28")
        )
        spec = replace(spec, networks=(*spec.networks, NetworkAttachment(other.name, ())))
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
