"""Follows the budget: wakes who fits now, tells the Host and Quota records, sets the limits.

Reacts to the ledger's changes once a loop turn, however many there were.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable
from typing import Final

from controlplane.budget import Ledger, Totals
from controlplane.clock import Clock
from controlplane.engine.admission import Admission
from controlplane.engine.port import Limits
from controlplane.engine.queue import Priority
from controlplane.metrics import Metrics
from controlplane.names import NameBook
from controlplane.records import Change, Key, View
from resources.meta import FINALIZER

TELL_S: Final = 1.0
"""The Host and Quota records are told at most this often: 50 Apps starting are a few writes, and so
are the creates of a second in a namespace with a Quota."""
SETTLE_S: Final = 0.1
"""And no sooner than this: what changed the ledger commits its grant and begins its first step,
which a write of the Host's would only hold up (2 of 16 ms before a container is created)."""


class Room:
    """`changed` is called by whoever changes the ledger; it returns at once."""

    def __init__(
        self,
        ledger: Ledger,
        names: NameBook,
        view: View,
        clock: Clock,
        metrics: Metrics,
        *,
        read_limits: Callable[[View], Limits],
        budget_kinds: frozenset[str],
        wake: Callable[[Key, Priority], None],
    ) -> None:
        self._ledger = ledger
        self._names = names
        self._view = view
        self._clock = clock
        self._metrics = metrics
        self._read_limits = read_limits
        self._budget_kinds = budget_kinds
        self._wake = wake
        self._changed = asyncio.Event()
        self._tell = asyncio.Event()
        self._told = self._state()
        self._all = False
        """Everybody has to be told, and not only those in `_spaces`."""
        self._spaces: set[str] = set()
        """Namespaces that hold more records, or fewer, than was told."""

    def changed(self) -> None:
        self._changed.set()

    def loaded(self) -> None:
        """A term begins: the records that show the totals are looked at as all others are."""
        self._told = self._state()

    def take(self, change: Change) -> None:
        """Listen to a change: a Host or a Quota may mean other limits, and a Quota tells how many
        records there are."""
        if change.after.key.kind in self._budget_kinds:
            self.read_limits()
        if change.verb != "update" and change.after.key.namespace:
            self._spaces.add(change.after.key.namespace)
            self._tell.set()

    def read_limits(self) -> None:
        limits = self._read_limits(self._view)
        self._ledger.limit(limits.capacity, limits.quotas, limits.reserved)
        self.changed()

    async def run(self) -> None:
        """Wake those that fit, for ever. They ask again in their own pass, in any order: the
        ledger keeps the room of those ahead from those behind."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            for key in (*self._ledger.wakeable(), *self._names.wakeable()):
                self._wake(key, Priority.DEPENDENCY)
            self._metrics.budget(self._ledger.totals())
            if (state := self._state()) != self._told:
                self._told, self._all = state, True
                self._tell.set()

    async def tell(self) -> None:
        """Wake the records that show the totals, for ever."""
        while True:
            await self._tell.wait()
            await self._clock.sleep(SETTLE_S)
            self._tell.clear()
            for key in self._to_tell():
                self._wake(key, Priority.DEPENDENCY)
            await self._clock.sleep(TELL_S)

    def _state(self) -> tuple[Totals, int]:
        """What the records that show it are told anew after: one namespace may hold more, and
        another less, and the host as much as before."""
        return self._ledger.totals(), self._ledger.moves

    def _to_tell(self) -> list[Key]:
        spaces: Iterable[str | None] = (None,) if self._all else sorted(self._spaces)
        self._all, self._spaces = False, set()
        kinds = sorted(self._budget_kinds)
        return [each.key for s in spaces for kind in kinds for each in self._view.list(kind, s)]


class Departures:
    """What is done with the room of records that are gone."""

    def __init__(self, admission: Admission, *, swept: bool) -> None:
        self._admission = admission
        self._swept = swept

    def take(self, change: Change) -> bool:
        """Free what a gone record held. True if it went with something of it left outside (its
        finalizer was taken off by hand): its room is kept until a sweep found nothing any more."""
        if change.verb != "delete":
            return False
        gone = change.after
        left = self._admission.ledger.holds(gone.uid) and _held_outside(change)
        if not left or not self._swept:
            self._admission.release(gone.uid)
        return left

    def missed(self, live: Collection[str]) -> tuple[str, ...]:
        """Some may be gone, and nobody has told: `live` are the uids of all that are not. Returns
        those that may have left something outside; their room is kept until a sweep."""
        left: list[str] = []
        for uid in sorted(self._admission.uids() - frozenset(live)):
            if self._swept and self._admission.ledger.holds(uid):
                left.append(uid)
            else:
                self._admission.release(uid)
        return tuple(left)


def _held_outside(change: Change) -> bool:
    """It went with an allocation: the engine takes that back before it lets a record go."""
    status = change.after.obj.get("status") or {}
    return "allocation" in status or FINALIZER in (change.after.meta.get("finalizers") or ())
