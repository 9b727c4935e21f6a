"""Kubernetes' channel protocol on a WebSocket: one byte of channel, then bytes. Pure.

`v5.channel.k8s.io` adds to v4 that one channel can be closed by itself, so that a command sees the
end of its input while its output still comes
(https://kubernetes.io/docs/reference/using-api/websockets/, KEP-4006).
"""

from collections.abc import Sequence
from typing import Any, Final

import orjson

from controlplane.streams import Channel, Frame

V5: Final = "v5.channel.k8s.io"
V4: Final = "v4.channel.k8s.io"
SPDY: Final = "SPDY/3.1+portforward.k8s.io"
_ERROR: Final = 3
_MAX_CELLS: Final = 0xFFFF
"""A terminal's size is two bytes each way (struct winsize)."""


def chosen(offered: str, spoken: Sequence[str]) -> str | None:
    """The first of the client's protocols that is spoken here."""
    names = (name.strip() for name in offered.split(","))
    return next((name for name in names if name in spoken), None)


def decode(message: bytes, protocol: str) -> Frame | None:
    """What a client's message asks for; None for nothing that is known."""
    if not message:
        return None
    number, data = message[0], message[1:]
    if number == Channel.STDIN:
        return Frame(Channel.STDIN, data)
    if number == Channel.RESIZE:
        return _resize(data)
    if number == Channel.CLOSE and protocol == V5 and data[:1] == bytes([Channel.STDIN]):
        return Frame(Channel.CLOSE)
    return None


def _resize(data: bytes) -> Frame | None:
    try:
        found = orjson.loads(data)
        columns, rows = int(found["Width"]), int(found["Height"])
    except (ValueError, KeyError, TypeError):
        return None
    if not (0 < columns <= _MAX_CELLS and 0 < rows <= _MAX_CELLS):
        return None
    return Frame(Channel.RESIZE, b"%d %d" % (columns, rows))


def encode(frame: Frame) -> bytes:
    """Output as a message; an exit code as the Status that ends a command."""
    if frame.channel is Channel.EXIT:
        return ended(int(frame.data))
    return bytes([frame.channel]) + frame.data


def ended(code: int) -> bytes:
    """How a command ended, on the error channel."""
    if code == 0:
        return _status({"metadata": {}, "status": "Success"})
    return _status(
        {
            "metadata": {},
            "status": "Failure",
            "message": f"command terminated with non-zero exit code: {code}",
            "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
        }
    )


def broken(message: str) -> bytes:
    """Why a command can't be followed any more, on the error channel."""
    return _status(
        {
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": "InternalError",
            "code": 500,
        }
    )


def _status(status: dict[str, Any]) -> bytes:
    return bytes([_ERROR]) + orjson.dumps(status)
