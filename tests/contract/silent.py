"""Servers that misbehave, on the loopback: one that says nothing, one that says a fixed thing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[int]:
    """A server that sends `answer` after the first bytes it gets, and hangs; its port."""
    closing = asyncio.Event()

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read(1)
            if answer:
                writer.write(answer)
                await writer.drain()
            await closing.wait()
        except OSError:
            pass  # the client left: that is its right
        finally:
            writer.close()

    server = await asyncio.start_server(respond, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    try:
        yield port
    finally:
        closing.set()
        server.close()
        await server.wait_closed()
