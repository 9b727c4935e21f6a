"""Asks the engine over asyncio connections of its own: one request each, and what may follow it.

For what lasts (logs, commands, attached processes): the SDK would hold a thread for each, and a
thousand idle followers would hold a thousand. Only the little of HTTP that the engine speaks:
HTTP/1.0 to read until the end, HTTP/1.1 to upgrade to a raw connection
(https://docs.docker.com/reference/api/engine/version/v1.41/#operation/ContainerAttach).
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from drivers.docker_errors import (
    EngineAwayError,
    EngineRefusedError,
    EngineTimeoutError,
)

_BUFFER_BYTES: Final = 64 * 1024
"""Read ahead of who reads; the transport stops reading at twice that."""
_HEAD_BYTES: Final = 16 * 1024
_MESSAGE_BYTES: Final = 64 * 1024
_JSON_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Connection:
    """One connection whose answer's head has been read."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def close(self) -> None:
        self.writer.transport.abort()


@dataclass(frozen=True, slots=True)
class EngineHttp:
    """One engine, by its URL: `unix:///path` or `tcp://host:port`."""

    url: str
    timeout_s: float = 20.0
    """Of connecting, and of each short answer."""

    async def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Any:
        """The parsed JSON answer, None for an empty one. Raises EngineError."""
        try:
            async with asyncio.timeout(self.timeout_s):
                connection = await self.open(method, path, query=query, body=body)
                try:
                    raw = await connection.reader.read(_JSON_BYTES)
                    while not connection.reader.at_eof() and len(raw) < _JSON_BYTES:
                        raw += await connection.reader.read(_JSON_BYTES - len(raw))
                finally:
                    connection.close()
            return json.loads(raw) if raw.strip() else None
        except TimeoutError as exc:
            raise EngineTimeoutError("the engine did not answer in time") from exc
        except (OSError, ValueError) as exc:
            # it went down in the midst of its answer
            raise EngineAwayError("the connection to the engine broke") from exc

    async def open(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        upgrade: bool = False,
    ) -> Connection:
        """The connection after the head of a good answer. Raises EngineError."""
        connection = await self._connect()
        try:
            async with asyncio.timeout(self.timeout_s):
                connection.writer.write(_request(method, path, query, body, upgrade=upgrade))
                await connection.writer.drain()
                head = await connection.reader.readuntil(b"\r\n\r\n")
                await _check(head, connection.reader)
        except BaseException as exc:
            connection.close()
            if isinstance(exc, TimeoutError):
                raise EngineTimeoutError("the engine did not answer in time") from exc
            if isinstance(exc, OSError | EOFError | asyncio.LimitOverrunError):
                raise EngineAwayError("the connection to the engine broke") from exc
            raise
        return connection

    async def _connect(self) -> Connection:
        found = urlsplit(self.url)
        try:
            async with asyncio.timeout(self.timeout_s):
                if found.scheme == "unix":
                    pair = await asyncio.open_unix_connection(found.path, limit=_BUFFER_BYTES)
                else:
                    pair = await asyncio.open_connection(
                        found.hostname, found.port or 2375, limit=_BUFFER_BYTES
                    )
        except (OSError, TimeoutError) as exc:
            raise EngineAwayError("the Docker engine does not answer on its socket") from exc
        return Connection(*pair)


def _request(
    method: str,
    path: str,
    query: Mapping[str, str] | None,
    body: Mapping[str, Any] | None,
    *,
    upgrade: bool,
) -> bytes:
    raw = b"" if body is None else json.dumps(body).encode()
    target = path + (f"?{urlencode(query)}" if query else "")
    lines = [f"{method} {target} HTTP/{'1.1' if upgrade else '1.0'}", "Host: docker"]
    if upgrade:
        lines += ["Connection: Upgrade", "Upgrade: tcp"]
    if body is not None:
        lines += ["Content-Type: application/json"]
    lines += [f"Content-Length: {len(raw)}", "", ""]
    return "\r\n".join(lines).encode() + raw


async def _check(head: bytes, reader: asyncio.StreamReader) -> None:
    status = int(head.split(b" ", 2)[1])
    if status < 300:
        return
    raw = await reader.read(_MESSAGE_BYTES)
    try:
        message = str(json.loads(raw)["message"])
    except (ValueError, KeyError, TypeError):
        message = raw.decode(errors="replace")
    raise EngineRefusedError(status, message)
