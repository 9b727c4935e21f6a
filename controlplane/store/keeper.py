"""Starts the bundled PostgreSQL again when it has crashed: killed, out of memory, disk full.

Deliberately not for one that was stopped by `stop-store`: who did so wants it so. Nothing here
touches another database.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Protocol

import structlog

from controlplane.clock import Clock
from controlplane.errors import ControlPlaneError

LOOK_S: Final = 1.0
"""Between two looks: reading one small file. Recovery itself takes longer."""
AGAIN_S: Final = 5.0
"""After a start that failed: what filled the disk may take a while to go."""

_log = structlog.get_logger(__name__)


class Server(Protocol):
    """controlplane/store/embedded.py: EmbeddedPostgres, as far as it is needed here."""

    @property
    def crashed(self) -> bool: ...

    def start_again(self) -> bool: ...


@asynccontextmanager
async def kept_up(server: Server | None, clock: Clock) -> AsyncIterator[None]:
    """For the length of a block; None: there is no server of ours to look after."""
    failed: Exception | None = None
    async with asyncio.TaskGroup() as tasks:
        keeping = None if server is None else tasks.create_task(keep_up(server, clock))
        try:
            yield
        except Exception as exc:  # noqa: BLE001  # raised below, as it is and in no group
            failed = exc
        finally:
            if keeping is not None:
                keeping.cancel()
    if failed is not None:
        raise failed


async def keep_up(server: Server, clock: Clock) -> None:
    """For ever."""
    while True:
        await clock.sleep(LOOK_S)
        if not server.crashed:
            continue
        try:
            started = await asyncio.to_thread(server.start_again)
        except (ControlPlaneError, OSError) as exc:
            _log.error("postgresql_not_restarted", error=str(exc))
            await clock.sleep(AGAIN_S)
            continue
        if started:
            _log.warning("postgresql_restarted")
