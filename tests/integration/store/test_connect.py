"""What is told of a database that can't be opened."""

import asyncio
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
