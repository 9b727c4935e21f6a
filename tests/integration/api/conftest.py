"""A running API for each test, and a client of it for each role."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from controlplane.store.connect import Database
from tests.integration.api.client import Client, session_to
from tests.integration.api.pods import World, world_on
from tests.integration.api.server import Served, api_on


@pytest.fixture
async def served(database: Database, tmp_path: Path) -> AsyncIterator[Served]:
    """A running API for each test, on a database of its own."""
    async with api_on(database, tmp_path) as running:
        yield running


@pytest.fixture
async def http(served: Served) -> AsyncIterator[aiohttp.ClientSession]:
    async with session_to(served) as session:
        yield session


@pytest.fixture
def admin(http: aiohttp.ClientSession, served: Served) -> Client:
    return Client(served, http, served.admin)


@pytest.fixture
def client(admin: Client) -> Client:
    """The administrator, for tests that know no other."""
    return admin


@pytest.fixture
def viewer(http: aiohttp.ClientSession, served: Served) -> Client:
    return Client(served, http, served.viewer)


@pytest.fixture
def editor(http: aiohttp.ClientSession, served: Served) -> Client:
    return Client(served, http, served.editor)


@pytest.fixture
def operator(http: aiohttp.ClientSession, served: Served) -> Client:
    return Client(served, http, served.operator)


NS = "/api/v1/namespaces/default"
APPS = "/apis/bunker.cloud/v1/namespaces/default/apps"
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


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    """An API with one Pod."""
    async with world_on(database, tmp_path) as made:
        yield made
