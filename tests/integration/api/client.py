"""A small HTTP client for tests of the API: JSON in, JSON out, watches line by line."""

import asyncio
import io
import json
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from tests.integration.api.server import Served

DATABASES = "/apis/bunker.cloud/v1/namespaces/default/databases"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: code, parsed body, headers."""

    code: int
    body: Any
    headers: Mapping[str, str]

    @property
    def causes(self) -> list[dict[str, str]]:
        found: list[dict[str, str]] = self.body["details"].get("causes", [])
        return found


class Lines:
    """A watch under way."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def next(self) -> Any:
        """The next event, or None at the end of the stream."""
        line = await self.response.content.readline()
        return orjson.loads(line) if line else None

    async def take(self, count: int) -> list[Any]:
        return [await self.next() for _ in range(count)]

    async def rest(self) -> list[Any]:
        """Every event until the server ends the stream."""
        found = []
        while (event := await self.next()) is not None:
            found.append(event)
        return found


class Client:
    """Speaks to one server as one user."""

    def __init__(self, served: Served, session: aiohttp.ClientSession, token: str) -> None:
        self.served = served
        self.session = session
        self.headers = {"User-Agent": "test/1"}
        if token:
            self.headers["Authorization"] = f"Bearer {token}"

    async def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        /,
        *,
        type: str = "application/json",  # noqa: A002  # reads as the header it is
        accept: str = "",
        headers: Mapping[str, str] | None = None,
        **query: str,
    ) -> Answer:
        """One request; bytes are sent as they are, all else as JSON."""
        sent = {**self.headers, **({"Accept": accept} if accept else {}), **(headers or {})}
        # not orjson: it refuses texts that are no Unicode, and the server has to
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        if data is not None:
            sent.setdefault("Content-Type", type)
        async with self.session.request(
            method,
            self.served.url + path,
            data=None if data is None else io.BytesIO(data),
            headers=sent,
            params=query,
        ) as response:
            raw = await response.read()
            return Answer(response.status, _parsed(raw, response.content_type), response.headers)

    @asynccontextmanager
    async def watch(self, path: str, /, accept: str = "", **query: str) -> AsyncIterator[Lines]:
        """A watch; leaving the block closes the connection."""
        headers = {**self.headers, **({"Accept": accept} if accept else {})}
        async with self.session.get(
            self.served.url + path, params={"watch": "true", **query}, headers=headers
        ) as response:
            assert response.status == 200, await response.text()
            yield Lines(response)

    async def create(self, name: str, **meta: Any) -> Any:
        """A paused Database in the default namespace."""
        answer = await self("POST", DATABASES, database(name, **meta))
        assert answer.code == 201, answer.body
        return answer.body

    async def label(self, name: str, **labels: str | None) -> Any:
        answer = await self(
            "PATCH",
            f"{DATABASES}/{name}",
            {"metadata": {"labels": labels}},
            type="application/merge-patch+json",
        )
        assert answer.code == 200, answer.body
        return answer.body

    async def delete(self, name: str) -> None:
        answer = await self("DELETE", f"{DATABASES}/{name}")
        assert answer.code == 200, answer.body


def database(name: str, **meta: Any) -> dict[str, Any]:
    """A Database of which nothing runs."""
    return {
        "apiVersion": "bunker.cloud/v1",
        "kind": "Database",
        "metadata": {"name": name, **meta},
        "spec": {"engine": "redis", "paused": True},
    }


def _parsed(raw: bytes, type_: str) -> Any:
    """JSON and text as what they are; anything else in bytes."""
    if "json" in type_ and raw:
        return orjson.loads(raw)
    return raw.decode() if type_.startswith("text/") else raw


@asynccontextmanager
async def deaf(
    served: Served, path: str, token: str | None = None
) -> AsyncIterator[asyncio.StreamReader]:
    """What comes for a client that asks as the administrator, or by a token of its own, and takes
    next to nothing unless it is read from here: its receive buffer is small."""
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", int(served.url.rsplit(":", 1)[1])))
        context = ssl.create_default_context(cafile=str(served.ca))
        reader, writer = await asyncio.open_connection(
            sock=sock, ssl=context, server_hostname="127.0.0.1", limit=1024
        )
        try:
            writer.write(
                f"GET {path} HTTP/1.1\r\nHost: x\r\n"
                f"Authorization: Bearer {token or served.admin}\r\n\r\n".encode()
            )
            yield reader
        finally:
            writer.transport.abort()


@asynccontextmanager
async def session_to(served: Served) -> AsyncIterator[aiohttp.ClientSession]:
    """As many connections as are asked for, to a server whose certificate is checked."""
    context = ssl.create_default_context(cafile=str(served.ca))
    connector = aiohttp.TCPConnector(ssl=context, limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session


@asynccontextmanager
async def client_of(served: Served, token: str | None = None) -> AsyncIterator[Client]:
    """A client; without a token, the administrator's."""
    async with session_to(served) as session:
        yield Client(served, session, served.admin if token is None else token)
