"""The ledger, against an oracle that adds up claims without it."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from controlplane.budget import Granted, Ledger, Refused, describe
from controlplane.line import NOTHING, Claim, Scope
from controlplane.records import Key
from resources.meta import Footprint

HOST = Footprint(4000, 8 * 2**30, 100 * 2**30)
GIB = 2**30
SHOP = Scope("shop", "1")


def claim(name: str, cpu: int, memory: int = 0, *, priority: int = 0, created: str = "") -> Claim:
    key = Key("App", "shop", name)
    return Claim(name, key, SHOP, Footprint(cpu, memory), priority, created or name)


def ledger(capacity: Footprint | None = HOST) -> Ledger:
    made = Ledger()
    made.limit(capacity, {})
    return made


def test_ask_grants_what_fits_to_the_millicore() -> None:
    book = ledger()
    assert book.ask(claim("a", 3999)) == Granted(Footprint(3999))
    assert isinstance(book.ask(claim("b", 2)), Refused)
    assert book.ask(claim("c", 1)) == Granted(Footprint(1))
    assert book.totals().free.cpu_millicores == 0


def test_refusal_says_the_exact_shortfall_and_who_holds_it() -> None:
    book = ledger()
    book.ask(claim("big", 3000, 6 * GIB))
    refused = book.ask(claim("late", 1500, GIB))
    assert refused == Refused(
        "BudgetExceeded",
        "the host is short of 500m CPU for 1500m CPU, 1Gi memory; held by App shop/big (3 CPU)",
    )


def test_nothing_but_nothing_is_granted_before_the_capacity_is_known() -> None:
    book = ledger(None)
    assert isinstance(book.ask(claim("a", 1)), Refused)
    assert isinstance(book.ask(claim("b", 0)), Granted)
    assert book.wakeable() == []
    book.limit(HOST, {})
    assert [key.name for key in book.wakeable()] == ["a"]


def test_both_sizes_are_held_until_the_smaller_is_settled() -> None:
    book = ledger()
    book.ask(claim("a", 1000, 2 * GIB))
    assert book.ask(claim("a", 2000, GIB)) == Granted(Footprint(2000, 2 * GIB))
    book.settle("a", Footprint(2000, GIB))
    assert book.totals().allocated == Footprint(2000, GIB)


def test_smaller_one_passes_a_blocked_bigger_one() -> None:
    book = ledger()
    book.ask(claim("holder", 3000))
    assert isinstance(book.ask(claim("big", 2000, created="0")), Refused)
    assert isinstance(book.ask(claim("small", 500, created="1")), Granted)


def test_room_is_kept_for_those_ahead_that_fit() -> None:
    book = ledger()
    book.ask(claim("holder", 4000))
    book.ask(claim("old", 3000, created="0"))
    book.ask(claim("young", 3000, created="1"))
    book.release("holder")
    assert [key.name for key in book.wakeable()] == ["old"]
    assert isinstance(book.ask(claim("young", 3000, created="1")), Refused)
    assert isinstance(book.ask(claim("old", 3000, created="0")), Granted)


def test_room_is_kept_for_those_ahead_when_another_was_served_first() -> None:
    book = ledger()
    book.ask(claim("holder", 4000))
    for name in ("1", "3", "4"):
        book.ask(claim(name, 1000))
    book.release("holder")
    assert [key.name for key in book.wakeable()] == ["1", "3", "4"]
    assert isinstance(book.ask(claim("3", 1000)), Granted)
    assert isinstance(book.ask(claim("2", 2500)), Refused)
    assert isinstance(book.ask(claim("2", 2000)), Granted)
    assert [key.name for key in book.wakeable()] == ["1"]


def test_priority_goes_before_age() -> None:
    book = ledger()
    book.ask(claim("holder", 4000))
    book.ask(claim("old", 3000, created="0"))
    book.ask(claim("urgent", 3000, created="9", priority=5))
    book.release("holder")
    assert [key.name for key in book.wakeable()] == ["urgent"]


def test_quota_limits_one_namespace_and_names_its_holders() -> None:
    book = Ledger()
    book.limit(HOST, {"shop": Footprint(1000, 2**62, 2**62)})
    book.ask(claim("a", 800))
    refused = book.ask(claim("b", 300))
    assert isinstance(refused, Refused)
    assert refused.reason == "QuotaExceeded"
    assert "short of 100m CPU" in refused.message
    other = Claim("o", Key("App", "other", "o"), Scope("other"), Footprint(3000))
    assert isinstance(book.ask(other), Granted)


def test_what_is_charged_to_another_is_taken_from_the_one_before() -> None:
    book = Ledger()
    book.limit(HOST, {"shop": Footprint(1000, 2**62, 2**62)})
    home, heir = Scope("shop", "1"), Scope("shop", "2")
    moved = Claim("v", Key("Volume", "", "v"), home, Footprint(900))
    book.ask(moved)
    assert isinstance(book.ask(claim("waits", 500)), Refused)
    assert book.ask(replace(moved, scope=heir)) == Granted(Footprint(900))
    assert (book.used(home), book.used(heir)) == (NOTHING, Footprint(900))
    assert book.totals().allocated == Footprint(900)
    assert [key.name for key in book.wakeable()] == ["waits"]
    grows = book.ask(replace(moved, scope=home, held=Footprint(1100)))
    assert isinstance(grows, Refused)
    assert book.used(home) == Footprint(900), "as if it were read anew, growth that waits or not"


def test_capacity_lowered_below_what_is_held_stops_growth_alone() -> None:
    book = ledger()
    book.ask(claim("a", 3000, GIB))
    book.limit(Footprint(1000, 8 * GIB), {})
    assert isinstance(book.ask(claim("a", 3000, 2 * GIB)), Granted)
    assert isinstance(book.ask(claim("b", 1)), Refused)


def test_load_keeps_who_waited() -> None:
    book = ledger()
    book.load([claim("a", 3000)], [claim("w", 2000, created="0")])
    assert book.totals().allocated.cpu_millicores == 3000
    book.release("a")
    assert isinstance(book.ask(claim("young", 3000, created="9")), Refused)
    assert [key.name for key in book.wakeable()] == ["w"]


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        pytest.param(NOTHING, "nothing", id="nothing"),
        pytest.param(Footprint(1500, GIB, 0), "1500m CPU, 1Gi memory", id="two"),
    ],
)
def test_describe_leaves_out_zeroes(amount: Footprint, text: str) -> None:
    assert describe(amount) == text


def test_an_ask_packs_the_line_once_however_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it costs to ask doesn't grow with those that wait, as long as no room is freed."""
    looked: list[str] = []
    plain = Ledger._fits

    def counted(self: Ledger, scope: Scope, *rest: Any) -> bool:
        looked.append(scope.namespace)
        return plain(self, scope, *rest)

    monkeypatch.setattr(Ledger, "_fits", counted)
    book = ledger()
    book.load([claim("holder", 4000)], [claim(f"w{n:04}", 300) for n in range(1000)])
    for n in range(1000):
        assert isinstance(book.ask(claim(f"w{n:04}", 300)), Refused)
    assert len(looked) == 1000
    book.release("holder")
    looked.clear()
    assert len(book.wakeable()) == 4000 // 300
    for n in range(4000 // 300):
        assert isinstance(book.ask(claim(f"w{n:04}", 300)), Granted)
    assert len(looked) == 1000


@dataclass
class _Model:
    """The oracle: what each record holds, by plain addition."""

    capacity: tuple[int, int] = (100, 100)
    quota: tuple[int, int] = (60, 60)
    held: dict[str, tuple[int, int]] = field(default_factory=dict)

    def used(self, namespace: str = "") -> tuple[int, int]:
        mine = [size for uid, size in self.held.items() if uid.startswith(namespace)]
        return sum(size[0] for size in mine), sum(size[1] for size in mine)

    def more(self, uid: str, size: tuple[int, int]) -> tuple[int, int]:
        old = self.held.get(uid, (0, 0))
        return max(old[0], size[0]) - old[0], max(old[1], size[1]) - old[1]

    def fits(self, uid: str, size: tuple[int, int], ahead: Sequence[Claim] = ()) -> bool:
        """Beside what those ahead take that fit themselves, each beside those before it."""
        return self._fits_beside(uid, size, self._taken(ahead))

    def _taken(self, line: Sequence[Claim]) -> dict[str, tuple[int, int]]:
        """The plain definition: first come, first served, of those that fit."""
        taken = {"": (0, 0), "q": (0, 0)}
        for claim in line:
            size = claim.held.cpu_millicores, claim.held.memory_bytes
            if self._fits_beside(claim.uid, size, taken):
                more = self.more(claim.uid, size)
                for scope in ("", "q") if claim.uid[0] == "q" else ("",):
                    taken[scope] = taken[scope][0] + more[0], taken[scope][1] + more[1]
        return taken

    def _fits_beside(
        self, uid: str, size: tuple[int, int], taken: Mapping[str, tuple[int, int]]
    ) -> bool:
        more = self.more(uid, size)
        for i in (0, 1):
            limited = uid[0] == "q" and self.used("q")[i] + taken["q"][i] + more[i] > self.quota[i]
            if more[i] and (self.used()[i] + taken[""][i] + more[i] > self.capacity[i] or limited):
                return False
        return True


UIDS = [*(f"q{i}" for i in range(4)), *(f"o{i}" for i in range(4))]
SIZES = st.tuples(st.integers(0, 60), st.integers(0, 60))


class LedgerMachine(RuleBasedStateMachine):
    """Any order of asks, settles, releases, new limits and restarts."""

    def __init__(self) -> None:
        super().__init__()
        self.model = _Model()
        self.waiting: dict[str, Claim] = {}
        self.over = False
        self.book = Ledger()
        self._limit()

    def _limit(self) -> None:
        self.book.limit(Footprint(*self.model.capacity), {"q": Footprint(*self.model.quota, 9)})

    @rule(uid=st.sampled_from(UIDS), size=SIZES, priority=st.integers(0, 2))
    def ask(self, uid: str, size: tuple[int, int], priority: int) -> None:
        self.ask_for(uid, size, priority)

    def ask_for(self, uid: str, size: tuple[int, int], priority: int) -> None:
        want = Claim(uid, Key("App", uid[0], uid), Scope(uid[0]), Footprint(*size), priority, uid)
        line = sorted(self.waiting.values(), key=lambda each: each.order)
        ahead = [each for each in line if each.uid != uid and each.order < want.order]
        fits = self.model.fits(uid, size, ahead)
        answer = self.book.ask(want)
        assert isinstance(answer, Granted) == (fits or self.model.more(uid, size) == (0, 0))
        if isinstance(answer, Granted):
            old = self.model.held.get(uid, (0, 0))
            if max(old[0], size[0]) or max(old[1], size[1]):
                self.model.held[uid] = (max(old[0], size[0]), max(old[1], size[1]))
            self.waiting.pop(uid, None)
        else:
            self.waiting[uid] = want

    @precondition(lambda self: self.model.held)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        uid = data.draw(st.sampled_from(sorted(self.model.held)))
        old = self.model.held[uid]
        new = (data.draw(st.integers(0, old[0])), data.draw(st.integers(0, old[1])))
        self.book.settle(uid, Footprint(*new))
        self.model.held[uid] = new

    @rule(uid=st.sampled_from(UIDS))
    def release(self, uid: str) -> None:
        self.book.release(uid)
        self.model.held.pop(uid, None)
        self.waiting.pop(uid, None)

    @rule(uid=st.sampled_from(UIDS))
    def withdraw(self, uid: str) -> None:
        self.book.withdraw(uid)
        self.waiting.pop(uid, None)

    @rule(capacity=st.tuples(st.integers(40, 160), st.integers(40, 160)))
    def resize(self, capacity: tuple[int, int]) -> None:
        self.model.capacity = capacity
        self._limit()
        self.over = any(self.model.used()[i] > capacity[i] for i in (0, 1))

    @rule()
    def restart(self) -> None:
        claims = [
            Claim(u, Key("App", u[0], u), Scope(u[0]), Footprint(*s))
            for u, s in self.model.held.items()
        ]
        self.book = Ledger()
        self._limit()
        self.book.load(claims, self.waiting.values())

    @rule()
    def wake(self) -> None:
        """Everyone it wakes is admitted, in whatever order they ask."""
        for key in reversed(self.book.wakeable()):
            want = self.waiting[key.name]
            answer = self.book.ask(want)
            assert isinstance(answer, Granted)
            size = (answer.held.cpu_millicores, answer.held.memory_bytes)
            self.model.held[key.name] = size
            del self.waiting[key.name]
        assert self.book.wakeable() == []

    @invariant()
    def wakes_those_that_fit(self) -> None:
        line = sorted(self.waiting.values(), key=lambda each: each.order)
        sizes = [(each.held.cpu_millicores, each.held.memory_bytes) for each in line]
        fitting = [
            each.key
            for n, (each, size) in enumerate(zip(line, sizes, strict=True))
            if self.model.fits(each.uid, size, line[:n])
        ]
        assert self.book.wakeable() == fitting

    @invariant()
    def adds_up(self) -> None:
        used = self.model.used()
        totals = self.book.totals()
        assert totals.allocated == Footprint(*used)
        assert self.book.used(Scope("q")) == Footprint(*self.model.used("q"))
        if not self.over:
            assert all(used[i] <= self.model.capacity[i] for i in (0, 1))


TestLedger = LedgerMachine.TestCase


@pytest.mark.parametrize("seed", range(20))
def test_a_long_line_is_served_as_plainly_defined(seed: int) -> None:
    """Small claims, so that many wait and many fit: those are packed once, and kept up to date."""
    rng = random.Random(seed)
    machine = LedgerMachine()
    uids = [f"{scope}{n:02}" for scope in "qo" for n in range(12)]
    for _ in range(300):
        uid = rng.choice(uids)
        act = rng.choice(("ask", "ask", "ask", "ask", "release", "withdraw", "resize", "wake"))
        match act:
            case "ask":
                again = machine.waiting.get(uid)
                size = (rng.randint(0, 15), rng.randint(0, 15))
                if again is not None and rng.random() < 0.6:
                    size = again.held.cpu_millicores, again.held.memory_bytes
                machine.ask_for(uid, size, rng.choice((0, 0, 0, 1)))
            case "release" | "withdraw":
                getattr(machine, act)(uid=uid)
            case "resize":
                machine.resize(capacity=(rng.randint(20, 160), rng.randint(20, 160)))
            case _ if rng.random() < 0.2:
                machine.wake()
        machine.wakes_those_that_fit()
        machine.adds_up()


def test_who_is_granted_under_another_scope_leaves_its_place_to_the_next() -> None:
    """A Volume that waited for a quota, and was handed to another namespace meanwhile."""
    book = ledger()
    book.limit(HOST, {"shop": Footprint(1000)})
    book.ask(claim("x", 1000))
    first, second = claim("v", 1000), claim("w", 1000)
    assert isinstance(book.ask(first), Refused)
    assert isinstance(book.ask(second), Refused)
    book.release("x")
    assert book.wakeable() == [first.key]
    assert isinstance(book.ask(replace(first, scope=Scope("other", "2"))), Granted)
    assert book.wakeable() == [second.key]
