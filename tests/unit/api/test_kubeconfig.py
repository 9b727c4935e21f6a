"""Kubeconfigs lead to where the API listens."""

import asyncio
from urllib.parse import urlsplit

import pytest

from api.kubeconfig import server_url
from tests.support.ipv6 import needs_ipv6


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("127.0.0.1", "https://127.0.0.1:8443"),
        ("192.0.2.7", "https://192.0.2.7:8443"),
        ("0.0.0.0", "https://127.0.0.1:8443"),
        ("2001:db8::7", "https://[2001:db8::7]:8443"),
        ("::", "https://[::1]:8443"),
        ("0:0::0", "https://[::1]:8443"),
    ],
)
def test_the_address_is_one_that_this_host_reaches(address: str, url: str) -> None:
    assert server_url(address, 8443) == url


@pytest.mark.parametrize("address", ["0.0.0.0", pytest.param("::", marks=needs_ipv6)])
async def test_what_listens_on_all_addresses_is_reached(address: str) -> None:
    loop = asyncio.get_running_loop()
    async with await loop.create_server(asyncio.Protocol, address, 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        host = urlsplit(server_url(address, port)).hostname
        _, writer = await asyncio.open_connection(host, port)
        writer.close()
