"""Chores: what a system outside does only when told, and no record's pass waits for.

Beside the passes and only while this process leads: a converged record changes nothing outside.
"""

from typing import Final

import structlog

from controlplane.clock import Clock
from controlplane.engine.port import Chore, Guard, RecordsPort
from controlplane.errors import ControlPlaneError, StaleEpochError

DELAY_S: Final = 600.0
"""After the start of a term: the servers are to be up, and the first passes over. Also after a
failure, and twice as long after each further one."""
PERIOD_S: Final = 6 * 3600.0
"""Days are what they go by, so each is done a quarter of one late at most."""

_log = structlog.get_logger(__name__)


async def keep_doing(chore: Chore, clock: Clock, records: RecordsPort, guard: Guard) -> None:
    """Do it every PERIOD_S; returns when this process may act no more. What fails is told in the
    log, and done again after DELAY_S, then after twice as long each time, up to PERIOD_S."""
    await clock.sleep(DELAY_S)
    again_s = DELAY_S
    while True:
        began_s = clock.monotonic()
        try:
            await records.catch_up(5.0)  # what it goes by is what the records say
            done = await chore.do(guard)
        except StaleEpochError:
            return
        except ControlPlaneError as exc:
            _log.warning("chore_failed", chore=chore.name, error=str(exc))
            await clock.sleep(again_s)
            again_s = min(2 * again_s, PERIOD_S)
            continue
        took_s = round(clock.monotonic() - began_s, 1)
        _log.info("chore_done", chore=chore.name, times=done, duration_s=took_s)
        again_s = DELAY_S
        await clock.sleep(PERIOD_S)
