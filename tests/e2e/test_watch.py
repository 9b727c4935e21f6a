"""A hundred writers in conflict, and watchers that must see every change, in order, none twice.

The nine validators are those of etcd's robustness tests (tests/robustness/validate), put into the
words of the Kubernetes watch: Ordered, Unique, Atomic, Reliable, Resumable, Bookmarkable, PrevKV,
IsCreate and Filter.
"""

import asyncio
import json
import random
import ssl
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from tests.e2e.cloud import Cloud

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(300)]
Json = dict[str, Any]

WRITERS = 100
WRITES_EACH = 12
OBJECTS = 10
WATCHERS = 8
DONE = "all-is-written"


@dataclass
class Watcher:
    """What one watch was told, connections and all."""

    selector: str = ""
    events: list[tuple[str, Json]] = field(default_factory=list)
    bookmarks: list[tuple[int, int]] = field(default_factory=list)
    """(number of events before it, its revision)"""

    @property
    def revisions(self) -> list[int]:
        return [revision(obj) for _, obj in self.events]


@dataclass
class History:
    """What the writers were told was committed: the independent oracle."""

    acknowledged: dict[int, Json] = field(default_factory=dict)
    conflicts: int = 0

    def add(self, obj: Json) -> None:
        rev = revision(obj)
        assert rev not in self.acknowledged, f"revision {rev} was given twice"
        self.acknowledged[rev] = obj


def revision(obj: Json) -> int:
    return int(obj["metadata"]["resourceVersion"])


def name(obj: Json) -> str:
    found: str = obj["metadata"]["name"]
    return found


def count(obj: Json) -> int:
    return int(obj["data"]["n"])


class Client:
    """ConfigMaps of one namespace over HTTP."""

    def __init__(self, cloud: Cloud, namespace: str, session: aiohttp.ClientSession) -> None:
        self.url = f"https://127.0.0.1:{cloud.port}/api/v1/namespaces/{namespace}/configmaps"
        self._session = session

    async def create(self, obj: Json) -> Json:
        async with self._session.post(self.url, json=obj) as reply:
            assert reply.status == 201, await reply.text()
            made: Json = await reply.json()
            return made

    async def get(self, which: str) -> Json:
        async with self._session.get(f"{self.url}/{which}") as reply:
            assert reply.status == 200, await reply.text()
            found: Json = await reply.json()
            return found

    async def put(self, obj: Json) -> Json | None:
        """The new state, or None for a lost race."""
        async with self._session.put(f"{self.url}/{name(obj)}", json=obj) as reply:
            if reply.status == 409:
                return None
            assert reply.status == 200, await reply.text()
            written: Json = await reply.json()
            return written

    async def watch(self, watcher: Watcher, since: int, stop_after: int | None = None) -> None:
        """Read until the object that ends it; with `stop_after`, until that many more events."""
        params = {
            "watch": "true",
            "resourceVersion": str(since),
            "allowWatchBookmarks": "true",
            "labelSelector": watcher.selector,
        }
        goal = None if stop_after is None else len(watcher.events) + stop_after
        async with self._session.get(self.url, params=params) as reply:
            assert reply.status == 200, await reply.text()
            async for line in reply.content:
                event = json.loads(line)
                obj = event["object"]
                if event["type"] == "BOOKMARK":
                    watcher.bookmarks.append((len(watcher.events), revision(obj)))
                    continue
                assert event["type"] in {"ADDED", "MODIFIED", "DELETED"}, event
                if name(obj) == DONE:
                    return
                watcher.events.append((event["type"], obj))
                if goal is not None and len(watcher.events) >= goal:
                    return


async def write_in_conflict(client: Client, history: History, seed: int) -> None:
    rng = random.Random(seed)
    done = 0
    while done < WRITES_EACH:
        obj = await client.get(f"shared-{rng.randrange(OBJECTS)}")
        n = count(obj) + 1
        obj["data"]["n"] = str(n)
        obj["metadata"]["labels"] = {"parity": "odd" if n % 2 else "even"}
        written = await client.put(obj)
        if written is None:
            history.conflicts += 1
            continue
        assert count(written) == n
        history.add(written)
        done += 1


async def watch_with_breaks(client: Client, watcher: Watcher, since: int, seed: int) -> None:
    """Disconnect and resume a few times, at odd moments, from the last revision seen."""
    rng = random.Random(seed)
    at = since
    for _ in range(4):
        await client.watch(watcher, at, stop_after=rng.randrange(1, 150))
        at = watcher.revisions[-1]
    await client.watch(watcher, at)


def check(watcher: Watcher, history: History, created: dict[str, Json]) -> None:
    """All nine, for a watch without a selector."""
    revisions = watcher.revisions
    assert revisions == sorted(revisions), "Ordered"
    assert len(set(revisions)) == len(revisions), "Unique"
    assert set(revisions) == set(history.acknowledged), "Reliable, Resumable, Atomic"
    seen = dict(created)
    for kind, obj in watcher.events:
        assert kind == "MODIFIED", "IsCreate"
        before = seen[name(obj)]
        assert count(obj) == count(before) + 1, "PrevKV"
        assert obj["data"] == history.acknowledged[revision(obj)]["data"]
        seen[name(obj)] = obj
    check_bookmarks(watcher)


def check_bookmarks(watcher: Watcher) -> None:
    for position, marked in watcher.bookmarks:
        assert all(rev > marked for rev in watcher.revisions[position:]), "Bookmarkable"


def check_filtered(watcher: Watcher, history: History) -> None:
    """A selector's watch: what matches, and DELETED once when it no longer does."""
    expected: list[tuple[str, int]] = []
    matched: dict[str, bool] = defaultdict(bool)
    for rev, obj in sorted(history.acknowledged.items()):
        odd = obj["metadata"]["labels"]["parity"] == "odd"
        was, matched[name(obj)] = matched[name(obj)], odd
        if odd:
            expected.append(("MODIFIED" if was else "ADDED", rev))
        elif was:
            expected.append(("DELETED", rev))
    assert [(kind, revision(obj)) for kind, obj in watcher.events] == expected, "Filter"
    check_bookmarks(watcher)


async def contend(cloud: Cloud, namespace: str) -> tuple[History, list[Watcher], dict[str, Json]]:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    headers = {"Authorization": f"Bearer {cloud.token()}"}
    connector = aiohttp.TCPConnector(ssl=context, limit=0)
    timeout = aiohttp.ClientTimeout(total=200)
    async with aiohttp.ClientSession(
        connector=connector, headers=headers, timeout=timeout
    ) as session:
        client = Client(cloud, namespace, session)
        created = {}
        for number in range(OBJECTS):
            meta = {"name": f"shared-{number}", "labels": {"parity": "even"}}
            made = await client.create({"metadata": meta, "data": {"n": "0"}})
            created[name(made)] = made
        since = max(revision(obj) for obj in created.values())
        history = History()
        watchers = [Watcher() for _ in range(WATCHERS)] + [Watcher("parity=odd")]
        async with asyncio.TaskGroup() as tasks:
            for seed, watcher in enumerate(watchers[:-1]):
                tasks.create_task(watch_with_breaks(client, watcher, since, seed))
            filtered = tasks.create_task(client.watch(watchers[-1], since))
            async with asyncio.TaskGroup() as writers:
                for seed in range(WRITERS):
                    writers.create_task(write_in_conflict(client, history, seed))
            labels = {"parity": "odd"}
            await client.create({"metadata": {"name": DONE, "labels": labels}})
            await filtered
        return history, watchers, created


def test_hundred_writers_and_no_event_lost(cloud: Cloud, namespace: str) -> None:
    history, watchers, created = asyncio.run(contend(cloud, namespace))
    assert len(history.acknowledged) == WRITERS * WRITES_EACH
    assert history.conflicts > 0, "the writers never met: nothing was tested"
    for watcher in watchers[:-1]:
        check(watcher, history, created)
    check_filtered(watchers[-1], history)
    # gapless: the chain of all changes verifies, revision by revision
    cloud.control_plane("audit", "verify")
