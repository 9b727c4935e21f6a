"""Models made ready for their first record: some kinds take 0.1 s to load what reads their values.

The agent does it on a thread, before anything of the engine reads the first record of a kind: at
the start of a term, and when a change tells of one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from resources.meta import Record

Prepare = Callable[[type[Record]], Awaitable[None]]
"""Has `Record.prepare` done, wherever."""


async def prepared_here(model: type[Record]) -> None:
    """At once, on the loop."""
    model.prepare()


async def prepared_on_a_thread(model: type[Record]) -> None:
    """The loop goes on meanwhile."""
    await asyncio.to_thread(model.prepare)


class Prepared:
    """Which kinds are ready."""

    def __init__(self, models: Mapping[str, type[Record]], prepare: Prepare) -> None:
        self._models = models
        self._prepare = prepare
        self._ready: set[str] = set()

    async def ensure(self, kind: str) -> None:
        """Return once records of the kind can be read without loading anything first."""
        if kind in self._ready or kind not in self._models:
            return
        await self._prepare(self._models[kind])
        self._ready.add(kind)
