"""As much of the Redis protocol as asking and setting a password needs.

https://redis.io/docs/latest/develop/reference/protocol-spec (RESP2). Not the client library that
the package index has: importing that costs 27 MB of memory, for four commands.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

# An INFO answer of four sections is about 5 KiB; a length beyond this is no Redis speaking.
_MAX_BULK_BYTES: Final = 1 << 20


class ReplyError(Exception):
    """The server refused a command; `code` is its first word (WRONGPASS, NOAUTH, ERR...)."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.code = text.partition(" ")[0]


class WireError(OSError):
    """What answers does not speak the protocol, or stopped in the middle."""


@dataclass(frozen=True, slots=True)
class Link:
    """An open connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, *words: str) -> str:
        """One command; its answer as text. Raises ReplyError or OSError."""
        self.writer.write(encode(words))
        await self.writer.drain()
        return await read_reply(self.reader)


@asynccontextmanager
async def connected(host: str, port: int) -> AsyncIterator[Link]:
    """Open a connection, and close it for certain."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        yield Link(reader, writer)
    finally:
        writer.close()


def encode(words: tuple[str, ...]) -> bytes:
    """A command as an array of bulk strings."""
    parts = [word.encode() for word in words]
    head = b"*%d\r\n" % len(parts)
    return head + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


async def read_reply(reader: asyncio.StreamReader) -> str:
    """A simple string, an integer or a bulk string, as text; nil is the empty text."""
    try:
        line = (await reader.readuntil(b"\r\n"))[:-2].decode("utf-8", "replace")
        kind, rest = line[:1], line[1:]
        if kind == "-":
            raise ReplyError(rest)
        if kind in ("+", ":"):
            return rest
        if kind == "$" and (length := int(rest)) <= _MAX_BULK_BYTES:
            if length < 0:
                return ""
            return (await reader.readexactly(length + 2))[:-2].decode("utf-8", "replace")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as exc:
        raise WireError("the answer is not Redis'") from exc
    raise WireError("the answer is not Redis'")
