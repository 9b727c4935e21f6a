"""A running API for each test, and a client that speaks JSON to it."""

import io
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from controlplane.store.connect import Database
from tests.integration.api import client as asking
from tests.integration.api.server import Served, api_on


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: code, headers, parsed body."""

    code: int
    headers: Mapping[str, str]
    body: Any

    @property
    def causes(self) -> list[dict[str, str]]:
        found: list[dict[str, str]] = self.body["details"].get("causes", [])
        return found


@dataclass(frozen=True, slots=True)
class Client:
    """Speaks for one user."""

    http: aiohttp.ClientSession
    served: Served
    token: str

    async def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        type: str = "application/json",  # noqa: A002  # reads as the header it is
        raw: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        sent = {"Authorization": f"Bearer {self.token}", "User-Agent": "test/1", **(headers or {})}
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        if data is not None:
            sent.setdefault("Content-Type", type)
        async with self.http.request(
            method,
            self.served.url + path,
            data=None if data is None else io.BytesIO(data),
            headers=sent,
        ) as response:
            text = await response.read()
            is_json = response.content_type == "application/json"
            parsed = json.loads(text) if is_json and text else text.decode()
            return Answer(response.status, dict(response.headers), parsed)


@pytest.fixture
async def served(database: Database, tmp_path: Path) -> AsyncIterator[Served]:
    """A running API for each test, on a database of its own."""
    async with api_on(database, tmp_path) as running:
        yield running


@pytest.fixture
async def client(served: Served) -> AsyncIterator[asking.Client]:
    """The administrator, who can watch, too."""
    async with asking.client_of(served) as found:
        yield found


@pytest.fixture
async def http(served: Served) -> AsyncIterator[aiohttp.ClientSession]:
    trust = ssl.create_default_context(cafile=str(served.ca))
    connector = aiohttp.TCPConnector(ssl=trust)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session


@pytest.fixture
def admin(http: aiohttp.ClientSession, served: Served) -> Client:
    return Client(http, served, served.admin)


@pytest.fixture
def viewer(http: aiohttp.ClientSession, served: Served) -> Client:
    return Client(http, served, served.viewer)


@pytest.fixture
def editor(http: aiohttp.ClientSession, served: Served) -> Client:
    return Client(http, served, served.editor)


@pytest.fixture
def operator(http: aiohttp.ClientSession, served: Served) -> Client:
    return Client(http, served, served.operator)


NS = "/api/v1/namespaces/default"
APPS = "/apis/bunker.cloud/v1/namespaces/default/apps"
DATABASES = "/apis/bunker.cloud/v1/namespaces/default/databases"
CONFIGS = NS + "/configmaps"
SECRETS = NS + "/secrets"


def config(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def database_obj(name: str = "db", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "bunker.cloud/v1",
        "kind": "Database",
        "metadata": {"name": name},
        "spec": {"engine": "redis", "paused": True, **spec},
    }


def app_obj(name: str = "app", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "bunker.cloud/v1",
        "kind": "App",
        "metadata": {"name": name},
        "spec": {
            "image": "x:1",
            "paused": True,
            "resources": {"cpu": "100m", "memory": "64Mi"},
            **spec,
        },
    }
