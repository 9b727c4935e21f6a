"""A client of the API for benchmarks: many requests at once over TLS, and the metrics read back."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

APPS = "/apis/bunker.cloud/v1/namespaces/{}/apps"


@asynccontextmanager
async def client(url: str, token: str) -> AsyncIterator[aiohttp.ClientSession]:
    """A session whose paths are below `url`; certificates are taken as they are."""
    connector = aiohttp.TCPConnector(ssl=False, limit=0)
    headers = {"Authorization": f"Bearer {token}"}
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(
        url, connector=connector, headers=headers, timeout=timeout
    ) as http:
        yield http


async def create_all(
    http: aiohttp.ClientSession, objs: Iterable[tuple[str, Mapping[str, Any]]], *, at_once: int = 32
) -> int:
    """Create each (path, object); returns how many."""
    queue, made = iter(objs), 0

    async def one() -> None:
        nonlocal made
        for path, obj in queue:
            async with http.post(path, json=obj) as response:
                assert response.status == 201, await response.text()
            made += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(one())
    return made


def scaled_to_zero(name: str, namespace: str) -> dict[str, Any]:
    """An App without a replica: each of its passes goes the whole way, and asks the engine what
    there is of it, without a container being there."""
    return {
        "apiVersion": "bunker.cloud/v1",
        "kind": "App",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"image": "bunker.local/demo:1", "port": 8080, "replicas": 0},
    }


async def metrics(http: aiohttp.ClientSession) -> "Metrics":
    async with http.get("/metrics") as response:
        return Metrics(await response.text())


class Metrics:
    """One answer of /metrics."""

    def __init__(self, text: str) -> None:
        self._samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]

    def total(self, name: str, **labels: str) -> float:
        """The sum of all samples of that name that have these labels."""
        return sum(
            sample.value
            for sample in self._samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def by(self, name: str, *labels: str) -> dict[tuple[str, ...], float]:
        """Samples that aren't 0, summed by these labels."""
        found: dict[tuple[str, ...], float] = {}
        for sample in self._samples:
            if sample.name == name and sample.value:
                key = tuple(sample.labels[label] for label in labels)
                found[key] = found.get(key, 0.0) + sample.value
        return found
