"""What long answers do with their sockets: find dead peers, and let go of those that hang."""

import asyncio
import socket
from typing import Final

from aiohttp import web

_KEEPALIVE: Final = (
    ("TCP_KEEPIDLE", 30),
    ("TCP_KEEPINTVL", 10),
    ("TCP_KEEPCNT", 3),
    ("TCP_USER_TIMEOUT", 60_000),
)
"""A half-open socket is found dead within a minute; without it, only when something is sent."""


def keep_alive(request: web.Request) -> None:
    """Have the kernel find out when the client is gone without a word."""
    transport = request.transport
    sock = transport.get_extra_info("socket") if transport is not None else None
    if sock is None:
        return
    for name, value in _KEEPALIVE:
        if (option := getattr(socket, name, None)) is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def abort(request: web.BaseRequest) -> None:
    """Free the socket at once, with whatever it still has queued."""
    if isinstance(request.transport, asyncio.Transport):
        request.transport.abort()
