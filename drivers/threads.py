"""Blocking SDKs on threads: nobody is let go before what was begun is over.

A thread cannot be stopped. Were a cancelled caller let go at once, its record's next pass could run
while the call still acts.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


async def on_thread(call: Callable[[*Ts], T], /, *args: *Ts, pool: Executor | None = None) -> T:
    """What a blocking call returns or raises; see `finished`. None: the loop's own pool."""
    return await finished(asyncio.get_running_loop().run_in_executor(pool, call, *args))


async def finished(work: Awaitable[T]) -> T:
    """Await it to its end, even if whoever waits is cancelled: once, as shutdown must end, so a
    second cancellation is let through. Each call has a timeout, which bounds the wait."""
    future = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if not future.done():
            await asyncio.wait([future])
        if not future.cancelled():
            future.exception()  # retrieved, or the loop would report it as lost
        raise
