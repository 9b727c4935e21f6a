"""Who is cancelled is let go when the thread's work is over, and not before."""

import asyncio
import tempfile
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from drivers.secretfiles import HostSecretFiles
from drivers.threads import finished, on_thread

TURNS = 20
"""Of the loop: more than a cancellation takes to arrive."""


async def some_turns() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


class Gate:
    """Holds a thread until it is opened."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()

    def pass_(self) -> None:
        self.reached.set()
        assert self.opened.wait(30), "nobody opened"

    @asynccontextmanager
    async def held(self, task: asyncio.Task[object]) -> AsyncIterator[None]:
        """While the block runs, the thread of `task` waits at the gate."""
        try:
            while not self.reached.is_set():
                await asyncio.sleep(0.01)
                assert not task.done(), "it never came to the gate"
            yield
        finally:
            self.opened.set()


async def test_the_result_and_the_error_are_the_calls() -> None:
    assert await on_thread(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await on_thread(divmod, 7, 0)


@pytest.mark.parametrize("fails", [False, True])
async def test_one_cancellation_waits_for_the_end(*, fails: bool) -> None:
    gate = Gate()

    def work() -> None:
        gate.pass_()
        if fails:
            raise OSError("nobody is told of it any more")

    async with asyncio.TaskGroup() as group:
        task = group.create_task(on_thread(work))
        async with gate.held(task):
            task.cancel()
            await some_turns()
            assert not task.done()
    assert task.cancelled()


async def test_a_second_cancellation_is_let_through() -> None:
    gate = Gate()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(on_thread(gate.pass_))
        async with gate.held(task):
            task.cancel()
            await some_turns()
            task.cancel()
            await some_turns()
            assert task.cancelled()


async def test_a_coroutine_goes_on_to_its_end_as_well() -> None:
    done, go = [], asyncio.Event()

    async def work() -> None:
        await go.wait()
        done.append(True)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(finished(work()))
        await some_turns()
        task.cancel()
        await some_turns()
        assert not task.done()
        go.set()
    assert task.cancelled()
    assert done


async def test_secret_files_are_not_written_behind_the_back_of_who_was_cancelled() -> None:
    gate = Gate()

    def digest(content: bytes) -> str:
        gate.pass_()
        return content.hex()

    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        files = HostSecretFiles(Path(folder, "secrets"), digest)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(
                files.ensure_files("uid-1", {"a": b"1"}, version="v", user=None)
            )
            async with gate.held(task):
                task.cancel()
                await some_turns()
                assert not task.done()
        assert (await files.list_files()) == ("uid-1",)
