"""What the API needs of the agent besides records: Pods, their logs, and ways into them.

Value types and Protocols only. drivers/ and reconcilers/ implement them beside the engine;
agentclient.py does for an API process without one. A Stream is the same for all: frames of a
channel and bytes, numbered as Kubernetes' own channel protocol numbers them
(https://kubernetes.io/docs/reference/using-api/websockets/).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

from controlplane.records import View


class Channel(IntEnum):
    """What a frame's bytes are."""

    STDIN = 0
    """To the process, or to the port."""
    STDOUT = 1
    """From the process, the port or the log."""
    STDERR = 2
    EXIT = 3
    """The last frame of a command: its exit code in decimal."""
    RESIZE = 4
    """`columns rows` of the terminal, in decimal."""
    CLOSE = 255
    """Nothing more comes on STDIN."""


@dataclass(frozen=True, slots=True)
class Frame:
    channel: Channel
    data: bytes = b""


class Stream(Protocol):
    """One log, command or connection. Neither side buffers more than about 256 KiB: who reads
    slowly slows the other end down.

    `read` may be awaited while `write` is, each by one task at a time.
    """

    async def read(self) -> Frame | None:
        """The next piece; None at the end. Raises DriverUnavailableError when it broke."""
        ...

    async def write(self, frame: Frame, /) -> None:
        """A finished process, or a stream that broke, takes anything: `read` tells."""
        ...

    async def aclose(self) -> None:
        """End it, and the command with it. Idempotent."""
        ...


@dataclass(frozen=True, slots=True)
class PodRef:
    """One Pod. The uid keeps a command out of a successor of the same name."""

    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class LogQuery:
    """Which part of a log."""

    follow: bool = False
    previous: bool = False
    """Of the run before the last restart."""
    tail: int | None = None
    """Lines from the end; None: all."""
    since_ns: int | None = None
    """Unix nanoseconds; None: from the beginning."""
    timestamps: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """What to run in a container."""

    argv: tuple[str, ...]
    stdin: bool = False
    tty: bool = False


class Logs(Protocol):
    async def open_logs(self, pod: PodRef, query: LogQuery, /) -> Stream:
        """Raises NotFoundError (no such Pod, or no previous run), DriverUnavailableError."""
        ...


class Exec(Protocol):
    async def open_exec(self, pod: PodRef, command: Command, /) -> Stream:
        """Raises NotFoundError, ForbiddenError (reason NotRunning), DriverUnavailableError."""
        ...


class Attach(Protocol):
    async def open_attach(self, pod: PodRef, /, *, stdin: bool) -> Stream:
        """What its main process writes from now on. Raises as open_exec."""
        ...


class PortForward(Protocol):
    async def open_port(self, pod: PodRef, port: int, /) -> Stream:
        """A TCP connection to a port of the Pod. Raises as open_exec; RetryableError with reason
        Refused when nobody listens."""
        ...


class Streams(Logs, Exec, Attach, PortForward, Protocol):
    """All ways into a Pod."""


class PodViews(Protocol):
    """The Pods there are: a View of its own, with versions of its own."""

    @property
    def view(self) -> View: ...

    def require(self) -> None:
        """Raises DriverUnavailableError while what is in the view may be out of date."""
        ...


def as_json(request: LogQuery | Command | PodRef) -> dict[str, Any]:
    """A request as the agent's socket carries it."""
    return {name: getattr(request, name) for name in type(request).__slots__}


def log_query(found: Mapping[str, Any]) -> LogQuery:
    return LogQuery(**found)


def command(found: Mapping[str, Any]) -> Command:
    return Command(tuple(found["argv"]), found["stdin"], found["tty"])


def pod_ref(found: Mapping[str, Any]) -> PodRef:
    return PodRef(**found)
