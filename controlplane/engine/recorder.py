"""Writes events in the background: bounded, counted, and never the reason a pass fails."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from controlplane import events
from controlplane.clock import Clock, rfc3339
from controlplane.engine.port import AGENT, RecordsPort
from controlplane.errors import ControlPlaneError
from controlplane.events import Happening
from controlplane.records import Key, View

MAX_PENDING: Final = 1000
"""Different events kept while the store is away; more are dropped, the oldest kept."""
FLUSH_S: Final = 0.5
"""Repeats within this time are one write."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Pending:
    count: int
    first: str
    last: str


class Recorder:
    """`tell` returns at once; `run` writes."""

    def __init__(
        self, records: RecordsPort, view: View, clock: Clock, epoch: Callable[[], int]
    ) -> None:
        self._records = records
        self._view = view
        self._clock = clock
        self._epoch = epoch
        self._pending: dict[Happening, _Pending] = {}
        self._any = asyncio.Event()

    def tell(self, what: Happening) -> None:
        now = rfc3339(self._clock.now())
        pending = self._pending.get(what)
        if pending is not None:
            pending.count += 1
            pending.last = now
        elif len(self._pending) < MAX_PENDING:
            self._pending[what] = _Pending(1, now, now)
            self._any.set()

    async def run(self) -> None:
        """Write what is told, for ever."""
        while True:
            await self._any.wait()
            await self._clock.sleep(FLUSH_S)
            await self.flush()

    async def flush(self) -> None:
        """Write all that is pending; what fails is dropped and logged."""
        self._any.clear()
        pending, self._pending = self._pending, {}
        for what, times in pending.items():
            try:
                await self._write(what, times)
            except ControlPlaneError as exc:
                _log.debug("event_dropped", reason=what.reason, error=str(exc))

    async def _write(self, what: Happening, times: _Pending) -> None:
        key = Key(events.KIND, what.event_namespace, what.event_name)
        stored = self._view.get(key)
        if stored is None:
            obj = events.body(what, count=times.count, first=times.first, last=times.last)
            await self._records.create(events.KIND, obj, actor=AGENT, epoch=self._epoch())
            return
        obj = events.counted(what, stored.obj, more=times.count, last=times.last)
        await self._records.update(stored, obj, actor=AGENT, epoch=self._epoch())
