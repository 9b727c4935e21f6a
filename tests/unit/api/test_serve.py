"""Where the API can't listen, that is told as something to be mended."""

import socket
import ssl

import pytest
from aiohttp import web

from api.app import SILENT, WRITE_S
from api.serve import serving
from controlplane.errors import TerminalError


async def test_a_port_that_is_taken_is_told_by_its_number() -> None:
    app = web.Application()
    app[SILENT], app[WRITE_S] = set(), 20.0
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(TerminalError, match=f"port {port}: address already in use"):
            async with serving(app, "127.0.0.1", port, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)):
                pass
