"""What goes over the agent's socket: frames of a channel, a length and bytes. Pure.

Between processes of one version on one host, over a Unix socket that only the data folder's owner
can open: no negotiation, no authentication of its own. The first frame of a connection says what
it is for; streams then use the channels of streams.py as they are.
"""

import asyncio
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import orjson

from controlplane.errors import (
    ControlPlaneError,
    DriverUnavailableError,
    ForbiddenError,
    NotFoundError,
    RetryableError,
    TerminalError,
)
from controlplane.records import Key, Stored, Verb

SOCKET: Final = "agent.sock"
BUFFER_BYTES: Final = 64 * 1024
BEAT_S: Final = 5.0
SILENT_S: Final = 15.0
"""An agent that hangs is as good as one that is gone: three beats missed."""
_HEAD: Final = struct.Struct(">BI")
_MAX_BYTES: Final = 8 * 2**20
"""One Pod is some 2 KiB; a piece of a stream at most 4 MiB, a WebSocket's largest message."""


class Kind(IntEnum):
    """Frames beside those of streams.Channel."""

    OPEN = 16
    """What the connection is for: a JSON object with `op`."""
    OPENED = 17
    FAILED = 18
    """Why not, or why no more."""
    ENDED = 19
    """The stream is over; without it, the agent is gone."""
    ITEM = 20
    """A Pod that there is."""
    SYNCED = 21
    """These were all; at which revision."""
    CHANGE = 22
    BEAT = 23


@dataclass(frozen=True, slots=True)
class Packet:
    """One frame."""

    kind: int
    data: bytes = b""

    def wire(self) -> bytes:
        return _HEAD.pack(self.kind, len(self.data)) + self.data


async def read_packet(reader: asyncio.StreamReader) -> Packet | None:
    """The next frame; None at the end, also in the middle of one. Raises ConnectionError for
    what no frame is."""
    try:
        kind, length = _HEAD.unpack(await reader.readexactly(_HEAD.size))
        if length > _MAX_BYTES:
            raise ConnectionError("a frame is too long")
        return Packet(kind, await reader.readexactly(length))
    except asyncio.IncompleteReadError:
        return None


def stored_json(stored: Stored) -> dict[str, Any]:
    return {
        "kind": stored.key.kind,
        "namespace": stored.key.namespace,
        "name": stored.key.name,
        "uid": stored.uid,
        "revision": stored.revision,
        "generation": stored.generation,
        "body": stored.body.decode(),
    }


def stored_of(found: Mapping[str, Any]) -> Stored:
    key = Key(found["kind"], found["namespace"], found["name"])
    return Stored(key, found["uid"], found["revision"], found["generation"], found["body"].encode())


def change_json(verb: Verb, stored: Stored) -> bytes:
    return orjson.dumps({"verb": verb, "stored": stored_json(stored)})


def change_of(data: bytes) -> tuple[Verb, Stored]:
    found = orjson.loads(data)
    return found["verb"], stored_of(found["stored"])


_ERRORS: Final[Mapping[str, type[ControlPlaneError]]] = {
    each.__name__: each
    for each in (DriverUnavailableError, ForbiddenError, NotFoundError, RetryableError)
}


def failure_json(exc: ControlPlaneError) -> bytes:
    """An error as the other process will raise it."""
    kind = next((name for name in _ERRORS if type(exc).__name__ == name), "")
    if not kind:
        kind = "RetryableError" if isinstance(exc, RetryableError) else ""
    return orjson.dumps(
        {
            "type": kind,
            "message": str(exc),
            "reason": getattr(exc, "reason", ""),
            "retry_after_s": getattr(exc, "retry_after_s", 0.0),
        }
    )


def failure_of(data: bytes) -> ControlPlaneError:
    found = orjson.loads(data)
    message, reason, after_s = found["message"], found["reason"], found["retry_after_s"]
    match found["type"]:
        case "NotFoundError":
            return NotFoundError(message)
        case "ForbiddenError":
            return ForbiddenError(message, reason=reason)
        case "DriverUnavailableError":
            return DriverUnavailableError("docker", message, retry_after_s=after_s)
        case "RetryableError":
            return RetryableError(message, reason=reason, retry_after_s=after_s)
        case _:
            return TerminalError(message, reason=reason)
