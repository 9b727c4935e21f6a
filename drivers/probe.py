"""Health as a client sees it: does the server answer on its address, over TCP or HTTP?

Probed by the agent instead of Docker's HEALTHCHECK (a process in the container at each interval),
and over bare sockets, because there are many and each should cost nothing to speak of. Whether a
database works is not asked here: drivers/postgres.py and drivers/redis.py speak their protocols.
"""

import asyncio
import base64
import errno
import socket
from dataclasses import dataclass, field
from typing import Final, Protocol

from controlplane.errors import TerminalError

# "HTTP/1.1 200": all that is read of an answer.
_STATUS_LINE_BYTES: Final = 12


@dataclass(frozen=True, slots=True)
class Target:
    """Where to ask. `path` None: an accepted TCP connection is enough; else GET it over HTTP."""

    address: str
    """An IPv4 address: names are not resolved."""
    port: int
    path: str | None = None
    login: tuple[str, str] | None = field(default=None, repr=False)
    """Username and password of HTTP's basic scheme (RFC 7617)."""


@dataclass(frozen=True, slots=True)
class Health:
    """What came of it."""

    ok: bool
    reason: str
    """Answered, Refused, Unreachable, TimedOut, BadStatus or NotHTTP."""
    message: str = ""
    """For a person; deterministic."""


class Probe(Protocol):
    """Asks one server once."""

    async def observe(self, target: Target, /, *, timeout_s: float = 2.0) -> Health:
        """One attempt, at most timeout_s long. Never raises for what the server does; raises
        TerminalError for a path that no HTTP request can carry."""
        ...


class SocketProbe:
    """Over the host's sockets."""

    async def observe(self, target: Target, /, *, timeout_s: float = 2.0) -> Health:
        request = None if target.path is None else request_bytes(target)
        try:
            async with asyncio.timeout(timeout_s):
                head = await _ask(target, request)
        except TimeoutError:
            return Health(False, "TimedOut", f"no answer within {timeout_s:g} s")
        except ConnectionRefusedError:
            return Health(False, "Refused", f"nothing listens on port {target.port}")
        except (ValueError, OverflowError):
            return Health(False, "Unreachable", "no such host name or port")
        except OSError as exc:
            return Health(False, "Unreachable", errno.errorcode.get(exc.errno or 0, "no route"))
        return Health(True, "Answered") if head is None else status_health(head)


async def _ask(target: Target, request: bytes | None) -> bytes | None:
    """The first bytes of the answer, or None if nothing was to be asked."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as link:
        await loop.sock_connect(link, (target.address, target.port))
        if request is None:
            return None
        await loop.sock_sendall(link, request)
        head = b""
        while len(head) < _STATUS_LINE_BYTES:
            more = await loop.sock_recv(link, _STATUS_LINE_BYTES - len(head))
            if not more:
                break
            head += more
        return head


def request_bytes(target: Target) -> bytes:
    """The GET of an HTTP probe. Raises TerminalError for a path that it can't carry."""
    path = target.path or "/"
    if not path.startswith("/") or not path.isascii() or not path.isprintable() or " " in path:
        raise TerminalError(
            f"cannot probe path {path!r}: write it as in a URL, starting with '/', without spaces",
            reason="InvalidHealthCheck",
        )
    login = ""
    if target.login is not None:
        coded = base64.b64encode(":".join(target.login).encode()).decode()
        login = f"Authorization: Basic {coded}\r\n"
    return (
        f"GET {path} HTTP/1.1\r\nHost: {target.address}:{target.port}\r\n{login}"
        "User-Agent: bunker-probe\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    ).encode("ascii")


def status_health(head: bytes) -> Health:
    """Judge the start of an HTTP answer: 200 to 399 is healthy (as Kubernetes' httpGet)."""
    code = head[9:_STATUS_LINE_BYTES]
    if not head.startswith(b"HTTP/1.") or not code.isdigit():
        return Health(False, "NotHTTP", "the answer is not HTTP")
    status = int(code)
    if 200 <= status <= 399:
        return Health(True, "Answered")
    return Health(False, "BadStatus", f"HTTP status {status}")
