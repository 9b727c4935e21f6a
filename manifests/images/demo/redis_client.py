"""As much of the Redis protocol as one round trip needs (https://redis.io/docs/reference/protocol-spec)."""

import asyncio
from urllib.parse import unquote, urlsplit


async def round_trip(url: str, key: str) -> int:
    """INCR a key and return its new value. Raises RuntimeError with the server's own words."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 6379)
    try:
        if parts.password:
            who = [unquote(parts.username)] if parts.username else []
            await _ask(reader, writer, "AUTH", *who, unquote(parts.password))
        return int(await _ask(reader, writer, "INCR", key))
    finally:
        writer.close()


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *words: str) -> str:
    encoded = [word.encode() for word in words]
    writer.write(b"*%d\r\n" % len(encoded))
    for word in encoded:
        writer.write(b"$%d\r\n%b\r\n" % (len(word), word))
    await writer.drain()
    line = (await reader.readline()).decode().rstrip()
    if not line or line[0] == "-":
        raise RuntimeError(line[1:] or "connection closed")
    return line[1:]
