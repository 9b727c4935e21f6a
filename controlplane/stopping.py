"""SIGTERM and SIGINT tell a process that serves to end, also one that has only begun to."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


@asynccontextmanager
async def starting(stop: asyncio.Event) -> AsyncIterator[None]:
    """From now on both signals set `stop`; during the block they end it, too: who waits for a
    database is not to wait for ever to be told so."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(None) as patience:

            def abandon() -> None:
                if not stop.is_set():
                    stop.set()
                    patience.reschedule(loop.time())

            _on_signals(abandon)
            yield
    except TimeoutError:
        if not stop.is_set():
            raise
    finally:
        _on_signals(stop.set)


def _on_signals(told: Callable[[], None]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told)
