"""A crash of the process ends what its threads do, wherever they are."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from controlplane.seam import Call
from drivers.s3 import S3Server
from drivers.s3_network import NetworkS3
from tests.integration.crashes.requests import s3_requests

SERVER = S3Server("http://127.0.0.1:1", "key", "secret")


class Dead:
    """A seam behind which nobody lives."""

    def opened(self, port: str, verbs: Sequence[str], /) -> None: ...

    async def __call__(self, call: Call, /) -> Any:
        await asyncio.Event().wait()


@pytest.mark.parametrize("asks_first", [True, False])
async def test_a_verb_of_a_process_that_died_ends(*, asks_first: bool) -> None:
    """Whether it had asked for something already, or was in the midst of a look."""
    s3 = NetworkS3()
    s3_requests(s3, Dead())
    begun, died = threading.Event(), threading.Event()

    def verb() -> Any:
        begun.set()
        if not asks_first:
            assert died.wait(30)
        return s3._calls.call("s3", SERVER, "create_bucket", Bucket="shop")

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        task = group.create_task(s3._calls.run("make bucket 'shop'", verb))
        while not begun.is_set():  # noqa: ASYNC110  # set by a thread
            await asyncio.sleep(0.01)
        if asks_first:
            await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.sleep(0)
        died.set()
    assert task.cancelled()
    await s3.aclose()
