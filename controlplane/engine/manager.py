"""The agent: waits until it may lead, runs a term, and leads again after a lost lease."""

import asyncio
from dataclasses import dataclass

import structlog

from controlplane.engine.leader import Leader, Leadership
from controlplane.engine.term import Setup, Term
from controlplane.errors import StaleEpochError

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Health:
    """For /readyz and the log."""

    leading: bool = False
    epoch: int = 0
    due: int = 0
    """Keys due and not yet taken, over all kinds."""
    drivers_away: tuple[str, ...] = ()
    overdue: tuple[str, ...] = ()
    """Records whose pass has timed out and still holds their key."""


class Mandate:
    """The term this process acts under, for parts that outlive a term (drivers)."""

    def __init__(self) -> None:
        self._term: Leadership | None = None
        self._running: Term | None = None

    @property
    def health(self) -> Health:
        """What the running term looks like."""
        if self._term is None or self._running is None:
            return Health()
        return Health(
            leading=self.leading,
            epoch=self._term.epoch,
            due=sum(queue.depth for queue in self._running.queues.values()),
            drivers_away=self._running.breakers.open,
            overdue=tuple(name for each in self._running.controllers for name in each.overdue),
        )

    @property
    def leading(self) -> bool:
        return self._term is not None and self._term.remaining_s > 0.0

    def begin(self, term: Leadership, running: Term) -> None:
        self._term = term
        self._running = running

    def end(self) -> None:
        self._term = None
        self._running = None

    def epoch(self) -> int:
        """The epoch to label with. Raises StaleEpochError when this process may not act."""
        if self._term is None:
            raise StaleEpochError("cannot act: this process does not lead")
        self._term.guard()
        return self._term.epoch


@dataclass(frozen=True, slots=True)
class Agent:
    """Leads whenever it may, until told to stop."""

    setup: Setup
    leader: Leader
    mandate: Mandate

    async def run(self, stopping: asyncio.Event) -> None:
        """Until `stopping` is set; passes under way then end, or are abandoned after
        setup.drain_s."""
        while not stopping.is_set():
            term = await self._acquire(stopping)
            if term is None:
                return
            running = Term(self.setup, term)
            self.mandate.begin(term, running)
            self.setup.metrics.leading.set(1)
            try:
                await self._lead(term, running, stopping)
            finally:
                self.setup.metrics.leading.set(0)
                self.mandate.end()
                await self.leader.give_up(term)
            _log.info("led", epoch=term.epoch)

    async def _acquire(self, stopping: asyncio.Event) -> Leadership | None:
        """A term, or None when stopped first."""
        async with asyncio.TaskGroup() as tasks:
            acquiring = tasks.create_task(self.leader.acquire(), name="acquire")
            waiting = tasks.create_task(stopping.wait())
            await asyncio.wait((acquiring, waiting), return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if not acquiring.done():
                acquiring.cancel()
                return None
        return acquiring.result()

    async def _lead(self, term: Leadership, running: Term, stopping: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            keeping = tasks.create_task(self.leader.keep(term), name="lease")
            try:
                await running.run(stopping)
            finally:
                keeping.cancel()
