"""Leadership: one at a time, stopped by its own clock, taken over in time."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from controlplane.engine.leader import (
    LEAST_S,
    MARGIN_PART,
    TTL_S,
    Leader,
    Leadership,
    host_id,
    process_alive,
    this_process,
)
from controlplane.errors import StaleEpochError
from controlplane.store.leases import Holder, Lease
from tests.support.leases import FakeLeases
from tests.support.virtual import LoopClock, in_virtual_time

ONE = Holder("host", "boot", 1, 11)
TWO = Holder("host", "boot", 2, 22)
FAR = Holder("elsewhere", "boot", 2, 22)


def leader(leases: FakeLeases, holder: Holder, *, alive: bool = True) -> Leader:
    return Leader(leases, holder, LoopClock(), alive=lambda _holder: alive)


@asynccontextmanager
async def leading(first: Leader) -> AsyncIterator[tuple[Leadership, asyncio.Task[None]]]:
    """Its term, and the task that renews it; the block ends when that has ended."""
    term = await first.acquire()
    async with asyncio.TaskGroup() as tasks:
        yield term, tasks.create_task(first.keep(term))


async def elapsed(leases: FakeLeases, holder: Holder, *, alive: bool = True) -> float:
    began_s = LoopClock().monotonic()
    await leader(leases, holder, alive=alive).acquire()
    return LoopClock().monotonic() - began_s


@in_virtual_time
async def test_leader_renews_for_as_long_as_it_can() -> None:
    async with leading(leader(FakeLeases(), ONE)) as (term, keeping):
        await asyncio.sleep(3600)
        term.guard()
        assert not keeping.done()
        keeping.cancel()


@in_virtual_time
async def test_leader_stops_before_its_lease_ends_when_the_store_is_away() -> None:
    leases = FakeLeases()
    async with leading(leader(leases, ONE)) as (term, _):
        await asyncio.sleep(1)
        leases.away = True
        expires_s = leases.expires_s
        await term.over()
        assert LoopClock().monotonic() <= expires_s - TTL_S * MARGIN_PART
        with pytest.raises(StaleEpochError):
            term.guard()


@in_virtual_time
async def test_leader_rides_out_a_short_outage() -> None:
    leases = FakeLeases()
    async with leading(leader(leases, ONE)) as (term, keeping):
        leases.away = True
        await asyncio.sleep(3)
        leases.away = False
        await asyncio.sleep(60)
        term.guard()
        keeping.cancel()


@in_virtual_time
async def test_leader_tries_again_soon_after_a_renewal_that_failed() -> None:
    """At least five times before it has to stop."""
    leases = FakeLeases()
    async with leading(leader(leases, ONE)) as (term, _):
        leases.away = True
        await term.over()
    assert leases.calls["renew"] >= 5


@in_virtual_time
async def test_taken_lease_ends_the_term() -> None:
    leases = FakeLeases()
    async with leading(leader(leases, ONE)) as (term, _):
        assert leases.lease is not None
        leases.lease = replace(leases.lease, epoch=9, holder=TWO)
        await term.over()


@pytest.mark.parametrize(
    ("holder", "alive", "least_s", "most_s"),
    [
        pytest.param(TWO, False, 0.0, 0.0, id="same host, process gone: at once"),
        pytest.param(TWO, True, TTL_S, TTL_S, id="same host, process alive: after the lease"),
        pytest.param(FAR, False, TTL_S, TTL_S, id="another host: after the lease"),
        pytest.param(replace(TWO, boot_id="new"), True, 0.0, 0.0, id="rebooted: at once"),
    ],
)
@in_virtual_time
async def test_successor_takes_over(
    holder: Holder, alive: bool, least_s: float, most_s: float
) -> None:
    leases = FakeLeases()
    await leader(leases, ONE).acquire()
    assert least_s <= await elapsed(leases, holder, alive=alive) <= most_s
    assert leases.lease is not None
    assert leases.lease.epoch == 2


@pytest.mark.parametrize("latency_s", [0.01, 0.1, 1.0])
@in_virtual_time
async def test_successor_begins_as_soon_as_the_lease_has_ended(latency_s: float) -> None:
    """At most three calls after it: the look that just missed it, the next look, and the try."""
    leases = FakeLeases()
    await leader(leases, ONE).acquire()
    leases.latency_s = latency_s
    waited_s = await elapsed(leases, FAR)
    assert TTL_S <= waited_s <= TTL_S + 3 * latency_s + LEAST_S


@in_virtual_time
async def test_who_waits_does_not_lock_what_every_write_locks() -> None:
    leases = FakeLeases()
    async with leading(leader(leases, ONE)) as (_, keeping), asyncio.TaskGroup() as tasks:
        leases.calls.clear()
        waiting = tasks.create_task(leader(leases, FAR).acquire())
        await asyncio.sleep(60)
        assert leases.calls["current"] > 60
        assert leases.calls["try_acquire"] == 0
        keeping.cancel()
        waiting.cancel()


@in_virtual_time
async def test_a_leader_that_renews_is_not_followed_when_the_stores_clock_is_set_forward() -> None:
    leases = FakeLeases()
    async with leading(leader(leases, ONE)) as (term, keeping), asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(leader(leases, FAR).acquire())
        for _ in range(30):
            await asyncio.sleep(7.1)
            leases.ahead_s += 60.0
        await asyncio.sleep(7.1)
        term.guard()
        assert not waiting.done()
        keeping.cancel()
        waiting.cancel()


@pytest.mark.parametrize("looks_before", [True, False])
@pytest.mark.parametrize("step_s", [3.0, 5.0, 60.0])
@in_virtual_time
async def test_nor_one_that_cannot_renew_before_it_has_stopped(
    looks_before: bool, step_s: float
) -> None:
    leases = FakeLeases()
    async with leading(leader(leases, ONE)) as (term, keeping), asyncio.TaskGroup() as tasks:
        second = leader(leases, FAR)
        waiting = tasks.create_task(second.acquire()) if looks_before else None
        await asyncio.sleep(10.3)
        keeping.cancel()
        leases.ahead_s += step_s
        began_s = LoopClock().monotonic()
        await (waiting or second.acquire())
        with pytest.raises(StaleEpochError):
            term.guard()
        assert LoopClock().monotonic() - began_s <= TTL_S


@in_virtual_time
async def test_who_waits_goes_by_the_lease_of_who_leads_and_not_by_its_own() -> None:
    leases = FakeLeases()
    term = await Leader(leases, ONE, LoopClock(), ttl_s=30.0).acquire()
    leases.ahead_s += 60.0
    await Leader(leases, FAR, LoopClock(), ttl_s=3.0).acquire()
    with pytest.raises(StaleEpochError):
        term.guard()


@pytest.mark.parametrize("ttl_s", [3.0, TTL_S, 30.0])
@in_virtual_time
async def test_leader_keeps_its_lease_on_a_store_that_takes_a_third_of_it(ttl_s: float) -> None:
    leases = FakeLeases()
    async with leading(Leader(leases, ONE, LoopClock(), ttl_s=ttl_s)) as (term, keeping):
        leases.latency_s = ttl_s * 0.33
        await asyncio.sleep(600)
        term.guard()
        keeping.cancel()


@in_virtual_time
async def test_released_lease_is_free_at_once() -> None:
    leases = FakeLeases()
    first = leader(leases, ONE)
    await first.give_up(await first.acquire())
    assert await elapsed(leases, FAR) == 0.0


@in_virtual_time
async def test_deadline_counts_from_before_the_request() -> None:
    lease = Lease("agent", ONE, 1, TTL_S)
    term = Leadership(lease, LoopClock(), LoopClock().monotonic() + 1.0)
    await asyncio.sleep(0.9)
    term.guard()
    await asyncio.sleep(0.2)
    with pytest.raises(StaleEpochError):
        term.guard()


def test_this_process_is_alive_and_another_start_is_not() -> None:
    me = this_process()
    assert process_alive(me)
    assert not process_alive(replace(me, start_time=me.start_time + 1))
    assert not process_alive(replace(me, pid=2**22 + 1))


def test_hosts_cloned_from_one_image_are_not_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """They share a machine-id, and another boot would be taken for a reboot."""
    monkeypatch.setattr(socket, "gethostname", lambda: "one")
    one = host_id()
    assert host_id() == one
    monkeypatch.setattr(socket, "gethostname", lambda: "two")
    assert host_id() != one
