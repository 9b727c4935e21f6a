"""Turns are taken in order, one record at a time."""

import asyncio

from api.turns import Turns
from controlplane.records import Key

KEY, OTHER = Key("Database", "a", "b"), Key("Database", "a", "c")


async def test_turns_are_taken_in_the_order_of_asking() -> None:
    turns, order = Turns(), list[int]()

    async def write(number: int) -> None:
        async with turns.take(KEY):
            order.append(number)
            await asyncio.sleep(0)
            order.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(write(number))
    assert order == [0, 0, 1, 1, 2, 2, 3, 3]


async def test_other_records_do_not_wait() -> None:
    turns = Turns()
    async with turns.take(KEY), asyncio.timeout(1), turns.take(OTHER):
        assert len(turns) == 2


async def test_nothing_is_kept_afterwards() -> None:
    turns = Turns()
    async with turns.take(KEY):
        waiting = asyncio.ensure_future(_take(turns))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    assert len(turns) == 0


async def _take(turns: Turns) -> None:
    async with turns.take(KEY):
        raise AssertionError("it was somebody else's turn")
