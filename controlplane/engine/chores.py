"""Chores: what a system outside does only when told, and no record's pass waits for.

Beside the passes and only while this process leads: a converged record changes nothing outside.
"""

from typing import Final

import structlog

from controlplane.clock import Clock
from controlplane.engine.port import Chore
from controlplane.errors import ControlPlaneError

DELAY_S: Final = 600.0
"""After the start of a term: the servers are to be up, and the first passes over."""
PERIOD_S: Final = 6 * 3600.0
"""Days are what they go by, so each is done a quarter of one late at most."""

_log = structlog.get_logger(__name__)


async def keep_doing(chore: Chore, clock: Clock) -> None:
    """Do it now and then, for ever. What fails is done with the next turn, and told in the log."""
    await clock.sleep(DELAY_S)
    while True:
        began_s = clock.monotonic()
        try:
            done = await chore.do()
        except ControlPlaneError as exc:
            _log.warning("chore_failed", chore=chore.name, error=str(exc))
        else:
            took_s = round(clock.monotonic() - began_s, 1)
            _log.info("chore_done", chore=chore.name, times=done, duration_s=took_s)
        await clock.sleep(PERIOD_S)
