"""The agent: terms that begin, end in order, and follow each other."""

import asyncio
from dataclasses import dataclass, field, replace

import pytest

from controlplane.engine.leader import Leader
from controlplane.engine.manager import Agent, Health, Mandate
from controlplane.errors import StaleEpochError
from controlplane.store.leases import Holder
from tests.support.bench import Bench, box_key
from tests.support.leases import FakeLeases
from tests.support.virtual import LoopClock, run

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


def test_agent_leads_seeds_works_and_stops() -> None:
    async def main() -> None:
        bench, leases = Bench(), FakeLeases()
        one = agent(bench, leases, ONE)
        with pytest.raises(StaleEpochError):
            one.guard()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(one.run())
            await bench.settle(1)
            await bench.box("a")
            await bench.settle(60)
            assert bench.ready(A)
            assert leads(one)
            assert one.health.epoch == 1
            one.guard()
            one.stop()
        assert leases.lease is None
        assert not leads(one)

    run(main)


def test_stop_lets_a_running_pass_end() -> None:
    async def main() -> None:
        bench, leases = Bench(), FakeLeases()
        one = agent(bench, leases, ONE)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(one.run())
            await bench.settle(1)
            bench.world.latency_s = 5.0
            await bench.box("a")
            await bench.settle(1)
            one.stop()
        assert bench.thing(A) is not None
        assert bench.ready(A)

    run(main)


def test_second_agent_waits_and_takes_over_within_ten_seconds() -> None:
    async def main() -> None:
        bench, leases = Bench(), FakeLeases()
        one, two = agent(bench, leases, ONE), agent(bench, leases, TWO)
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(one.run())
            await bench.settle(1)
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

    run(main)


@pytest.mark.parametrize("looked_s", [0.0, 0.2, 0.4, 0.6])
def test_takeover_ends_within_ten_seconds_where_every_call_takes_most_of_one(
    looked_s: float,
) -> None:
    """Of a leader that is silent right after it has renewed, and can't be known to be gone; until
    what broke meanwhile runs again. `looked_s`: when the successor looks, in its turn of looks."""

    async def main() -> None:
        bench, leases = Bench(), FakeLeases()
        one, two = agent(bench, leases, ONE), agent(bench, leases, TWO)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(one.run())
            await bench.settle(1)
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
            thing = bench.thing(A)
            assert thing is not None
            assert thing.running
            standing_by.cancel()

    run(main)


def test_outage_of_the_store_ends_the_term_and_the_next_one_goes_on() -> None:
    async def main() -> None:
        bench, leases = Bench(), FakeLeases()
        one = agent(bench, leases, ONE)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(one.run())
            await bench.settle(1)
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
            thing = bench.thing(A)
            assert thing is not None
            assert thing.running
            running.cancel()

    run(main)


def test_agent_that_lost_its_lease_begins_no_further_step() -> None:
    async def main() -> None:
        bench, leases = Bench(), FakeLeases()
        one = agent(bench, leases, ONE)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(one.run())
            await bench.settle(1)
            bench.world.latency_s = 12.0
            await bench.box("a", data="Delete")
            await bench.settle(1)
            leases.away = True
            before = bench.world.calls["ensure"]
            await bench.settle(40)
            assert bench.world.calls["ensure"] == before
            running.cancel()

    run(main)


def leads(one: Running) -> bool:
    return one.health.leading
