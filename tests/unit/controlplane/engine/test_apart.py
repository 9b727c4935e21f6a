"""Work on a thread and a loop of its own."""

import asyncio
import threading
import time

import pytest

from controlplane.engine.apart import apart


async def test_goes_on_while_the_loop_is_held() -> None:
    turns = []

    async def work() -> None:
        while True:
            turns.append(threading.current_thread().name)
            await asyncio.sleep(0.001)

    running = asyncio.create_task(apart(work, "beside"))
    while not turns:  # noqa: ASYNC110  # the other thread tells
        await asyncio.sleep(0.001)
    before = len(turns)
    time.sleep(0.2)  # noqa: ASYNC251  # the loop is held
    assert len(turns) > before
    assert set(turns) == {"beside"}
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_whoever_is_cancelled_waits_for_its_end() -> None:
    begun, ended = threading.Event(), threading.Event()

    async def work() -> None:
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            ended.set()

    running = asyncio.create_task(apart(work, "beside"))
    while not begun.is_set():  # noqa: ASYNC110  # the other thread tells
        await asyncio.sleep(0.001)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended.is_set()


async def test_cancelled_before_it_began() -> None:
    ran = []

    async def work() -> None:
        ran.append(1)
        await asyncio.Event().wait()

    running = asyncio.create_task(apart(work, "beside"))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert len(ran) <= 1
    for thread in threading.enumerate():
        if thread.name == "beside":
            await asyncio.to_thread(thread.join, 5)
            assert not thread.is_alive()


async def test_ends_with_the_work_and_raises_what_it_raised() -> None:
    async def fine() -> None:
        await asyncio.sleep(0)

    async def wrong() -> None:
        raise ValueError("x")

    await apart(fine, "beside")
    with pytest.raises(ValueError, match="x"):
        await apart(wrong, "beside")
