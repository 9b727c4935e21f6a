"""Requests that load a model into an Ollama. It gives up loading when its client leaves, so they
stay open beside: no pass waits for their end, and whoever asks for the same again joins."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from drivers import model_calls
from drivers.model_calls import LOADED_WITHIN_S, Calls, Reply
from drivers.models import ModelServer

TOLD_WITHIN_S: Final = 360.0
"""How long a failure that nobody waited for is kept for who asks next, as the engine does within
300 s (controlplane/engine/queue.py). What is older says nothing of now."""

Key = tuple[str, str, str]
"""Server, path and body."""
Load = asyncio.Task[Reply | None]


@dataclass(slots=True)
class Loads:
    """Those under way, and failures that nobody was told of yet."""

    calls: Calls
    begun: dict[Key, Load] = field(default_factory=dict)

    async def ask(self, server: ModelServer, path: str, body: Mapping[str, Any]) -> Reply | None:
        """A POST that may load. None: nothing answers there. Raises RetryableError (Loading) while
        it takes longer than a pass should wait."""
        key = (server.url, path, json.dumps(body, sort_keys=True))
        load = self.begun.get(key)
        if load is None:
            call = self.calls.ask(server, "POST", path, body, timeout_s=LOADED_WITHIN_S)
            load = self.begun[key] = asyncio.get_running_loop().create_task(call)
            load.add_done_callback(partial(self._ended, key))
        await asyncio.wait([load], timeout=model_calls.LOAD_TIMEOUT_S)
        if not load.done():
            raise model_calls.loading()
        self._forget(key, load)
        return load.result()

    async def aclose(self) -> None:
        loads = tuple(self.begun.values())
        for load in loads:
            load.cancel()
        if loads:
            await asyncio.wait(loads)

    def _ended(self, key: Key, load: Load) -> None:
        """Nobody may be waiting just then, nor ask for days. What went well is seen at the server;
        a failure would be told to nobody, and each load begin anew to fail unseen."""
        if _failed(load):
            asyncio.get_running_loop().call_later(TOLD_WITHIN_S, self._forget, key, load)
        else:
            self._forget(key, load)

    def _forget(self, key: Key, load: Load) -> None:
        if self.begun.get(key) is load:  # whoever joined may have been first
            del self.begun[key]


def _failed(load: Load) -> bool:
    if load.cancelled():
        return False
    reply = None if load.exception() is not None else load.result()
    return reply is None or reply.status >= 400 or "error" in reply.body
