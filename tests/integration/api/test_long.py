"""Long lists and watches leave the loop to others: how much is done between two turns of it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pkgutil import resolve_name
from typing import Any

import pytest

from controlplane.store.records import Actor
from controlplane.stretch import STRETCH_BYTES, STRETCH_RECORDS
from tests.integration.api.client import Client
from tests.integration.api.conftest import CONFIGS, config

pytestmark = pytest.mark.postgres

MANY = 5 * STRETCH_RECORDS
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


class Meter:
    """How often a function is called, in all and at most between two turns of the loop."""

    def __init__(self) -> None:
        self.calls = self.most = 0
        self._before = 0

    def counting(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            return function(*args, **kwargs)

        return counted

    async def _look(self) -> None:
        while True:
            self.most = max(self.most, self.calls - self._before)
            self._before = self.calls
            await asyncio.sleep(0)

    @asynccontextmanager
    async def looking(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            looks = tasks.create_task(self._look())
            yield
            await asyncio.sleep(0)
            looks.cancel()


async def fill(client: Client, count: int) -> None:
    for start in range(0, count, STRETCH_RECORDS):
        numbers = range(start, min(count, start + STRETCH_RECORDS))
        async with asyncio.TaskGroup() as tasks:
            for number in numbers:
                obj = config(f"c{number}", a="b")
                obj["metadata"] |= {"namespace": "default", "labels": {"some": "label"}}
                making = client.served.records.create("ConfigMap", obj, actor=Actor("t", "t"))
                tasks.create_task(making)


@pytest.mark.parametrize(
    ("function", "query", "accept"),
    [
        pytest.param("api.tables.entry", {}, TABLE, id="rows of a table"),
        pytest.param(
            "api.selectors.Selector.matches_stored",
            {"labelSelector": "some=label"},
            "",
            id="selecting",
        ),
    ],
)
async def test_a_long_list_is_made_in_stretches(
    client: Client, monkeypatch: pytest.MonkeyPatch, function: str, query: Any, accept: str
) -> None:
    await fill(client, MANY)
    meter = Meter()
    with monkeypatch.context() as patch:
        patch.setattr(function, meter.counting(resolve_name(function)))
        async with meter.looking():
            answer = await client("GET", CONFIGS, accept=accept, **query)
    assert len(answer.body["rows" if accept else "items"]) == MANY
    assert meter.calls == MANY
    assert meter.most <= STRETCH_RECORDS


@pytest.mark.parametrize(
    ("function", "query", "since"),
    [
        pytest.param("api.watch_events.wire_bytes", {}, False, id="all there is"),
        pytest.param(
            "api.selectors.Selector.matches_stored",
            {"labelSelector": "some=label"},
            False,
            id="selecting",
        ),
        pytest.param("api.watch_events.wire_bytes", {}, True, id="changes that wait"),
    ],
)
async def test_a_watch_catches_up_in_stretches(
    client: Client, monkeypatch: pytest.MonkeyPatch, function: str, query: Any, since: bool
) -> None:
    before = client.served.cache.revision
    await fill(client, MANY)
    meter = Meter()
    if since:
        query = {**query, "resourceVersion": str(before)}
    with monkeypatch.context() as patch:
        patch.setattr(function, meter.counting(resolve_name(function)))
        async with meter.looking(), client.watch(CONFIGS, **query) as lines:
            names = {event["object"]["metadata"]["name"] for event in await lines.take(MANY)}
    assert len(names) == MANY
    assert meter.calls == MANY
    assert meter.most <= STRETCH_RECORDS


async def test_a_large_list_is_sent_in_pieces_and_is_whole(client: Client) -> None:
    text = "x" * (STRETCH_BYTES - 1000)
    for number in range(3):
        answer = await client("POST", CONFIGS, config(f"large{number}", a=text))
        assert answer.code == 201
    listed = await client("GET", CONFIGS)
    assert [item["data"]["a"] for item in listed.body["items"]] == [text] * 3
    assert int(listed.headers["Content-Length"]) > 3 * len(text)
    whole = await client("GET", CONFIGS, accept=TABLE, includeObject="Object")
    assert [row["object"]["data"]["a"] for row in whole.body["rows"]] == [text] * 3
    gone = await client("DELETE", CONFIGS)
    assert [item["metadata"]["name"] for item in gone.body["items"]] == [
        f"large{number}" for number in range(3)
    ]
