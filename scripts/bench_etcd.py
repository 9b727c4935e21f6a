"""etcd as a peer: a server of its own on this machine, spoken to in the same language.

The server is Debian's `etcd-server`, the client `aetcd` (gRPC); without either, rows that need
them are left out and said so. One member, its data beside the benchmark's PostgreSQL, fsync on.
"""

import asyncio
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

WriteOne = Callable[[str], Awaitable[object]]
BODY = b"x" * 760
READY_S = 15.0


@asynccontextmanager
async def etcd_writes(folder: Path) -> AsyncIterator[WriteOne | None]:
    """How to create a key; None where etcd or its client is missing."""
    async with etcd_client(folder) as client:
        yield None if client is None else creating(client)


@asynccontextmanager
async def etcd_client(folder: Path) -> AsyncIterator[Any]:
    """A client of a server that runs as long as the block; None where there is none."""
    try:
        import aetcd
    except ImportError:
        aetcd = None
    program = shutil.which("etcd")
    if aetcd is None or program is None:
        print("no etcd here: apt-get install etcd-server, uv pip install -e '.[bench]'",
              file=sys.stderr)  # fmt: skip
        yield None
        return
    ports = [_free_port(), _free_port()]
    process = await asyncio.create_subprocess_exec(
        *(program, "--data-dir", str(folder), "--logger=zap", "--log-level=error"),
        *(f"--listen-client-urls=http://127.0.0.1:{ports[0]}",),
        *(f"--advertise-client-urls=http://127.0.0.1:{ports[0]}",),
        *(f"--listen-peer-urls=http://127.0.0.1:{ports[1]}",),
        *(f"--initial-advertise-peer-urls=http://127.0.0.1:{ports[1]}",),
        f"--initial-cluster=default=http://127.0.0.1:{ports[1]}",
    )
    try:
        await _until_listening(ports[0])
        async with aetcd.Client(port=ports[0], timeout=30) as client:
            yield client
    finally:
        process.terminate()
        await process.wait()


def creating(client: Any) -> WriteOne:
    async def write(name: str) -> object:
        key = b"/databases/bench/" + name.encode()
        made, _ = await client.transaction(
            compare=[client.transactions.version(key) == 0],
            success=[client.transactions.put(key, BODY)],
            failure=[],
        )
        assert made
        return made

    return write


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _until_listening(port: int) -> None:
    async with asyncio.timeout(READY_S):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.1)
                continue
            writer.close()
            return
