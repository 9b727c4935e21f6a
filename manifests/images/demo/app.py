"""The demo: GET / says hello, /healthz is cheap, /db writes to and reads from both servers.

Standard library and asyncpg; no framework, so that it starts at once and stays small.
"""

import asyncio
import json
import os
import signal
import socket

import asyncpg
from bindings import url_of
from redis_client import round_trip

# One statement per visit; the table is made by the first one.
_CREATE = (
    "CREATE TABLE IF NOT EXISTS visits (id bigserial PRIMARY KEY, at timestamptz DEFAULT now())"
)
_VISIT = "INSERT INTO visits DEFAULT VALUES RETURNING id, current_setting('server_version')"
TIMEOUT_S = 5


async def _postgres() -> dict[str, object]:
    url = url_of("postgresql")
    if url is None:
        return {"configured": False}
    connection = await asyncpg.connect(url, timeout=TIMEOUT_S)
    try:
        await connection.execute("SELECT pg_advisory_lock(1)")  # CREATE IF NOT EXISTS races itself
        await connection.execute(_CREATE)
        visit, version = await connection.fetchrow(_VISIT)
        return {"configured": True, "visits": visit, "version": version}
    finally:
        await connection.close()


async def _redis() -> dict[str, object]:
    url = url_of("redis")
    if url is None:
        return {"configured": False}
    return {"configured": True, "visits": await round_trip(url, "visits")}


async def _db() -> tuple[int, dict[str, object]]:
    answer: dict[str, object] = {}
    status = 200
    for name, ask in (("postgres", _postgres), ("redis", _redis)):
        try:
            answer[name] = await asyncio.wait_for(ask(), TIMEOUT_S)
        # Whatever went wrong is told to the caller: that is what this page is for.
        except Exception as error:  # noqa: BLE001  # asyncpg's errors have no common root
            answer[name] = {"configured": True, "error": f"{type(error).__name__}: {error}"}
            status = 503
    return status, answer


async def _respond(path: str) -> tuple[int, dict[str, object]]:
    if path == "/healthz":
        return 200, {"ok": True}
    if path == "/db":
        return await _db()
    if path == "/":
        greeting = os.environ.get("GREETING", "Hello from Bunker Cloud")
        return 200, {"message": greeting, "host": socket.gethostname(), "see": "/db"}
    return 404, {"error": "not found"}


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), TIMEOUT_S)).decode("latin-1")
        status, body = await _respond(head.split(" ", 2)[1].partition("?")[0])
        data = json.dumps(body).encode() + b"\n"
        writer.write(
            b"HTTP/1.1 %d %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
            b"Connection: close\r\n\r\n%b"
            % (status, b"OK" if status == 200 else b"Error", len(data), data)
        )
        await writer.drain()
    except (TimeoutError, OSError, IndexError, ValueError, asyncio.IncompleteReadError):
        pass  # a client that went away or never asked: nobody to tell
    finally:
        writer.close()


async def main() -> None:
    """Serve on $PORT until SIGTERM."""
    # All interfaces of its container: who reaches it is the network's business.
    server = await asyncio.start_server(_serve, None, int(os.environ.get("PORT", "8080")))
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with server:
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main())
