"""An HTTP server with files on it, as slow, broken or changed as a test wants."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web


@dataclass
class Files:
    """`files` maps a path to its bytes."""

    port: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    pause_s: float = 0.0
    chunk: int = 1 << 16
    cut_after: int | None = None
    """Once: end the connection after so many bytes."""
    status: int = 200
    ranges: list[str] = field(default_factory=list)
    """Range headers that came."""
    sent: int = 0

    def etag(self, path: str) -> str:
        return f'"{hashlib.sha256(self.files[path]).hexdigest()[:16]}"'

    async def get(self, request: web.Request) -> web.StreamResponse:
        data = self.files.get(request.path)
        if self.status != 200 or data is None:
            return web.Response(status=404 if data is None else self.status)
        etag = self.etag(request.path)
        start = 0
        if asked := request.headers.get("Range"):
            self.ranges.append(asked)
            if request.headers.get("If-Range") == etag:
                start = int(asked.removeprefix("bytes=").rstrip("-"))
        if start and start >= len(data):
            return web.Response(status=416, headers={"Content-Range": f"bytes */{len(data)}"})
        reply = web.StreamResponse(status=206 if start else 200, headers={"ETag": etag})
        reply.content_length = len(data) - start
        await reply.prepare(request)
        for place in range(start, len(data), self.chunk):
            if self.cut_after is not None and place - start >= self.cut_after:
                self.cut_after = None
                assert request.transport is not None
                request.transport.abort()
                return reply
            part = data[place : place + self.chunk]
            await reply.write(part)
            self.sent += len(part)
            await asyncio.sleep(self.pause_s)
        await reply.write_eof()
        return reply


@asynccontextmanager
async def serving(app: web.Application, *, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """Run an application; its port."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    site = web.TCPSite(runner, host, 0)
    await site.start()
    try:
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


@asynccontextmanager
async def file_server(*, host: str = "127.0.0.1") -> AsyncIterator[Files]:
    files = Files()
    app = web.Application()
    app.router.add_get("/{path:.*}", files.get)
    async with serving(app, host=host) as port:
        files.port = port
        yield files
