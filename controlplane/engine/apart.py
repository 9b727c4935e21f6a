"""Work on a thread and an event loop of its own, which goes on while the process's loop is busy."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any


async def apart(work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
    """Await `work()`, run on a thread of that name; raises what it raised. Whoever is cancelled
    cancels the work, and waits for its end."""
    result: Future[None] = Future()
    loop = asyncio.new_event_loop()
    task = loop.create_task(work(), name=name)

    def run() -> None:
        result.set_running_or_notify_cancel()
        try:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.get_loop().run_until_complete(task)
        except asyncio.CancelledError:
            result.set_result(None)
        except BaseException as exc:  # noqa: BLE001  # raised where it is awaited
            result.set_exception(exc)
        else:
            result.set_result(None)

    threading.Thread(target=run, name=name, daemon=True).start()
    ended = asyncio.wrap_future(result)
    try:
        await asyncio.shield(ended)
    except asyncio.CancelledError:
        with contextlib.suppress(RuntimeError):  # it has just ended by itself
            loop.call_soon_threadsafe(task.cancel)
        await asyncio.wait((ended,))
        raise
