"""Loops in stretches leave others their turns."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from controlplane.records import Key, Stored
from controlplane.stretch import STRETCH_BYTES, STRETCH_RECORDS, Stretch, stretches


@asynccontextmanager
async def turns() -> AsyncIterator[list[int]]:
    """A turn of somebody else, for each that there is in the block."""
    taken: list[int] = []

    async def take() -> None:
        while True:
            await asyncio.sleep(0)
            taken.append(1)

    async with asyncio.TaskGroup() as tasks:
        taking = tasks.create_task(take())
        await asyncio.sleep(0)
        yield taken
        taking.cancel()


@pytest.mark.parametrize(
    ("records", "count", "size", "expected"),
    [
        pytest.param(STRETCH_RECORDS, STRETCH_RECORDS - 1, 1, 0, id="few"),
        pytest.param(STRETCH_RECORDS, STRETCH_RECORDS * 5, 1, 5, id="many"),
        pytest.param(
            STRETCH_RECORDS * 10, STRETCH_RECORDS * 5, 1, 0, id="many that are little work"
        ),
        pytest.param(STRETCH_RECORDS, 3, STRETCH_BYTES, 3, id="large"),
    ],
)
async def test_long_loops_give_others_their_turns(
    records: int, count: int, size: int, expected: int
) -> None:
    stretch = Stretch(records)
    async with turns() as taken:
        for _ in range(count):
            await stretch.worked_on(size)
        assert len(taken) == expected


def stored(number: int, size_bytes: int) -> Stored:
    name = f"r{number}"
    return Stored(Key("ConfigMap", "shop", name), name, number, 1, b"x" * size_bytes)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        pytest.param([], [], id="none"),
        pytest.param([1] * 9, [4, 4, 1], id="small"),
        pytest.param([1] * 8, [4, 4], id="small, and no rest"),
        pytest.param([1, STRETCH_BYTES, 1, 1], [2, 2], id="one is large"),
    ],
)
async def test_records_are_handed_out_in_stretches(sizes: list[int], expected: list[int]) -> None:
    found = [stored(number, size) for number, size in enumerate(sizes)]
    handed: list[list[Stored]] = []
    async with turns() as taken:
        async for some in stretches(found, 4):
            # others had theirs before each but the first
            assert len(taken) == len(handed)
            handed.append(list(some))
    assert [len(some) for some in handed] == expected
    assert [each for some in handed for each in some] == found
