"""The prober wakes a record when its server's health changes, and only then."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from drivers.containers import Owner
from drivers.fake.probe import FakeProbe
from drivers.probe import Target
from drivers.prober import CONFIRM_S, FAILURES, IntervalProber
from tests.clock import ManualClock, settle

WEB = Target("10.0.0.2", 80)
OWNER = Owner("uid-1", "App", "shop", "web")


@dataclass
class World:
    """A prober at work on a clock of ours, and the owners that it woke."""

    probe: FakeProbe = field(default_factory=FakeProbe)
    clock: ManualClock = field(default_factory=ManualClock)
    woken: list[Owner | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.prober = IntervalProber(self.probe, self.clock)

    async def collect(self) -> None:
        async for change in self.prober.events():
            self.woken.append(change.owner)

    def watch(self, *, healthy: bool, interval_s: float = 10) -> None:
        self.prober.ensure_watch(OWNER, {WEB: healthy}, interval_s=interval_s, timeout_s=1)

    @property
    def asked(self) -> int:
        return self.probe.faults.calls["observe"]


@asynccontextmanager
async def running() -> AsyncIterator[World]:
    world = World()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(world.prober.run()), group.create_task(world.collect())]
        await settle()
        yield world
        for task in tasks:
            task.cancel()


async def test_a_healthy_server_is_asked_once_an_interval_and_wakes_nobody() -> None:
    async with running() as world:
        world.probe.listening[WEB.address, WEB.port] = None
        world.watch(healthy=True)
        await world.clock.advance(100)
        assert (world.asked, world.woken) == (10, [])


async def test_a_dead_server_wakes_its_owner_after_failures_in_a_row() -> None:
    async with running() as world:
        world.watch(healthy=True)
        await world.clock.advance(10 + (FAILURES - 1) * CONFIRM_S - 0.1)
        assert world.woken == []
        await world.clock.advance(0.2)
        assert world.woken == [OWNER]


async def test_one_lost_answer_wakes_nobody() -> None:
    async with running() as world:
        world.watch(healthy=True)
        await world.clock.advance(10.5)
        world.probe.listening[WEB.address, WEB.port] = None
        await world.clock.advance(60)
        assert world.woken == []


async def test_a_starting_server_wakes_its_owner_soon_after_it_answers() -> None:
    async with running() as world:
        world.watch(healthy=False)
        await world.clock.advance(1.0)
        world.probe.listening[WEB.address, WEB.port] = None
        await world.clock.advance(1.0)
        assert world.woken == [OWNER]


async def test_a_server_that_never_answers_is_asked_ever_more_rarely() -> None:
    async with running() as world:
        world.watch(healthy=False)
        await world.clock.advance(100)
        before = world.asked
        await world.clock.advance(100)
        assert (world.asked - before, world.woken) == (10, [])


async def test_watching_again_with_what_was_seen_is_no_event() -> None:
    async with running() as world:
        world.watch(healthy=False)
        world.probe.listening[WEB.address, WEB.port] = None
        world.watch(healthy=True)
        await world.clock.advance(60)
        assert world.woken == []


async def test_forget_stops_asking() -> None:
    async with running() as world:
        world.watch(healthy=True)
        world.prober.forget(OWNER.uid)
        world.prober.forget("never-seen")
        await world.clock.advance(60)
        assert (world.asked, world.woken) == (0, [])


async def test_new_targets_replace_the_earlier_ones() -> None:
    async with running() as world:
        world.watch(healthy=True)
        other = Target("10.0.0.3", 80)
        world.prober.ensure_watch(OWNER, {other: True}, interval_s=5, timeout_s=1)
        world.probe.listening[other.address, other.port] = None
        await world.clock.advance(20)
        assert (world.asked, world.woken) == (4, [])


async def test_another_interval_takes_effect() -> None:
    async with running() as world:
        world.probe.listening[WEB.address, WEB.port] = None
        world.watch(healthy=True, interval_s=100)
        world.watch(healthy=True, interval_s=1)
        await world.clock.advance(10)
        assert world.asked == 10


async def test_what_is_registered_before_the_start_is_probed_after_it() -> None:
    world = World()
    world.watch(healthy=True)
    async with asyncio.TaskGroup() as group:
        run = group.create_task(world.prober.run())
        await world.clock.advance(15)
        assert world.asked > 0
        run.cancel()
