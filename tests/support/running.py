"""What a whole engine on a store in memory has in common, whatever its kinds: its terms, and what
its records say.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from controlplane.engine.term import Term
from controlplane.records import Key, Stored
from controlplane.store.leases import Holder
from controlplane.store.records import Actor
from tests.support.memory import MemoryStore

USER = Actor("tester", "kubectl")
HOLDER = Holder("host", "boot", 1, 1)
FOREVER_S = 1e9


@dataclass(slots=True)
class Running(ABC):
    """An engine whose `new_term` says what runs."""

    store: MemoryStore = field(default_factory=MemoryStore)

    @abstractmethod
    def new_term(self) -> Term:
        """A process that leads from now on."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """A term of leadership for the length of a block, ended in order."""
        stopping = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.new_term().run(stopping))
            try:
                yield self
            finally:
                stopping.set()

    def get(self, key: Key) -> Stored:
        found = self.store.cache.get(key)
        assert found is not None, f"{key} is gone"
        return found

    def find(self, key: Key) -> Stored | None:
        return self.store.cache.get(key)

    def status(self, key: Key) -> Mapping[str, Any]:
        return self.get(key).obj.get("status") or {}

    def condition(self, key: Key, kind: str = "Ready") -> Mapping[str, Any]:
        conditions = self.status(key).get("conditions") or ()
        return next((item for item in conditions if item["type"] == kind), {})

    def ready(self, key: Key) -> bool:
        return self.condition(key).get("status") == "True"
