"""Starts the bundled PostgreSQL again when it has crashed: killed, out of memory, disk full.

Deliberately not for one that was stopped by `stop-store`: who did so wants it so, and is told where
a command started it all the same. Nothing here touches another database.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final, Protocol, TextIO

import structlog

from controlplane.clock import Clock
from controlplane.errors import ControlPlaneError
from controlplane.store.embedded import EmbeddedPostgres

LOOK_S: Final = 1.0
"""Between two looks: reading one small file. Recovery itself takes longer."""
AGAIN_S: Final = 5.0
"""After a start that failed: what filled the disk may take a while to go."""

STARTED: Final = (
    "note: PostgreSQL was not running, and does now; before copying its files: "
    "python -m controlplane stop-store\n"
)

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


@contextmanager
def start_told(server: EmbeddedPostgres | None, out: TextIO) -> Iterator[None]:
    """Say after a block that it started the server: whoever had stopped that may be about to copy
    its files."""
    before = None if server is None else server.pid()
    try:
        yield
    finally:
        if server is not None and server.pid() not in (None, before):
            out.write(STARTED)
