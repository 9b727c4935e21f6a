"""The sweep: removes what carries our owner label outside and no live record owns.

The last resort for what a lost finalizer or a lost reply left behind. Never a volume, never on
the word of the cache alone, and neither many things at once that nobody saw being deleted nor what
is older than the records are: a wrong or empty database must not take a running platform down.
What names a live record of ours (`Outside.known`) is this database's, or a later copy's.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

import structlog

from controlplane.clock import Clock
from controlplane.engine.port import Guard, Outside, RecordsPort, Sweeper
from controlplane.errors import ControlPlaneError, StaleEpochError
from controlplane.metrics import Metrics
from controlplane.records import Key, View

PERIOD_S: Final = 600.0
DELAY_S: Final = 1.0
"""After a record went with something of it outside: its own deletion may still be on its way."""
NEVER: Final = frozenset({"volume"})
UNSEEN_MAX: Final = 10
"""At most so many unowned things are removed in one sweep unless this process saw their records
go: more than that is not a leftover, it is another installation's database."""
SEEN_MAX: Final = 10_000

_log = structlog.get_logger(__name__)


class Sweep:
    """Lists by label, compares with the records, removes the rest."""

    def __init__(
        self,
        view: View,
        records: RecordsPort,
        sweepers: Sequence[Sweeper],
        clock: Clock,
        guard: Guard,
        metrics: Metrics,
        *,
        born: Callable[[], datetime | None],
        clean: Callable[[str], None],
        refused: Callable[[str], None],
    ) -> None:
        self._view = view
        self._records = records
        self._sweepers = sweepers
        self._clock = clock
        self._guard = guard
        self._metrics = metrics
        self._born = born
        """When these records began to be; None: not known."""
        self._clean = clean
        """Called with the uid of a gone record once nothing of it is outside."""
        self._refused = refused
        """Called with why something that no record owns is left alone."""
        self._gone: dict[str, None] = {}
        self._soon = asyncio.Event()

    def gone(self, uid: str) -> None:
        """A record went: what it left outside is a leftover."""
        self._gone[uid] = None
        while len(self._gone) > SEEN_MAX:
            del self._gone[next(iter(self._gone))]

    def look_soon(self) -> None:
        self._soon.set()

    async def run(self) -> None:
        """Sweep at start, when asked, and every PERIOD_S."""
        while True:
            self._soon.clear()
            try:
                await self.once()
            except ControlPlaneError as exc:
                _log.info("sweep_postponed", error=str(exc))
            try:
                async with asyncio.timeout(PERIOD_S):
                    await self._soon.wait()
                await self._clock.sleep(DELAY_S)
            except TimeoutError:
                continue

    async def once(self) -> int:
        """One sweep; returns how many things it removed."""
        removed = 0
        complete = True
        foreign = False
        refused = 0
        left: set[str] = set()
        # whoever goes from here on may have been listed while it still owned what it has
        gone = tuple(self._gone)
        for sweeper in self._sweepers:
            items = [item for item in await sweeper.list_owned() if not self._owned(item)]
            if items:
                await self._records.catch_up(5.0)
            unowned = [item for item in items if not self._owned(item) and item.what not in NEVER]
            foreign = foreign or self._is_foreign(unowned)
            leftovers = self._careful(unowned, foreign=foreign)
            refused += len(unowned) - len(leftovers)
            for item in leftovers:
                try:
                    self._guard()
                    await sweeper.remove(item)
                except StaleEpochError:
                    raise
                except ControlPlaneError as exc:
                    complete = False
                    left.add(item.uid)
                    _log.warning("sweep_failed", what=item.what, id=item.id, error=str(exc))
                    continue
                removed += 1
                self._metrics.swept.inc()
                _log.info("swept", what=item.what, id=item.id, kind=item.kind, name=item.name)
        self._metrics.sweep_refused.set(refused)
        self._give_back([uid for uid in gone if uid not in left], for_good=complete)
        return removed

    def _give_back(self, uids: Sequence[str], *, for_good: bool) -> None:
        for uid in uids:
            self._clean(uid)
            if for_good:
                self._gone.pop(uid, None)

    def _owned(self, item: Outside) -> bool:
        stored = self._view.get(Key(item.kind, item.namespace, item.name))
        return stored is not None and stored.uid == item.uid

    def _is_foreign(self, unowned: Sequence[Outside]) -> bool:
        """Whether something was made before these records began to be: it was made for others."""
        born = self._born()
        return born is not None and any(
            item.made_at is not None and item.made_at < born
            for item in unowned
            if not self._certain(item)
        )

    def _careful(self, unowned: Sequence[Outside], *, foreign: bool) -> Sequence[Outside]:
        unseen = [item for item in unowned if not self._certain(item)]
        if not unseen or not (foreign or len(unseen) > UNSEEN_MAX):
            return unowned
        what = unseen[0].what
        why = "were made before this database was" if foreign else "are many"
        told = (
            f"{len(unseen)} things outside, a {what} among them, have no record in this database, "
            f"and {why}: is it another installation's, or is its backup still to be restored? If "
            "they are to go, remove them by label"
        )
        _log.error("sweep_refused", unowned=len(unseen), hint=told)
        self._refused(told)
        return [item for item in unowned if self._certain(item)]

    def _certain(self, item: Outside) -> bool:
        """Whether it was this database's for sure."""
        return item.known or item.uid in self._gone
