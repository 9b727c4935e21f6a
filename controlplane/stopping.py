"""How a process ends: by SIGTERM or SIGINT, also while it starts, or for a reason that is told."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

from controlplane.errors import ControlPlaneError, TerminalError


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


def explained(exc: ControlPlaneError | ExceptionGroup[Exception]) -> str:
    """What to say in place of a traceback; raises `exc` where that is needed, as for a bug."""
    if isinstance(exc, ControlPlaneError):
        return f"error: {exc}"
    ours, others = exc.split(TerminalError)
    if ours is None or others is not None:
        raise exc
    return "\n".join(f"error: {each}" for each in _leaves(ours))


def _leaves(group: ExceptionGroup[TerminalError]) -> Iterator[TerminalError]:
    for each in group.exceptions:
        if isinstance(each, ExceptionGroup):
            yield from _leaves(each)
        else:
            yield each


def _on_signals(told: Callable[[], None]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told)
