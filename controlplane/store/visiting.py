"""Keeps the bundled PostgreSQL running while a command uses it.

One that was stopped is stopped again after the last of them: whoever stopped it may be about to
copy its files. Deliberately not for `serve`, and not for `migrate`, which are there to have it run.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from controlplane.store.embedded import EmbeddedPostgres


@contextmanager
def visiting(server: EmbeddedPostgres | None) -> Iterator[None]:
    """For the length of a block; None: there is no server of ours. Raises as its `start`, and as
    its `stop`. What kills the process leaves it running: `stop-store` ends it."""
    if server is None:
        yield
        return
    server.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (server.home / "visitors").open("w") as visitors:
        # shared by all visitors; waits for one that is stopping the server
        fcntl.flock(visitors, fcntl.LOCK_SH)
        try:
            server.start(for_now=True)
            yield
        finally:
            with suppress(BlockingIOError):  # another one is at work: it is the last
                fcntl.flock(visitors, fcntl.LOCK_EX | fcntl.LOCK_NB)
                server.stop_again()
