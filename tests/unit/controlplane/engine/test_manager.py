"""The agent: terms that begin, end in order, and follow each other."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest

from controlplane.engine.leader import Leader
from controlplane.engine.manager import Agent, Health, Mandate
from controlplane.errors import StaleEpochError
from controlplane.store.leases import Holder
from tests.support.bench import Bench, box_key
from tests.support.leases import FakeLeases
from tests.support.virtual import LoopClock, in_virtual_time

ONE = Holder("host", "boot", 1, 11)
TWO = Holder("elsewhere", "boot", 2, 22)
A = box_key("a")


SEED = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}


@dataclass(slots=True)
class Running:
    """One agent and what it is told."""

    agent: Agent
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        await self.agent.run(self.stopping)

    def stop(self) -> None:
        self.stopping.set()

    @property
    def health(self) -> Health:
        return self.agent.mandate.health

    def guard(self) -> int:
        return self.agent.mandate.epoch()


def agent(bench: Bench, leases: FakeLeases, holder: Holder) -> Running:
    leader = Leader(leases, holder, LoopClock())
    return Running(Agent(replace(bench.setup(), seeds=(SEED,)), leader, Mandate()))


@asynccontextmanager
async def leading(one: Running) -> AsyncIterator[asyncio.Task[None]]:
    """It has run for a second, and leads if nobody else does; the block ends when it has ended."""
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(one.run())
        await asyncio.sleep(1)
        yield running


@in_virtual_time
async def test_agent_leads_seeds_works_and_stops() -> None:
    bench, leases = Bench(), FakeLeases()
    one = agent(bench, leases, ONE)
    with pytest.raises(StaleEpochError):
        one.guard()
    async with leading(one):
        await bench.box("a")
        await bench.settle(60)
        assert bench.ready(A)
        assert leads(one)
        assert one.health.epoch == 1
        one.guard()
        one.stop()
    assert leases.lease is None
    assert not leads(one)


@in_virtual_time
async def test_stop_lets_a_running_pass_end() -> None:
    bench, leases = Bench(), FakeLeases()
    one = agent(bench, leases, ONE)
    async with leading(one):
        bench.world.latency_s = 5.0
        await bench.box("a")
        await bench.settle(1)
        one.stop()
    assert bench.thing(A) is not None
    assert bench.ready(A)


@in_virtual_time
async def test_second_agent_waits_and_takes_over_within_ten_seconds() -> None:
    bench, leases = Bench(), FakeLeases()
    one, two = agent(bench, leases, ONE), agent(bench, leases, TWO)
    async with leading(one) as first, asyncio.TaskGroup() as tasks:
        second = tasks.create_task(two.run())
        await bench.settle(60)
        assert not leads(two)
        first.cancel()
        await bench.settle(10)
        assert leads(two)
        await bench.box("a")
        await bench.settle(5)
        assert bench.ready(A)
        second.cancel()


@pytest.mark.parametrize("looked_s", [0.0, 0.2, 0.4, 0.6])
@in_virtual_time
async def test_takeover_ends_within_ten_seconds_where_every_call_takes_most_of_one(
    looked_s: float,
) -> None:
    """Of a leader that is silent right after it has renewed, and can't be known to be gone; until
    what broke meanwhile runs again. `looked_s`: when the successor looks, in its turn of looks."""
    bench, leases = Bench(), FakeLeases()
    one, two = agent(bench, leases, ONE), agent(bench, leases, TWO)
    async with leading(one):
        await bench.box("a")
        await bench.settle(5)
        one.stop()
    leases.latency_s = bench.world.latency_s = bench.store.latency_s = 0.7
    async with asyncio.TaskGroup() as tasks:
        term = await one.agent.leader.acquire()
        standing_by = tasks.create_task(two.run())
        await bench.settle(2 + looked_s)
        await leases.renew(term.lease)
        bench.break_thing(A)
        await bench.settle(10)
        assert leads(two)
        assert bench.runs(A)
        standing_by.cancel()


@in_virtual_time
async def test_outage_of_the_store_ends_the_term_and_the_next_one_goes_on() -> None:
    bench, leases = Bench(), FakeLeases()
    one = agent(bench, leases, ONE)
    async with leading(one) as running:
        await bench.box("a")
        await bench.settle(5)
        leases.away = bench.store.away = True
        await bench.settle(30)
        assert not leads(one)
        with pytest.raises(StaleEpochError):
            one.guard()
        bench.break_thing(A)
        leases.away = bench.store.away = False
        await bench.settle(10)
        assert leads(one)
        assert one.health.epoch == 2
        assert bench.runs(A)
        running.cancel()


@in_virtual_time
async def test_agent_that_lost_its_lease_begins_no_further_step() -> None:
    bench, leases = Bench(), FakeLeases()
    one = agent(bench, leases, ONE)
    async with leading(one) as running:
        bench.world.latency_s = 12.0
        await bench.box("a", data="Delete")
        await bench.settle(1)
        leases.away = True
        before = bench.world.calls["ensure"]
        await bench.settle(40)
        assert bench.world.calls["ensure"] == before
        running.cancel()


@in_virtual_time
async def test_stop_waits_no_longer_for_a_pass_of_a_lost_term_than_for_one_of_its_own() -> None:
    bench, leases = Bench(), FakeLeases()
    one = agent(bench, leases, ONE)
    async with leading(one) as running:
        bench.world.latency_s = 200.0
        await bench.box("a")
        await bench.settle(1)
        leases.away = True
        await bench.settle(20)
        assert not leads(one)
        one.stop()
        await bench.settle(one.agent.setup.drain_s + 1)
        assert running.done()


def leads(one: Running) -> bool:
    return one.health.leading
