"""Chores: done again and again while this process leads, whatever became of the last time."""

import asyncio
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from controlplane.engine.chores import DELAY_S, PERIOD_S, keep_doing
from controlplane.engine.port import Guard
from controlplane.errors import RetryableError, StaleEpochError, StoreUnavailableError
from tests.support.virtual import LoopClock, run

DAY_S = 86_400.0


@dataclass
class Counted:
    """Fails at first."""

    name: str = "counted"
    failures: int = 1
    at_s: list[float] = field(default_factory=list)

    async def do(self, guard: Guard, /) -> int:
        guard()
        self.at_s.append(asyncio.get_running_loop().time())
        if len(self.at_s) <= self.failures:
            raise RetryableError("not now")
        return 1


@dataclass
class Store:
    """Away when it is asked first."""

    away: bool = False

    async def catch_up(self, timeout_s: float, /) -> None:
        if self.away:
            self.away = False
            raise StoreUnavailableError("cannot read")


def leads() -> None:
    """A guard that lets everything through."""


def done_at(failures: int, until_s: float, *, away: bool = False) -> list[float]:
    async def main() -> list[float]:
        chore = Counted(failures=failures)
        records: Any = Store(away)
        doing = asyncio.ensure_future(keep_doing(chore, LoopClock(), records, leads))
        await asyncio.sleep(until_s)
        doing.cancel()
        return chore.at_s

    return run(main)


def test_a_chore_is_done_again_and_again_though_it_failed() -> None:
    again_s = 2 * DELAY_S
    assert done_at(1, again_s + PERIOD_S + 1) == [DELAY_S, again_s, again_s + PERIOD_S]


def test_what_fails_is_done_again_soon_and_then_ever_later() -> None:
    at_s = done_at(8, 3 * DAY_S)
    waits = [int(later - at) for at, later in pairwise(at_s)]
    assert waits[:8] == [600, 1200, 2400, 4800, 9600, 19200, 21600, 21600]
    assert set(waits[8:]) == {int(PERIOD_S)}


def test_nothing_is_done_on_records_that_may_be_old() -> None:
    assert done_at(0, 3 * DELAY_S, away=True) == [2 * DELAY_S]


def test_who_leads_no_more_does_none() -> None:
    async def main() -> list[float]:
        def guard() -> None:
            raise StaleEpochError("cannot act")

        chore = Counted()
        records: Any = Store()
        await asyncio.wait_for(keep_doing(chore, LoopClock(), records, guard), DAY_S)
        return chore.at_s

    assert run(main) == []
