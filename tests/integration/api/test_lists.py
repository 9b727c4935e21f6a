"""LIST: order, selectors, versions, pages."""

import asyncio
import base64
import ssl
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from api.context import Limits
from controlplane.store.connect import Database
from controlplane.store.embedded import EmbeddedPostgres
from tests.integration.api.client import Client, client_of, deaf
from tests.integration.api.conftest import CONFIGS, config
from tests.integration.api.server import api_on
from tests.integration.store.writing import Proxy

pytestmark = pytest.mark.postgres


async def _make(admin: Client, *names: str) -> None:
    for name in names:
        obj = config(name)
        obj["metadata"]["labels"] = {"n": name}
        assert (await admin("POST", CONFIGS, obj)).code == 201


def _names(body: dict[str, object]) -> list[str]:
    items = body["items"]
    assert isinstance(items, list)
    return [item["metadata"]["name"] for item in items]


async def test_a_list_is_sorted_selected_and_has_its_revision(admin: Client) -> None:
    assert (await admin("GET", CONFIGS)).body["items"] == []
    await _make(admin, "b", "c", "a")
    found = (await admin("GET", CONFIGS)).body
    assert (found["kind"], _names(found)) == ("ConfigMapList", ["a", "b", "c"])
    assert found["metadata"]["resourceVersion"] == str(admin.served.cache.revision)
    every = (await admin("GET", "/api/v1/configmaps?labelSelector=n in (a, c)")).body
    assert _names(every) == ["a", "c"]
    one = (await admin("GET", CONFIGS + "?fieldSelector=metadata.name=b")).body
    assert _names(one) == ["b"]
    assert (await admin("GET", CONFIGS + "?fieldSelector=spec.x=b")).code == 400


async def test_a_selector_that_cannot_be_read_selects_nothing_and_deletes_nothing(
    admin: Client,
) -> None:
    await _make(admin, "a")
    for query in (
        "labelSelector=n%3Da,",
        "labelSelector=-n-%3Da",
        "labelSelector=n in (a",
        "labelSelector=" + "n" * 64,
        "labelSelector=n%3D%ED%A0%BD",
        "labelSelector=n%3D%00%FF",
        "fieldSelector=metadata.name",
        "fieldSelector=metadata.name%3Da%5C",
        "fieldSelector=spec.x%3Da",
        "fieldSelector=%ED%A0%BD%FF%3D",
    ):
        for method, more in (("GET", ""), ("GET", "&watch=1"), ("DELETE", "")):
            answer = await admin(method, f"{CONFIGS}?{query}{more}")
            assert (answer.code, answer.body["reason"]) == (400, "BadRequest"), query
    assert _names((await admin("GET", CONFIGS + "?labelSelector=n in (a),!m")).body) == ["a"]


async def test_pages_are_of_one_revision(admin: Client) -> None:
    await _make(admin, "a", "b", "c", "d", "e")
    first = (await admin("GET", CONFIGS + "?limit=2")).body
    assert _names(first) == ["a", "b"]
    assert first["metadata"]["remainingItemCount"] == 3
    await admin("DELETE", CONFIGS + "/c")
    await _make(admin, "cc")
    token = first["metadata"]["continue"]
    second = (await admin("GET", f"{CONFIGS}?limit=2&continue={token}")).body
    assert _names(second) == ["c", "d"]
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    last = (await admin("GET", f"{CONFIGS}?continue={second['metadata']['continue']}")).body
    assert _names(last) == ["e"]
    assert "continue" not in last["metadata"]
    again = (await admin("GET", f"{CONFIGS}?limit=2&continue={token}")).body
    assert _names(again) == ["c", "d"]


async def test_a_paging_token_that_is_garbage_foreign_or_old(admin: Client) -> None:
    await _make(admin, "a", "b")
    token = (await admin("GET", CONFIGS + "?limit=1")).body["metadata"]["continue"]
    for garbage in ("x", "%00", "e30", "!!!!", "WzEsMl0", token[:-3], "W10"):
        assert (await admin("GET", f"{CONFIGS}?limit=1&continue={garbage}")).code in (400, 410)
    other = f"/api/v1/configmaps?limit=1&continue={token}"
    assert (await admin("GET", other)).code == 400
    old = "WyJub3BlIiwxXQ"  # ["nope",1]
    expired = await admin("GET", f"{CONFIGS}?limit=1&continue={old}")
    assert (expired.code, expired.body["reason"]) == (410, "Expired")


async def test_pages_that_nobody_fetches_are_let_go(database: Database, tmp_path: Path) -> None:
    limits = Limits(continue_s=0.0)
    async with api_on(database, tmp_path, limits=limits) as served, client_of(served) as admin:
        await _make(admin, "a", "b")
        assert "continue" in (await admin("GET", CONFIGS + "?limit=1")).body["metadata"]
        assert len(served.ctx.snapshots) == 1
        await admin("GET", CONFIGS)
        assert len(served.ctx.snapshots) == 0


WHAT_A_LIST_MAY_BE_ASKED_FOR: list[Any] = [
    ("resourceVersion=0", 200),
    ("resourceVersion=1", 200),
    ("resourceVersion=x", 400),
    ("resourceVersion=-1", 400),
    ("resourceVersion=999999999", 504),
    ("resourceVersion=99999999999999999999999", 400),
    ("resourceVersion=1&resourceVersionMatch=Exact", 410),
    ("resourceVersion=1&resourceVersionMatch=NotOlderThan", 200),
    ("resourceVersionMatch=Exact", 422),
    ("resourceVersion=0&resourceVersionMatch=Exact", 422),
    ("resourceVersion=1&resourceVersionMatch=Sometimes", 422),
    ("resourceVersion=1&resourceVersionMatch=Exact&continue=WzEsMl0", 422),
    ("sendInitialEvents=true", 422),
    ("continue=WzEsMl0&resourceVersion=5", 400),
    ("timeoutSeconds=x", 400),
    ("timeoutSeconds=-1", 400),
    ("timeoutSeconds=1", 200),
    ("limit=9999999999", 200),
    ("limit=99999999999999999999", 400),
    ("pretty=true&allowWatchBookmarks=x", 200),
    ("limit=x", 400),
    ("limit=-1", 400),
    ("limit=0", 200),
    ("labelSelector=a in", 400),
    ("unknownParameter=1&timeout=32s", 200),
]


async def test_what_a_list_may_be_asked_for(admin: Client) -> None:
    await _make(admin, "a")
    for query, code in WHAT_A_LIST_MAY_BE_ASKED_FOR:
        answer = await admin("GET", f"{CONFIGS}?{query}")
        assert answer.code == code, query
        if code == 422:
            about = {"group": "meta.k8s.io", "kind": "ListOptions"}
            assert about.items() <= answer.body["details"].items()
            assert answer.body["message"].startswith('ListOptions.meta.k8s.io "" is invalid: ')
        if code == 504:
            assert answer.causes[0]["reason"] == "ResourceVersionTooLarge"


async def test_what_the_platform_always_needs_is_not_deleted(admin: Client) -> None:
    hosts = "/apis/bunker.cloud/v1/hosts"
    for name in ("host", "other"):
        made = {"apiVersion": "bunker.cloud/v1", "kind": "Host", "metadata": {"name": name}}
        assert (await admin("POST", hosts, {**made, "spec": {}})).code == 201
    answer = await admin("DELETE", f"{hosts}/host")
    assert (answer.code, answer.body["reason"]) == (403, "Forbidden")
    assert "may not be deleted" in answer.body["message"]
    assert _names((await admin("DELETE", hosts)).body) == ["other"]
    assert _names((await admin("GET", hosts)).body) == ["host"]
    for name in ("default", "kube-system"):
        made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        await admin("POST", "/api/v1/namespaces", made)
        assert (await admin("DELETE", f"/api/v1/namespaces/{name}")).code == 403


async def test_a_large_list_is_not_kept_for_who_does_not_read_it(
    database: Database, tmp_path: Path
) -> None:
    write_s = 0.2
    async with (
        api_on(database, tmp_path, limits=Limits(write_s=write_s)) as served,
        client_of(served) as client,
    ):
        for number in range(8):
            made = await client("POST", CONFIGS, config(f"c{number}", a="x" * 900_000))
            assert made.code == 201
        async with deaf(served, CONFIGS) as reader:
            head = await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(3 * write_s)  # on the loop of the server, which looks before that
            got = 0
            with suppress(ConnectionError, ssl.SSLError):
                while piece := await reader.read(2**16):
                    got += len(piece)
    assert b"Content-Length: 72" in head
    assert got < 7_000_000


async def test_a_list_of_secrets_asks_for_many_keys_at_once(
    postgres_cluster: EmbeddedPostgres, database: Database, tmp_path: Path
) -> None:
    run, socket, number = str(postgres_cluster.home / "run"), ".s.PGSQL.5432", 100
    secrets = "/api/v1/namespaces/default/secrets"
    proxy = Proxy(f"{run}/{socket}")
    with tempfile.TemporaryDirectory(prefix="bunker-px-") as folder:
        through = Database(database.dsn.replace(run, folder))
        async with (
            proxy.listening(f"{folder}/{socket}"),
            api_on(through, tmp_path) as served,
            client_of(served, served.admin) as admin,
        ):
            for each in range(number):
                secret = {"metadata": {"name": f"s-{each:03}"}, "stringData": {"n": str(each)}}
                assert (await admin("POST", secrets, secret)).code == 201
            before = proxy.asked
            found = (await admin("GET", secrets)).body
            assert proxy.asked - before < number / 2
    values = [base64.b64decode(item["data"]["n"]).decode() for item in found["items"]]
    assert values == [str(each) for each in range(number)]
