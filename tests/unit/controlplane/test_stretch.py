"""Loops in stretches leave others their turns."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from controlplane.stretch import STRETCH_BYTES, STRETCH_RECORDS, Stretch


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
