"""The ledger: who holds how much of the host, exact to the millicore and the byte.

Pure and synchronous, so every decision is serialised by the event loop. It reads no record and
writes none: the engine asks before the first step, commits what was granted in
`status.allocation`, and rebuilds the ledger from there at start.

Two orders make it safe: a claim grows here before it is stored, and shrinks here after the
smaller one was stored. So what the store has never exceeds what the ledger has, and that never
exceeds capacity - reserved.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from heapq import nsmallest
from typing import Final

from controlplane.line import HOST, NOTHING, Claim, Line, Scope
from controlplane.records import Key
from resources.meta import Footprint
from resources.quantity import format_bytes, format_millicores

_ONE: Final = Footprint(1, 1, 1)
UNLIMITED: Final = Footprint(2**62, 2**62, 2**62)
"""A Quota that limits nothing: larger than any host, small enough to add to."""
TOP_HOLDERS: Final = 3
"""How many holders a refusal names: enough to act on, short enough for one line."""


@dataclass(frozen=True, slots=True)
class Granted:
    """Room was taken: `held` is what the record holds now."""

    held: Footprint


@dataclass(frozen=True, slots=True)
class Refused:
    """There is no room; the record waits and is told when there is."""

    reason: str
    """BudgetExceeded, QuotaExceeded or CapacityUnknown."""
    message: str
    retry_after_s: float | None = None
    """Ask again then; None: the ledger tells when there is room."""


@dataclass(frozen=True, slots=True)
class Totals:
    """The host as the ledger sees it."""

    capacity: Footprint | None
    """capacity - reserved; None until a Host record says it."""
    allocated: Footprint
    free: Footprint
    """capacity - allocated; negative where the capacity was lowered below what is held."""


class Ledger:
    """Claims by record uid, and who waits for room."""

    def __init__(self) -> None:
        self._capacity: Footprint | None = None
        self._quotas: dict[str, Footprint] = {}
        self._claims: dict[str, Claim] = {}
        self._line = Line(self._delta, self._fits)
        self._holding: dict[tuple[Footprint, Scope | None], list[tuple[Footprint, Key, str]]] = {}
        self._used: dict[Scope, Footprint] = {}
        self._allocated = NOTHING
        self._reserved = NOTHING
        self.moves = 0
        """How often something held was charged to another: it shows in no total."""

    # --- what is ---

    def totals(self) -> Totals:
        free = NOTHING if self._capacity is None else self._capacity - self._allocated
        return Totals(self._capacity, self._allocated, free)

    def used(self, scope: Scope, /) -> Footprint:
        return self._used.get(scope, NOTHING)

    def allocated(self, scope: Scope | None = None, /) -> Footprint:
        return self._allocated if scope is None else self.used(scope)

    def reserved(self) -> Footprint:
        return self._reserved

    def held(self, uid: str) -> Footprint:
        claim = self._claims.get(uid)
        return NOTHING if claim is None else claim.held

    def holds(self, uid: str) -> bool:
        return uid in self._claims

    def waits(self, uid: str) -> bool:
        return uid in self._line

    def uids(self) -> frozenset[str]:
        """Of all that hold or wait for something."""
        return self._line.uids() | self._claims.keys()

    def keeps(self, uid: str) -> bool:
        """Whether it waits and fits: those behind are told once it takes less, or nothing."""
        return self._line.keeps(uid)

    # --- what limits ---

    def limit(
        self,
        capacity: Footprint | None,
        quotas: Mapping[str, Footprint],
        reserved: Footprint = NOTHING,
    ) -> None:
        """Set what may be handed out of the host (`capacity`: what it has minus `reserved`), and
        each namespace's quota. What is held already stays held, even beyond."""
        self._reserved = reserved
        if (capacity, quotas) != (self._capacity, self._quotas):
            self._capacity = capacity
            self._quotas = dict(quotas)
            self._line.room_changed()

    # --- claims ---

    def load(self, claims: Iterable[Claim], waiting: Iterable[Claim] = ()) -> None:
        """Start over from what the store says is allocated, and from who waited before."""
        self._claims.clear()
        self._holding.clear()
        self._used.clear()
        self._allocated = NOTHING
        for claim in claims:
            self._set(claim)
        self._line.load(waiting)

    def ask(self, want: Claim) -> Granted | Refused:
        """Take room for `want.held` on top of what the record holds; all or nothing.

        Held is the component-wise maximum of old and new until `settle`. Whoever goes first by
        (priority, age) among those that wait and fit keeps its room from later ones; a blocked
        big one keeps nothing from smaller ones. What it holds already is charged to `want.scope`
        from now on, though that may be more than its quota: it is there, whoever answers for it.
        """
        self._move(want)
        held = self.held(want.uid)
        target = held.at_least(want.held)
        if target == held:
            self._line.leave(want.uid)
            return Granted(held)
        refused = self._refusal(want, target - held)
        if refused is not None:
            self._line.refused(want)
            return refused
        self._line.granted(want, target - held)
        self._set(replace(want, held=target))
        return Granted(target)

    def settle(self, uid: str, held: Footprint) -> None:
        """Hold exactly `held` from now on: call it once the store says so, with what is observed
        in use, or to take back a grant that was never stored."""
        claim = self._claims.get(uid)
        if claim is None or claim.held == held:
            return
        self._set(replace(claim, held=held))
        if held == NOTHING:
            del self._claims[uid]
        self._line.room_changed()

    def release(self, uid: str) -> None:
        """Nothing of it exists any more."""
        claim = self._claims.pop(uid, None)
        self._line.leave(uid)
        if claim is not None:
            self._add(claim.scope, NOTHING - claim.held)
            self._line.room_changed()

    def withdraw(self, uid: str) -> None:
        """It waits no longer (paused, deleted, or stuck for another reason)."""
        self._line.leave(uid)

    def wakeable(self) -> list[Key]:
        """Who waits and would be admitted now, in order, each beside those before it."""
        return self._line.fitting()

    # --- arithmetic ---

    def _move(self, want: Claim) -> None:
        claim = self._claims.get(want.uid)
        if claim is not None and claim.scope != want.scope:
            self._set(replace(claim, scope=want.scope))
            self.moves += 1
            self._line.room_changed()

    def _set(self, claim: Claim) -> None:
        before = self._claims.get(claim.uid)
        if before is not None:
            self._add(before.scope, NOTHING - before.held)
        self._claims[claim.uid] = claim
        self._add(claim.scope, claim.held)

    def _add(self, scope: Scope, delta: Footprint) -> None:
        self._holding.clear()
        self._allocated += delta
        self._used[scope] = self.used(scope) + delta
        if self._used[scope] == NOTHING:
            del self._used[scope]

    def _delta(self, claim: Claim) -> Footprint:
        held = self.held(claim.uid)
        return held.at_least(claim.held) - held

    def _fits(self, scope: Scope, delta: Footprint, taken: Mapping[Scope, Footprint]) -> bool:
        if self._capacity is None:
            return False
        host = self._capacity - self._allocated - taken.get(HOST, NOTHING)
        return _short(delta, host) == NOTHING and (
            scope.namespace not in self._quotas
            or _short(delta, self._room(scope) - taken.get(scope, NOTHING)) == NOTHING
        )

    def _room(self, scope: Scope) -> Footprint:
        return self._quotas.get(scope.namespace, UNLIMITED) - self.used(scope)

    def _refusal(self, want: Claim, delta: Footprint) -> Refused | None:
        scope = want.scope
        if self._capacity is None:
            return Refused("CapacityUnknown", "the host's capacity is not known yet")
        taken = self._line.ahead(want)
        room = self._room(scope) - taken.get(scope, NOTHING)
        if (short := _short(delta, room)) != NOTHING:
            where = f"the quota of namespace '{scope.namespace}'"
            return self._tell("QuotaExceeded", where, short, want)
        host = self._capacity - self._allocated - taken.get(HOST, NOTHING)
        if (short := _short(delta, host)) != NOTHING:
            return self._tell("BudgetExceeded", "the host", short, want)
        return None

    def _tell(self, reason: str, where: str, short: Footprint, want: Claim) -> Refused:
        text = f"{where} is short of {describe(short)} for {describe(want.held)}"
        holders = self._holders(short, want, within=reason == "QuotaExceeded")
        return Refused(reason, f"{text}; held by {holders}" if holders else text)

    def _holders(self, short: Footprint, want: Claim, *, within: bool) -> str:
        """The largest holders of what is short, the first short component deciding."""
        found = self._largest(_masked(_ONE, short), want.scope if within else None)
        others = [item for item in found if item[2] != want.uid]
        return ", ".join(f"{key} ({describe(size)})" for size, key, _ in others[:TOP_HOLDERS])

    def _largest(self, parts: Footprint, scope: Scope | None) -> list[tuple[Footprint, Key, str]]:
        """Sought once after each change of claims, not for each of many that are refused."""
        if (parts, scope) not in self._holding:
            sized = [
                (_masked(claim.held, parts), claim.key, claim.uid)
                for claim in self._claims.values()
                if scope in (None, claim.scope)
            ]
            self._holding[parts, scope] = nsmallest(
                TOP_HOLDERS + 1,
                (item for item in sized if item[0] != NOTHING),
                key=lambda item: (-item[0].cpu_millicores, -item[0].memory_bytes,
                                  -item[0].disk_bytes, item[1]),
            )  # fmt: skip
        return self._holding[parts, scope]


def _short(delta: Footprint, room: Footprint) -> Footprint:
    """What is missing, component by component. One that asks for no more is never short, even
    where the room is negative."""

    def missing(need: int, free: int) -> int:
        return max(0, need - free) if need > 0 else 0

    return Footprint(
        missing(delta.cpu_millicores, room.cpu_millicores),
        missing(delta.memory_bytes, room.memory_bytes),
        missing(delta.disk_bytes, room.disk_bytes),
    )


def _masked(held: Footprint, short: Footprint) -> Footprint:
    return Footprint(
        held.cpu_millicores if short.cpu_millicores else 0,
        held.memory_bytes if short.memory_bytes else 0,
        held.disk_bytes if short.disk_bytes else 0,
    )


def describe(amount: Footprint) -> str:
    """For a person: "500m CPU, 512Mi memory, 1Gi disk", zero components left out."""
    parts = (
        (amount.cpu_millicores, f"{format_millicores(amount.cpu_millicores)} CPU"),
        (amount.memory_bytes, f"{format_bytes(amount.memory_bytes)} memory"),
        (amount.disk_bytes, f"{format_bytes(amount.disk_bytes)} disk"),
    )
    return ", ".join(text for size, text in parts if size) or "nothing"
