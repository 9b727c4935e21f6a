"""A start with many records: nothing holds the loop, nothing stampedes, nothing is left parsed."""

import asyncio
import threading
from collections import Counter
from typing import Any

import pytest

from controlplane.engine import resolve
from controlplane.engine.prepared import Prepared, prepared_on_a_thread
from controlplane.engine.slices import SLICE
from controlplane.records import Key, Stored
from resources.meta import PLATFORM_NAMESPACE
from resources.zone import Zone
from tests.support.bench import Bench, box_key
from tests.support.toys import Box, Counting
from tests.support.virtual import in_virtual_time, run

RECORDS = 10 * SLICE


async def filled(bench: Bench) -> None:
    """Records that a former process has looked at; half are paused, and hold no room."""
    async with bench.running():
        await bench.namespace()
        await bench.settle()
        for number in range(RECORDS):
            await bench.box(f"b{number}", cpu="1m", paused=number % 2 == 0)
        await bench.settle(60)


def boxes(bench: Bench) -> list[Stored]:
    return list(bench.store.cache.list("Box"))


def parsed(bench: Bench) -> int:
    return sum("obj" in stored.__dict__ for stored in boxes(bench))


def test_a_start_serves_the_loop_between_slices_and_keeps_parsed_what_holds_room_alone() -> None:
    async def main() -> tuple[int, int]:
        bench = Bench()
        await filled(bench)
        turns = kept = 0

        async def others() -> None:
            nonlocal turns, kept
            while bench.ledger.held(boxes(bench)[1].uid).cpu_millicores == 0:
                turns += 1
                await asyncio.sleep(0)
            kept = parsed(bench)

        async with bench.running(), asyncio.TaskGroup() as group:
            group.create_task(others())
        return turns, kept

    turns, kept = run(main)
    assert turns >= RECORDS // SLICE
    assert kept <= RECORDS // 2


@in_virtual_time
async def test_a_start_looks_at_each_record_once_and_at_few_at_a_time() -> None:
    bench = Bench(world=Counting())
    assert isinstance(bench.world, Counting)
    await filled(bench)
    bench.world.calls.clear()
    bench.world.most, writes = 0, len(bench.store.writes)
    async with bench.running():
        await bench.settle(60)
        assert bench.world.calls == {"observe": RECORDS // 2 + 1}  # and its namespace
        assert bench.world.most <= bench.tuning.workers + 1  # and its namespace
        assert len(bench.store.writes) == writes
        assert parsed(bench) == 0


@in_virtual_time
async def test_what_changes_while_a_start_reads_is_not_missed() -> None:
    bench = Bench()
    await filled(bench)
    first, last = box_key("b1"), box_key(f"b{RECORDS - 1}")
    uid = bench.get(first).uid
    await bench.put_finalizers(first)  # or it would stay till the agent has looked
    async with bench.running():
        for _ in range(4):
            await asyncio.sleep(0)  # the first slices have been read
        await bench.delete(first)
        await bench.settle(60)
        assert bench.find(first) is None
        assert not bench.ledger.holds(uid)
        assert bench.ledger.held(bench.get(last).uid).cpu_millicores == 1


def test_a_server_that_all_may_name_does_not_read_them_all_in_one_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    services: Any = vars(Box)["services"]
    turn, reads = 0, Counter[int]()

    def counted(box: Box) -> tuple[str, ...]:
        reads[turn] += 1
        found: tuple[str, ...] = services.fget(box)
        return found

    async def main() -> None:
        bench = Bench()
        await filled(bench)
        await bench.namespace(PLATFORM_NAMESPACE)
        await bench.hub("here")
        monkeypatch.setattr(Box, "services", property(counted))
        stop = asyncio.Event()

        async def turns() -> None:
            nonlocal turn
            while not stop.is_set():
                turn += 1
                await asyncio.sleep(0)

        async with bench.running(), asyncio.TaskGroup() as group:
            group.create_task(turns())
            for _ in range(100 * RECORDS):
                await asyncio.sleep(0)
                if bench.ready(Key("Platform", PLATFORM_NAMESPACE, "here")):
                    break
            stop.set()

    run(main)
    assert sum(reads.values()) >= RECORDS
    assert max(reads.values()) <= 2 * SLICE


@in_virtual_time
@pytest.mark.parametrize("before", [True, False], ids=["at the start", "by a change"])
async def test_a_kind_is_prepared_for_once_before_its_first_record_is_read(
    before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    services: Any = vars(Box)["services"]

    def read(box: Box) -> tuple[str, ...]:
        told.append("read")
        found: tuple[str, ...] = services.fget(box)
        return found

    bench = Bench()
    async with bench.running():
        await bench.namespace()
        if before:
            await bench.box("one", cpu="1m")
        await bench.settle()
    monkeypatch.setattr(Box, "services", property(read))
    monkeypatch.setattr(Box, "prepare", lambda: told.append("prepare"))
    async with bench.running():
        if not before:
            await bench.settle()
            assert told == []
        await bench.box("two", cpu="1m")
        await bench.settle()
    assert told[:2] == ["prepare", "read"]
    assert told.count("prepare") == 1


async def test_a_kind_is_prepared_for_on_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    monkeypatch.setattr(Box, "prepare", lambda: threads.append(threading.get_ident()))
    prepared = Prepared({"Box": Box}, prepared_on_a_thread)
    for kind in ("Box", "Event", "Box"):
        await prepared.ensure(kind)
    assert len(threads) == 1
    assert threading.get_ident() not in threads


async def test_a_large_record_is_read_on_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    on: list[int] = []
    monkeypatch.setattr(resolve, "parse", lambda *_: on.append(threading.get_ident()))
    size = Zone.info.slow_bytes
    small, large = (
        Stored(Key("Zone", "shop", "shop"), "uid", 1, 1, b" " * each) for each in (size - 1, size)
    )
    for stored in (small, large):
        await resolve.parsed(Zone, stored)
    assert [each == threading.get_ident() for each in on] == [True, False]
