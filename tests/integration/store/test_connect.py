"""What is told of a database that can't be opened."""

import asyncio
from pathlib import Path

import pytest

from api.tls import ensure_certificates
from controlplane.clock import SystemClock
from controlplane.errors import TerminalError
from controlplane.store.connect import LOST, Database

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


async def test_a_certificate_that_does_not_verify_is_told_as_such_and_waited_for(
    tmp_path: Path,
) -> None:
    """A server whose certificate ran out gets another one; it is no mistake in the URL."""
    now = SystemClock().now()
    server_side = ensure_certificates(tmp_path / "theirs", now=now).server_context()
    trusted = ensure_certificates(tmp_path / "ours", now=now).ca

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=server_side) as listening:
        port = listening.sockets[0].getsockname()[1]
        query = f"sslmode=verify-full&sslrootcert={trusted}&sslnegotiation=direct"
        database = Database(f"postgresql://app:hush@127.0.0.1:{port}/bunker?{query}")
        with pytest.raises(LOST) as told:
            await database.connect("test")
    assert "certificate" in str(told.value)
    assert "hush" not in str(told.value)
