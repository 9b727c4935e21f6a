"""Logs of containers and ways into them: the Protocol; drivers/docker_streams.py is the real one.

By container id, without a question who may: what a Pod is, and who reaches it, is decided above.
"""

from dataclasses import dataclass
from typing import Protocol

from controlplane.streams import Command, Stream


@dataclass(frozen=True, slots=True)
class LogRange:
    """Which part of a log; times in Unix seconds, in decimal, as exact as needed."""

    follow: bool
    tail: str
    since: str
    until: str
    timestamps: bool


class ContainerStreams(Protocol):
    """Opens streams. Raises NotFoundError (no such container), ForbiddenError (reason NotRunning or
    EngineRefused), DriverUnavailableError."""

    async def logs(self, container_id: str, part: LogRange) -> Stream:
        """Standard output and error as they were written; ends unless it follows."""
        ...

    async def attach(self, container_id: str, *, stdin: bool) -> Stream:
        """What the main process writes from now on, until it ends."""
        ...

    async def exec(self, container_id: str, command: Command) -> Stream:
        """Run a command; its last frame is its exit code. Closing the stream ends it."""
        ...

    async def connect(self, address: str, port: int) -> Stream:
        """A TCP connection. Raises RetryableError with reason Refused when nobody listens."""
        ...
