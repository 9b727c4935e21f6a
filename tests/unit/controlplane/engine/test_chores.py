"""Chores: done again and again while this process leads, whatever became of the last time."""

import asyncio
from dataclasses import dataclass, field

from controlplane.engine.chores import DELAY_S, PERIOD_S, keep_doing
from controlplane.errors import RetryableError
from tests.support.virtual import LoopClock, run


@dataclass
class Counted:
    """Fails the first time."""

    name: str = "counted"
    at_s: list[float] = field(default_factory=list)

    async def do(self) -> int:
        self.at_s.append(asyncio.get_running_loop().time())
        if len(self.at_s) == 1:
            raise RetryableError("not now")
        return 1


def test_a_chore_is_done_again_and_again_though_it_failed() -> None:
    async def main() -> list[float]:
        chore = Counted()
        doing = asyncio.ensure_future(keep_doing(chore, LoopClock()))
        await asyncio.sleep(DELAY_S + 2 * PERIOD_S + 1)
        doing.cancel()
        return chore.at_s

    assert run(main) == [DELAY_S, DELAY_S + PERIOD_S, DELAY_S + 2 * PERIOD_S]
