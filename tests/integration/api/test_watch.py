"""Watches over HTTP, on the real store. Over 400 lines, as how each of them ends is told by the
same few clients."""

import asyncio
import random
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import orjson
import pytest

from api.context import Limits
from controlplane.store.connect import Database
from tests.integration.api.client import DATABASES, Client, Lines, client_of, deaf
from tests.integration.api.server import Served, api_on

pytestmark = pytest.mark.postgres

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
SECRETS = "/api/v1/namespaces/default/secrets"


def seen(events: list[Any]) -> list[tuple[str, str]]:
    return [(event["type"], event["object"]["metadata"]["name"]) for event in events]


async def test_watch_starts_with_what_there_is_then_follows(client: Client) -> None:
    await client.create("a")
    async with client.watch(DATABASES) as lines:
        assert seen(await lines.take(1)) == [("ADDED", "a")]
        await client.create("b")
        await client.label("a", x="1")
        await client.delete("b")
        assert seen(await lines.take(3)) == [("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "b")]


async def test_watch_from_a_version_sees_only_what_is_newer(client: Client) -> None:
    first = await client.create("a")
    await client.label("a", x="1")
    version = first["metadata"]["resourceVersion"]
    async with client.watch(DATABASES, resourceVersion=version) as lines:
        (event,) = await lines.take(1)
    assert event["type"] == "MODIFIED"
    assert int(event["object"]["metadata"]["resourceVersion"]) > int(version)


async def test_deleted_object_carries_the_deletions_version(client: Client) -> None:
    made = await client.create("a")
    version = made["metadata"]["resourceVersion"]
    async with client.watch(DATABASES, resourceVersion=version) as lines:
        await client.delete("a")
        (event,) = await lines.take(1)
    assert int(event["object"]["metadata"]["resourceVersion"]) > int(version)


async def test_selector_turns_edits_into_added_and_deleted(client: Client) -> None:
    await client.create("a")
    async with client.watch(DATABASES, labelSelector="colour=red") as lines:
        await client.label("a", colour="red")
        await client.label("a", size="big")
        await client.label("a", colour="blue")
        events = await lines.take(3)
    assert seen(events) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]
    assert events[2]["object"]["metadata"]["labels"]["colour"] == "red"


async def test_field_selector_watches_one_name(client: Client) -> None:
    async with client.watch(DATABASES, fieldSelector="metadata.name=b") as lines:
        await client.create("a")
        await client.create("b")
        assert seen(await lines.take(1)) == [("ADDED", "b")]


async def test_too_old_version_is_told_as_an_expired_event(client: Client) -> None:
    async with client.watch(DATABASES, resourceVersion="1") as lines:
        (event,) = await lines.rest()
    assert event["type"] == "ERROR"
    assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")


async def test_version_of_the_future_is_a_timeout_with_its_cause(client: Client) -> None:
    answer = await client("GET", DATABASES, watch="1", resourceVersion="999999")
    assert answer.code == 504
    assert answer.body["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


async def test_version_that_is_no_number_is_refused(client: Client) -> None:
    answer = await client("GET", DATABASES, watch="1", resourceVersion="x")
    assert (answer.code, answer.body["reason"]) == (400, "BadRequest")


@pytest.mark.parametrize(
    "query",
    [
        "sendInitialEvents=true",
        "sendInitialEvents=true&resourceVersionMatch=Exact",
        "resourceVersionMatch=NotOlderThan",
    ],
)
async def test_initial_events_need_their_match_rule(client: Client, query: str) -> None:
    answer = await client("GET", f"{DATABASES}?watch=1&{query}")
    assert (answer.code, answer.body["reason"]) == (422, "Invalid")


async def test_watch_without_initial_events_and_version_starts_now(client: Client) -> None:
    await client.create("a")
    query = {"sendInitialEvents": "false", "resourceVersionMatch": "NotOlderThan"}
    async with client.watch(DATABASES, **query) as lines:
        await client.create("b")
        event = await lines.next()
    assert (event["type"], event["object"]["metadata"].get("name")) == ("ADDED", "b")


@pytest.mark.parametrize("accept", ["application/json", TABLE, PARTIAL])
async def test_initial_events_end_with_a_marked_bookmark(client: Client, accept: str) -> None:
    await client.create("a")
    query = {
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
        "allowWatchBookmarks": "true",
    }
    async with client.watch(DATABASES, accept=accept, **query) as lines:
        added, bookmark = await lines.take(2)
    assert (added["type"], bookmark["type"]) == ("ADDED", "BOOKMARK")
    found = bookmark["object"]
    meta = found["rows"][0]["object"]["metadata"] if "rows" in found else found["metadata"]
    assert meta["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert int(meta["resourceVersion"]) >= 1000


async def test_bookmarks_say_how_far_a_quiet_watch_has_come(
    database: Database, tmp_path: Path
) -> None:
    """What else is written meanwhile is not the watch's, but moves the version it resumes from."""
    limits = Limits(bookmark_s=0.1)
    async with api_on(database, tmp_path, limits=limits) as served, client_of(served) as client:
        kept = await client.create("a")
        query = {"fieldSelector": "metadata.name=a", "allowWatchBookmarks": "true"}
        async with client.watch(DATABASES, **query) as lines:
            added, first = await lines.take(2)
            last = await client.create("b")
            later = first
            async with asyncio.timeout(30):
                while (
                    later["object"]["metadata"]["resourceVersion"]
                    == (first["object"]["metadata"]["resourceVersion"])
                ):
                    later = await lines.next()
    assert (added["type"], first["type"], later["type"]) == ("ADDED", "BOOKMARK", "BOOKMARK")
    assert added["object"]["metadata"]["uid"] == kept["metadata"]["uid"]
    reached = int(later["object"]["metadata"]["resourceVersion"])
    assert reached >= int(last["metadata"]["resourceVersion"])
    assert later["object"]["kind"] == "Database"


async def test_watch_ends_cleanly_after_its_time(client: Client) -> None:
    # 30: a second and what a busy host takes; it would last half an hour otherwise
    async with asyncio.timeout(30), client.watch(DATABASES, timeoutSeconds="1") as lines:
        assert await lines.rest() == []


async def test_table_events_define_their_columns_once(client: Client) -> None:
    async with client.watch(DATABASES, accept=TABLE) as lines:
        await client.create("a")
        await client.create("b")
        first, second = await lines.take(2)
    assert first["object"]["kind"] == "Table"
    assert first["object"]["columnDefinitions"]
    assert second["object"]["columnDefinitions"] == []
    assert second["object"]["rows"][0]["cells"][0] == "b"
    assert second["object"]["rows"][0]["object"]["kind"] == "PartialObjectMetadata"


async def test_metadata_events_have_nothing_else(client: Client) -> None:
    async with client.watch(DATABASES, accept=PARTIAL) as lines:
        await client.create("a")
        (event,) = await lines.take(1)
    assert event["object"].keys() == {"kind", "apiVersion", "metadata"}


async def test_watch_of_every_namespace_sees_them_all(client: Client) -> None:
    async with client.watch("/apis/bunker.cloud/v1/databases") as lines:
        await client.create("a")
        (event,) = await lines.take(1)
    assert event["object"]["metadata"]["namespace"] == "default"


async def test_secret_events_are_opened_and_its_deletion_tells_no_values(client: Client) -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s"},
        "stringData": {"a": "b"},
    }
    async with client.watch(SECRETS) as lines:
        assert (await client("POST", SECRETS, secret)).code == 201
        assert (await client("DELETE", f"{SECRETS}/s")).code == 200
        added, deleted = await lines.take(2)
    assert added["object"]["data"] == {"a": "Yg=="}
    for event in (added, deleted):
        assert not {"sealed", "secretKeys", "contentHmac"} & event["object"].keys()


async def test_a_secret_that_cannot_be_opened_ends_a_watch_with_an_error(
    client: Client, database: Database
) -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s"},
        "data": {"k": "dg=="},
    }
    assert (await client("POST", SECRETS, secret)).code == 201
    async with database.reading("cannot damage a key") as conn:
        await conn.execute("UPDATE object_keys SET wrapped = wrapped || '!'::bytea")
    async with client.watch(SECRETS) as lines:
        (event,) = await lines.rest()
    assert (event["type"], event["object"]["code"]) == ("ERROR", 503)


async def test_viewers_may_watch_records_and_not_secrets(served: Served) -> None:
    async with client_of(served, served.viewer) as viewer:
        assert (await viewer("GET", SECRETS, watch="1")).code == 403
        async with viewer.watch(DATABASES, timeoutSeconds="1") as lines:
            assert await lines.rest() == []


async def test_revoked_token_ends_its_watch_within_five_seconds(served: Served) -> None:
    async with client_of(served, served.viewer) as viewer, viewer.watch(DATABASES) as lines:
        await served.ctx.access.revoke(served.viewer)
        async with asyncio.timeout(5):
            assert await lines.rest() == []


async def test_what_a_watch_begins_with_ends_with_its_token_and_with_its_time(
    served: Served, client: Client
) -> None:
    """Its readers take little at a time, so that most of it is still to come by then."""
    count, note = 60, "x" * 200_000  # 12 MB: more than the kernel holds for two that don't read
    for number in range(count):
        await client.create(f"db-{number}", annotations={"note": note})
    path = f"{DATABASES}?watch=1"
    async with (
        deaf(served, path, served.viewer) as revoked,
        deaf(served, path + "&timeoutSeconds=2") as timed,
    ):
        for reader in (revoked, timed):
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        await served.ctx.access.revoke(served.viewer)
        await asyncio.sleep(5)
        async with asyncio.timeout(30):
            for reader in (revoked, timed):
                assert (await _drained(reader)).count(b'"type":"ADDED"') < count
    assert not _open_watches(served)


async def _drained(reader: asyncio.StreamReader) -> bytes:
    """All that still comes."""
    found = b""
    with suppress(ConnectionError):
        while data := await reader.read(2**16):
            found += data
    return found


async def test_closed_connection_ends_the_watch(served: Served, client: Client) -> None:
    async with client.watch(DATABASES):
        assert _open_watches(served) == 1
    for _ in range(100):
        if not _open_watches(served):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the server still follows changes for nobody")


def _open_watches(served: Served) -> float | None:
    return served.ctx.registry.get_sample_value("watchers", {"resource": "databases"})


async def test_read_only_kinds_can_be_watched(client: Client) -> None:
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    # 3: what a watch begins with is broken off where it takes longer
    async with client.watch(path, timeoutSeconds="3") as lines:
        found = await lines.rest()
    assert ("ADDED", "databases.bunker.cloud") in seen(found)
    async with client.watch("/api/v1/pods", timeoutSeconds="1") as lines:
        assert await lines.rest() == []
    # an informer that lists anew names the last version it saw, and wants everything
    anew = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
    anew |= {"allowWatchBookmarks": "true", "resourceVersion": "1", "timeoutSeconds": "3"}
    async with client.watch(path, **anew) as lines:
        again = await lines.rest()
    assert seen(again[:-1]) == seen(found)
    assert again[-1]["type"] == "BOOKMARK"
    assert (await client("GET", path, watch="1", sendInitialEvents="true")).code == 422


class _Unsteady:
    """A watcher that keeps dropping its connection and goes on from the last version it saw."""

    def __init__(self, client: Client, start: str, seed: int) -> None:
        self._client = client
        self._dice = random.Random(seed)  # a test's own dice
        self._last = start
        self.versions: list[int] = []

    async def follow(self, done: asyncio.Event) -> None:
        """Until it has seen the end of a stream that began after `done`."""
        while True:
            finished = done.is_set()
            if await self._connect() and finished:
                return

    async def _connect(self) -> bool:
        """True if the server ended the stream."""
        query = {"resourceVersion": self._last, "timeoutSeconds": "1"}
        async with self._client.watch(DATABASES, **query) as lines:
            for _ in range(self._dice.randint(1, 40)):
                event = await lines.next()
                if event is None:
                    return True
                self._last = event["object"]["metadata"]["resourceVersion"]
                self.versions.append(int(self._last))
        return False


async def test_reconnecting_from_the_last_version_misses_and_repeats_nothing(
    client: Client,
) -> None:
    """Sixteen writers, eight watchers."""
    names = [f"db-{number}" for number in range(8)]
    for name in names:
        await client.create(name)
    start = (await client("GET", DATABASES)).body["metadata"]["resourceVersion"]
    done = asyncio.Event()

    async def write(number: int) -> None:
        for round_ in range(20):
            await client.label(names[(number + round_) % len(names)], writer=f"{number}-{round_}")

    watchers = [_Unsteady(client, start, seed) for seed in range(8)]
    async with asyncio.TaskGroup() as group:
        for watcher in watchers:
            group.create_task(watcher.follow(done))
        async with asyncio.TaskGroup() as writing:
            for number in range(16):
                writing.create_task(write(number))
        done.set()
    async with client.watch(DATABASES, resourceVersion=start, timeoutSeconds="1") as lines:
        truth = [int(e["object"]["metadata"]["resourceVersion"]) for e in await lines.rest()]
    assert len(truth) == 16 * 20
    assert truth == sorted(set(truth))
    assert all(watcher.versions == truth for watcher in watchers)


async def test_slow_reader_is_cut_off_and_costs_no_memory(
    database: Database, tmp_path: Path
) -> None:
    """It never reads; the server must neither wait for it nor buffer for it without bound."""
    async with (
        api_on(database, tmp_path, limits=Limits(write_s=0.5)) as served,
        client_of(served) as client,
        deaf(served, f"{DATABASES}?watch=1"),
    ):
        await client.create("big", annotations={"note": "x" * 200_000})
        rss = _rss_bytes()
        for number in range(60):
            await client.label("big", n=str(number))
            if number and not _open_watches(served):
                break
            await asyncio.sleep(0.05)
        assert not _open_watches(served), "still waits for a reader that never reads"
        assert _rss_bytes() - rss < 64 * 2**20


def _rss_bytes() -> int:
    with open("/proc/self/statm") as file:  # a test
        return int(file.read().split()[1]) * 4096


async def test_idle_watchers_cost_little_and_hear_soon(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 300  # what the descriptors of a test process allow for both ends
    async with client_of(served) as client, AsyncExitStack() as watches:
        listed = (await client("GET", DATABASES)).body
        version = listed["metadata"]["resourceVersion"]
        idle = [
            await watches.enter_async_context(client.watch(DATABASES, resourceVersion=version))
            for _ in range(count)
        ]
        ran = 0
        run = asyncio.Handle._run

        def counted(handle: asyncio.Handle) -> None:
            nonlocal ran
            ran += 1
            run(handle)

        monkeypatch.setattr(asyncio.Handle, "_run", counted)
        await asyncio.sleep(2)
        monkeypatch.undo()
        assert ran < count  # callbacks of the loop: less than one a watcher
        await client.create("a")

        async def first(lines: Lines) -> str:
            return orjson.dumps((await lines.next())["type"]).decode()

        async with asyncio.timeout(5):
            assert set(await asyncio.gather(*map(first, idle))) == {'"ADDED"'}


@pytest.mark.parametrize("path", [DATABASES, "/api/v1/services", "/api/v1/pods"])
async def test_nobody_watches_for_the_head_of_an_answer(client: Client, path: str) -> None:
    answer = await client("HEAD", f"{path}?watch=true")
    assert (answer.code, answer.headers["Allow"]) == (405, "GET")
    assert (await client("HEAD", path)).code == 200
