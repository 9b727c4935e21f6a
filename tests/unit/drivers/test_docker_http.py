"""The engine asked over connections of our own, when it ends in the midst of its answer."""

import asyncio
from pathlib import Path

import pytest

from drivers.docker_errors import EngineAwayError
from drivers.docker_http import EngineHttp


async def test_an_answer_that_breaks_off_is_an_engine_that_is_away(tmp_path: Path) -> None:
    async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.0 200 OK\r\nContent-Length: 40\r\n\r\n{"Id": "abc')
        writer.close()

    path = tmp_path / "docker.sock"
    async with await asyncio.start_unix_server(die, path):
        with pytest.raises(EngineAwayError):
            await EngineHttp(f"unix://{path}").ask("GET", "/containers/abc/json")
