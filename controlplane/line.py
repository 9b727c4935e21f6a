"""The line of those that wait for room: who is ahead of whom, and what they will take.

Whoever waits and fits keeps its room from those behind; a blocked big one keeps nothing from
smaller ones. Who fits is packed once each time that room is freed, not at each ask: an ask costs
O(log n), however many wait. Knows nothing of the host; the ledger says what fits.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from controlplane.records import Key
from resources.meta import Footprint

NOTHING: Final = Footprint()


class Scope(NamedTuple):
    """Who is charged: a namespace, by its uid too, as one made anew under the same name owes
    nothing for what its predecessor left."""

    namespace: str = ""
    """"": nobody's; the host alone limits it."""
    uid: str = ""


HOST: Final = Scope("*")
"""The whole host, beside the scopes of namespaces, which are never called so."""

Order = tuple[int, str, str]


@dataclass(frozen=True, slots=True)
class Claim:
    """What one record holds of the host."""

    uid: str
    key: Key
    scope: Scope
    """Not that of `key`: a Volume is in no namespace, and charged to the one that claims it."""
    held: Footprint
    priority: int = 0
    created: str = ""
    """Creation time, RFC 3339: among equal priorities the older goes first."""

    @property
    def order(self) -> Order:
        return (-self.priority, self.created, self.uid)


@dataclass(slots=True)
class _Sums:
    """Running totals in order. `base` is taken off each, so that whoever leaves from the front,
    as they do, costs the rest nothing."""

    orders: list[Order] = field(default_factory=list)
    sums: list[Footprint] = field(default_factory=list)
    base: Footprint = NOTHING

    def append(self, order: Order, delta: Footprint) -> None:
        self.orders.append(order)
        self.sums.append((self.sums[-1] if self.sums else self.base) + delta)

    def before(self, order: Order) -> Footprint:
        at = bisect_left(self.orders, order)
        return self.sums[at - 1] - self.base if at else NOTHING

    def remove(self, order: Order) -> None:
        at = bisect_left(self.orders, order)
        delta = self.sums[at] - (self.sums[at - 1] if at else self.base)
        for each in range(at):
            self.sums[each] += delta
        self.base += delta
        del self.orders[at], self.sums[at]


@dataclass(slots=True)
class Line:
    """`delta`: what a claim needs on top of what it holds. `fits`: whether a scope may have that
    much beside what is taken of each."""

    delta: Callable[[Claim], Footprint]
    fits: Callable[[Scope, Footprint, Mapping[Scope, Footprint]], bool]
    _waiting: dict[str, Claim] = field(default_factory=dict)
    _fitting: dict[str, tuple[Claim, Footprint]] | None = None
    """Those that fit, in order, and what each takes; None: to be packed anew."""
    _sums: dict[Scope, _Sums] = field(default_factory=dict)

    def __contains__(self, uid: str) -> bool:
        return uid in self._waiting

    def uids(self) -> frozenset[str]:
        return frozenset(self._waiting)

    def keeps(self, uid: str) -> bool:
        """Whether it waits and fits, and so keeps room from those behind."""
        return uid in self._waiting and uid in self._packed()

    def load(self, waiting: Iterable[Claim]) -> None:
        self._waiting = {claim.uid: claim for claim in waiting}
        self._fitting = None

    def room_changed(self) -> None:
        """Call it whenever `delta` or `fits` may say otherwise, but for what `granted` tells."""
        self._fitting = None

    def refused(self, want: Claim) -> None:
        """It waits from now on. It doesn't fit, so that nobody fits more or less for it."""
        self._forget(want.uid)
        self._waiting[want.uid] = want

    def granted(self, want: Claim, delta: Footprint) -> None:
        """It holds `delta` more, and waits no longer. What it took in the line it takes now."""
        fitting = self._fitting
        if fitting is not None:
            claim, packed = fitting.get(want.uid, (None, NOTHING))
            if claim is None:
                last = next(reversed(fitting.values()), None)
                stale = last is not None and last[0].order > want.order
            else:
                stale = (claim.order, claim.scope, packed) != (want.order, want.scope, delta)
                self._take_out(claim)
            if stale:
                self._fitting = None
        self._waiting.pop(want.uid, None)

    def leave(self, uid: str) -> None:
        """It waits no longer, and takes nothing."""
        self._forget(uid)
        self._waiting.pop(uid, None)

    def ahead(self, want: Claim) -> Mapping[Scope, Footprint]:
        """What those before `want` will take of the host and of its own scope."""
        mine = self._packed().get(want.uid)
        if mine is not None and mine[0].order < want.order:
            # it has let others go first since: some of those may fit where it did
            _, taken = self._pack(each for each in self._waiting.values() if each.uid != want.uid
                                  and each.order < want.order)  # fmt: skip
            return taken
        scopes = (HOST, want.scope)
        return {each: self._sums[each].before(want.order) for each in scopes if each in self._sums}

    def fitting(self) -> list[Key]:
        """Who would be admitted now, in order, each beside those before it."""
        return [claim.key for claim, _ in self._packed().values()]

    def _packed(self) -> dict[str, tuple[Claim, Footprint]]:
        if self._fitting is None:
            self._fitting, _ = self._pack(self._waiting.values())
            self._sums = {}
            for claim, delta in self._fitting.values():
                for scope in (HOST, claim.scope):
                    self._sums.setdefault(scope, _Sums()).append(claim.order, delta)
        return self._fitting

    def _pack(
        self, claims: Iterable[Claim]
    ) -> tuple[dict[str, tuple[Claim, Footprint]], dict[Scope, Footprint]]:
        """First come, first served, of those that fit; and what they take, by scope."""
        found: dict[str, tuple[Claim, Footprint]] = {}
        taken: dict[Scope, Footprint] = {}
        for claim in sorted(claims, key=lambda each: each.order):
            delta = self.delta(claim)
            if self.fits(claim.scope, delta, taken):
                found[claim.uid] = claim, delta
                for scope in (HOST, claim.scope):
                    taken[scope] = taken.get(scope, NOTHING) + delta
        return found, taken

    def _take_out(self, claim: Claim) -> None:
        assert self._fitting is not None
        del self._fitting[claim.uid]
        for scope in (HOST, claim.scope):
            self._sums[scope].remove(claim.order)

    def _forget(self, uid: str) -> None:
        """What kept room from others keeps it no longer."""
        if self._fitting is not None and uid in self._fitting:
            self._fitting = None
