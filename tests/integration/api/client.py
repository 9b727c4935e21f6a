"""A small HTTP client for tests of the API: JSON in, JSON out, watches line by line."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from tests.integration.api.server import Served

DATABASES = "/apis/bunker.cloud/v1/namespaces/default/databases"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer."""

    code: int
    body: Any
    headers: Any


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
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    async def ask(
        self, method: str, path: str, body: Any = None, /, accept: str = "", **query: str
    ) -> Answer:
        """One request. `content_type` in the query names a patch's type."""
        headers = {**self.headers, "Content-Type": query.pop("content_type", "application/json")}
        if accept:
            headers["Accept"] = accept
        data = body if isinstance(body, bytes) else orjson.dumps(body) if body is not None else None
        async with self.session.request(
            method, self.served.url + path, data=data, headers=headers, params=query
        ) as response:
            raw = await response.read()
            kind = response.content_type
            return Answer(
                response.status,
                orjson.loads(raw) if "json" in kind and raw else raw,
                response.headers,
            )

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
        answer = await self.ask("POST", DATABASES, database(name, **meta))
        assert answer.code == 201, answer.body
        return answer.body

    async def label(self, name: str, **labels: str | None) -> Any:
        answer = await self.ask(
            "PATCH",
            f"{DATABASES}/{name}",
            {"metadata": {"labels": labels}},
            content_type="application/merge-patch+json",
        )
        assert answer.code == 200, answer.body
        return answer.body

    async def delete(self, name: str) -> None:
        answer = await self.ask("DELETE", f"{DATABASES}/{name}")
        assert answer.code == 200, answer.body


def database(name: str, **meta: Any) -> dict[str, Any]:
    """A Database of which nothing runs."""
    return {
        "apiVersion": "bunker.cloud/v1",
        "kind": "Database",
        "metadata": {"name": name, **meta},
        "spec": {"engine": "redis", "paused": True},
    }


@asynccontextmanager
async def client_of(served: Served, token: str | None = None) -> AsyncIterator[Client]:
    """A client; without a token, the administrator's."""
    context = ssl.create_default_context(cafile=str(served.ca))
    connector = aiohttp.TCPConnector(ssl=context, limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield Client(served, session, served.admin if token is None else token)
