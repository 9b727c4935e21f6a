"""The queue: what is never lost, never doubled, and in which order it runs."""

import asyncio
import random

from controlplane.engine.queue import CAP_S, FORGOTTEN_S, TOGETHER_S, Item, Priority, Queue
from controlplane.records import Key
from tests.support.virtual import LoopClock, in_virtual_time

A, B, C = (Key("Box", "shop", name) for name in "abc")


def queue(seed: int = 0) -> Queue:
    return Queue(LoopClock(), random.Random(seed))


async def taken(work: Queue) -> Key:
    item = await work.get()
    assert isinstance(item, Item)
    return item.key


@in_virtual_time
async def test_equal_keys_are_one() -> None:
    work = queue()
    work.add(A, Priority.DRIFT)
    work.add(A, Priority.DRIFT)
    assert work.depth == 1


@in_virtual_time
async def test_order_is_by_priority_then_arrival() -> None:
    work = queue()
    work.add(A, Priority.RESYNC)
    work.add(B, Priority.DRIFT)
    work.add(C, Priority.DRIFT)
    work.add(A, Priority.USER)
    assert [await taken(work) for _ in range(3)] == [A, B, C]
    assert work.depth == 0


@in_virtual_time
async def test_key_that_changes_while_worked_on_runs_again_after() -> None:
    work = queue()
    work.add(A, Priority.USER)
    assert await taken(work) == A
    work.add(A, Priority.DRIFT)
    work.add(B, Priority.RESYNC)
    assert await taken(work) == B
    work.done(B)
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(taken(work))
        await asyncio.sleep(1)
        assert not waiting.done()
        work.done(A)
        assert await waiting == A


@in_virtual_time
async def test_delayed_key_runs_when_due_and_the_earlier_time_wins() -> None:
    work = queue()
    async with asyncio.TaskGroup() as tasks:
        timers = tasks.create_task(work.run())
        work.add_after(A, 10.0, Priority.RESYNC)
        work.add_after(A, 3.0, Priority.RESYNC)
        work.add_after(A, 20.0, Priority.RESYNC)
        began = asyncio.get_running_loop().time()
        assert await taken(work) == A
        assert asyncio.get_running_loop().time() - began == 3.0
        work.done(A)
        await asyncio.sleep(30)
        assert work.depth == 0
        timers.cancel()


@in_virtual_time
async def test_looks_that_are_far_off_come_together_and_waits_stay_exact() -> None:
    work = queue()
    for number, key in enumerate((A, B, C)):
        work.add_after(key, 600.5 + number / 100, Priority.RESYNC)
    due_s = {work.due_in(key) for key in (A, B, C)}
    assert len(due_s) == 1
    assert all(600.5 <= at <= 600.52 + TOGETHER_S for at in due_s if at is not None)
    for delay_s, priority in ((600.25, Priority.DEPENDENCY), (0.25, Priority.RESYNC)):
        work.drop(A)
        work.add_after(A, delay_s, priority)
        assert work.due_in(A) == delay_s


@in_virtual_time
async def test_backoff_grows_to_its_cap_with_full_jitter_and_is_forgotten() -> None:
    work = queue(7)
    delays = [work.retry(A, Priority.RESYNC) for _ in range(40)]
    assert all(0 <= delay <= min(CAP_S, 0.5 * 2 ** (i + 1)) for i, delay in enumerate(delays))
    assert max(delays) > CAP_S / 2
    work.forget(A)
    assert work.retry(A, Priority.RESYNC) <= 1.0
    assert work.retry(B, Priority.RESYNC, at_least_s=99.0) >= 99.0


@in_virtual_time
async def test_backoff_of_long_ago_is_forgotten() -> None:
    work = queue()
    for _ in range(20):
        work.retry(A, Priority.RESYNC)
    await asyncio.sleep(FORGOTTEN_S)
    work.retry(A, Priority.RESYNC)
    assert work.failures(A) == 21
    await asyncio.sleep(FORGOTTEN_S + 1)
    assert work.retry(A, Priority.RESYNC) <= 1.0


@in_virtual_time
async def test_backoff_may_be_bounded_but_not_below_what_is_asked_for() -> None:
    work = queue()
    for _ in range(20):
        assert work.retry(A, Priority.RESYNC, at_most_s=30.0) <= 30.0
    assert work.retry(A, Priority.RESYNC, at_least_s=60.0, at_most_s=30.0) == 60.0


@in_virtual_time
async def test_edit_runs_at_once_whatever_the_backoff() -> None:
    work = queue()
    for _ in range(20):
        work.retry(A, Priority.RESYNC)
    work.add(A, Priority.USER)
    assert await taken(work) == A
    assert work.failures(A) == 0


@in_virtual_time
async def test_event_shortens_a_long_backoff_but_makes_no_hot_loop() -> None:
    work = queue(3)
    async with asyncio.TaskGroup() as tasks:
        timers = tasks.create_task(work.run())
        for _ in range(20):
            work.retry(A, Priority.RESYNC)
        began = asyncio.get_running_loop().time()
        work.add(A, Priority.DRIFT)
        assert work.depth == 0
        await taken(work)
        assert asyncio.get_running_loop().time() - began <= 10.0
        timers.cancel()


@in_virtual_time
async def test_what_fails_for_good_has_no_timer_and_is_woken_no_faster_than_in_backoff() -> None:
    work = queue(3)
    clock = LoopClock()
    async with asyncio.TaskGroup() as tasks:
        timers = tasks.create_task(work.run())
        waits_s = []
        for _ in range(8):
            work.failed(A)
            assert work.due_in(A) is None
            began_s = clock.monotonic()
            work.add(A, Priority.DEPENDENCY)
            assert await taken(work) == A
            work.done(A)
            waits_s.append(clock.monotonic() - began_s)
        assert waits_s == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0, 10.0]
        await asyncio.sleep(60)
        work.add(A, Priority.DRIFT)
        assert work.due_in(A) == 0.0
        timers.cancel()


@in_virtual_time
async def test_what_fails_for_good_makes_no_later_backoff_long_and_shortens_none() -> None:
    work = queue()
    for _ in range(100):
        work.failed(A)
    assert work.retry(A, Priority.RESYNC) <= 0.5 * 2**6
    for _ in range(20):
        work.retry(A, Priority.RESYNC)
    before = work.failures(A)
    work.failed(A)
    assert work.failures(A) == before
    work.add(A, Priority.USER)
    assert await taken(work) == A
    assert work.failures(A) == 0
    work.failed(A)
    await asyncio.sleep(FORGOTTEN_S + 1)
    work.failed(A)
    assert work.failures(A) == 1


@in_virtual_time
async def test_closed_queue_lets_workers_go() -> None:
    work = queue()
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(work.get()) for _ in range(3)]
        await asyncio.sleep(0)
        work.close()
    assert [task.result() for task in waiting] == [None, None, None]


@in_virtual_time
async def test_cancelled_worker_passes_its_wake_up_on() -> None:
    work = queue()
    async with asyncio.TaskGroup() as tasks:
        first, second = tasks.create_task(work.get()), tasks.create_task(work.get())
        await asyncio.sleep(0)
        work.add(A, Priority.USER)
        first.cancel()
        await asyncio.sleep(0.1)
        assert second.done()


@in_virtual_time
async def test_no_key_is_lost_or_worked_on_twice_at_once() -> None:
    rng = random.Random(5)
    work = queue(5)
    keys = [Key("Box", "shop", str(i)) for i in range(30)]
    asked = dict.fromkeys(keys, 0.0)
    seen = dict.fromkeys(keys, -1.0)
    busy: set[Key] = set()
    clock = LoopClock()

    async def worker() -> None:
        while (item := await work.get()) is not None:
            assert item.key not in busy
            busy.add(item.key)
            seen[item.key] = clock.monotonic()
            await asyncio.sleep(rng.random())
            busy.discard(item.key)
            work.done(item.key)

    async with asyncio.TaskGroup() as tasks:
        timers = tasks.create_task(work.run())
        for _ in range(4):
            tasks.create_task(worker())
        for _ in range(2000):
            key = rng.choice(keys)
            asked[key] = clock.monotonic()
            if rng.random() < 0.5:
                work.add(key, rng.choice(list(Priority)))
            else:
                work.add_after(key, rng.random(), Priority.DRIFT)
            await asyncio.sleep(rng.random() / 50)
        await asyncio.sleep(60)
        assert all(seen[key] >= asked[key] for key in keys if asked[key])
        work.close()
        timers.cancel()
