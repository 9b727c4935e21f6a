"""What is told of a database that can't be opened; and a start that waits for one can be ended."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from controlplane.errors import TerminalError
from controlplane.store.connect import Database

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    "url",
    [
        "mysql://app:hush@127.0.0.1/bunker",
        "postgres//app:hush@127.0.0.1/bunker",
        "host=127.0.0.1 user=app password=hush",
        pytest.param("postgresql://app:hu#sh@127.0.0.1/bunker", id="a password not escaped"),
        "postgresql://app:hush@127.0.0.1:port/bunker",
        "postgresql://app:hush@127.0.0.1/bunker?sslmode=hush",
    ],
)
async def test_a_url_that_cannot_be_read_is_not_waited_for(url: str) -> None:
    async with asyncio.timeout(30):  # for ever, otherwise
        with pytest.raises(TerminalError) as told:
            await Database(url).connect_patiently("test")
    assert "CP_DATABASE_URL" in str(told.value)
    assert "hu" not in str(told.value)


@pytest.mark.postgres
async def test_who_is_refused_is_told_so(database: Database) -> None:
    stranger = Database(database.dsn.replace("postgres@", "stranger@"))
    with pytest.raises(TerminalError) as told:
        await stranger.connect_patiently("test")
    assert told.value.reason == "DatabaseRefused"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_start_that_waits_for_its_database_ends_when_told_to(
    tmp_path: Path, number: signal.Signals
) -> None:
    asked = asyncio.Event()

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "controlplane", "serve", "api"),
            cwd=ROOT,
            env={
                **os.environ,
                "CP_DATA_DIR": str(tmp_path),
                "CP_DATABASE_URL": f"postgresql://app:hush@127.0.0.1:{port}/bunker",
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(60):  # for ever, otherwise
                await asked.wait()
                process.send_signal(number)
                said, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
    assert process.returncode == 0, said
    assert b"hush" not in said
