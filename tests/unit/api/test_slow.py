"""Work that takes long leaves the loop to others."""

import asyncio
import threading

from api.slow import SLOW_BYTES, in_turns


async def test_others_get_their_turns_while_large_things_are_worked_on() -> None:
    others = threading.Event()

    async def other() -> None:
        others.set()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(other())
        assert await in_turns(SLOW_BYTES, lambda: others.wait(30))


async def test_small_things_are_done_at_once() -> None:
    assert await in_turns(SLOW_BYTES - 1, threading.get_ident) == threading.get_ident()
