"""What surrounds the records: tokens, probes, errors everywhere, bounds, bad input in time."""

import asyncio
import json
import shutil
import ssl
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from api.context import Limits
from controlplane.access import ADMINS
from controlplane.store.connect import Database
from controlplane.store.embedded import EmbeddedPostgres
from controlplane.store.migrate import ensure_schema
from tests.integration.api.client import DATABASES, Client, client_of
from tests.integration.api.conftest import CONFIGS, config, database_obj
from tests.integration.api.server import api_on
from tests.support.costs import python_calls

pytestmark = pytest.mark.postgres


async def test_probes_need_no_token_and_metrics_do(admin: Client) -> None:
    nobody = Client(admin.served, admin.session, "")
    for path in ("/healthz", "/livez", "/readyz"):
        assert (await nobody("GET", path)).body == "ok"
        assert (await nobody("HEAD", path)).code == 200
    assert "[+]store ok" in (await nobody("GET", "/readyz?verbose")).body
    assert (await nobody("GET", "/version")).body["minor"] == "32"
    assert (await nobody("GET", "/metrics")).code == 401
    await admin("POST", CONFIGS, config("very-own-name"))
    text = (await admin("GET", "/metrics")).body
    assert (
        'api_request_duration_seconds_count{code="201",resource="configmaps",verb="CREATE"} 1.0'
        in text
    )
    assert "very-own-name" not in text


async def test_how_long_a_watch_is_open_is_no_time_to_answer(admin: Client) -> None:
    watching = f"{CONFIGS}?watch=true&timeoutSeconds=1"
    assert (await admin("GET", watching)).code == 200
    assert (await admin("GET", f"{watching}&resourceVersion=x")).code == 400
    text = (await admin("GET", "/metrics")).body
    counted = [line for line in text.splitlines() if "_seconds_count" in line and "WATCH" in line]
    assert ['code="400"' in line for line in counted] == [True]


EVERY_ERROR_IS_A_STATUS: list[Any] = [
    ("GET", "/nope", 404),
    ("GET", "/api/v1/nope", 404),
    ("GET", "/apis/nope/v1/x", 404),
    ("POST", "/healthz", 405),
    ("POST", DATABASES.replace("/namespaces/default", ""), 405),
    ("PUT", DATABASES, 405),
    ("OPTIONS", CONFIGS, 405),
    ("GET", "//", 200),
]


async def test_every_error_is_a_status(admin: Client) -> None:
    for method, path, code in EVERY_ERROR_IS_A_STATUS:
        answer = await admin(method, path)
        assert answer.code == code
        if code >= 400:
            assert answer.body["kind"] == "Status"
            assert answer.body["code"] == code
            assert isinstance(answer.body["details"], dict)


async def test_nothing_is_told_without_a_token(admin: Client) -> None:
    for token in ("", "wrong", "x" * 5000):
        nobody = Client(admin.served, admin.session, token)
        for path in ("/", "/api", CONFIGS, "/nope", "/openapi/v3", CONFIGS + "?watch=1"):
            answer = await nobody("GET", path)
            assert (answer.code, answer.body["reason"]) == (401, "Unauthorized")


@pytest.mark.parametrize("header", ["Impersonate-User", "Impersonate-Group", "impersonate-uid"])
async def test_nobody_acts_as_somebody_else(admin: Client, header: str) -> None:
    await admin("POST", CONFIGS, config("kept"))
    answer = await admin("DELETE", CONFIGS + "/kept", headers={header: "nobody"})
    assert (answer.code, answer.body["reason"]) == (403, "Forbidden")
    assert (await admin("GET", CONFIGS + "/kept")).code == 200
    for path, code in (("/api", 200), ("/openapi/v3", 200), ("/version", 200), ("/metrics", 403)):
        assert (await admin("GET", path, headers={header: "nobody"})).code == code


async def test_a_viewer_reads_and_writes_nothing(admin: Client, viewer: Client) -> None:
    await admin("POST", DATABASES, database_obj())
    assert (await viewer("GET", DATABASES + "/db")).code == 200
    refused = await viewer("DELETE", DATABASES + "/db")
    assert (refused.code, refused.body["reason"]) == (403, "Forbidden")
    assert 'User "viewer" cannot delete resource "databases"' in refused.body["message"]
    for method, path in (
        ("POST", DATABASES),
        ("PUT", DATABASES + "/db"),
        ("PATCH", DATABASES + "/db"),
        ("PUT", DATABASES + "/db/status"),
        ("DELETE", DATABASES),
    ):
        assert (await viewer(method, path, database_obj())).code == 403


async def test_a_revoked_token_ends_its_watch_and_is_worthless(admin: Client) -> None:
    access = admin.served.ctx.access
    token = await access.issue("temp", (ADMINS,), ttl=timedelta(hours=1))
    temp = Client(admin.served, admin.session, token)
    headers = {"Authorization": f"Bearer {token}"}
    async with admin.session.get(admin.served.url + CONFIGS + "?watch=1", headers=headers) as watch:
        assert watch.status == 200
        await access.revoke(token)
        async with asyncio.timeout(5):
            while await watch.content.readline():
                pass
    assert (await temp("GET", CONFIGS)).code == 401


BAD_INPUT: dict[str, tuple[str, bytes, int, str]] = {
    "unknown engine": (
        DATABASES,
        json.dumps(database_obj(engine="oracle")).encode(),
        422,
        "spec.engine",
    ),
    "negative quantity": (
        DATABASES,
        json.dumps(database_obj(storage="-1Gi")).encode(),
        422,
        "spec.storage",
    ),
    "float quantity": (
        DATABASES,
        json.dumps(database_obj(storage=1.5)).encode(),
        422,
        "spec.storage",
    ),
    "wrong type": (DATABASES, json.dumps(database_obj(plan=[])).encode(), 422, "spec.plan"),
    "unknown version": (DATABASES, json.dumps(database_obj(version="99")).encode(), 422, "version"),
    "name too long": (DATABASES, json.dumps(database_obj("a" * 64)).encode(), 422, "metadata.name"),
    "name with CRLF": (
        DATABASES,
        json.dumps(database_obj("a\r\nb")).encode(),
        422,
        "metadata.name",
    ),
    "no name": (DATABASES, b'{"spec":{"engine":"redis"}}', 422, "metadata.name"),
    "wrong group": (
        DATABASES,
        b'{"apiVersion":"other/v1","metadata":{"name":"a"}}',
        400,
        "apiVersion",
    ),
    "duplicate keys": (
        CONFIGS,
        b'{"metadata":{"name":"a"},"data":{"x":"1","x":"2"}}',
        400,
        "duplicate key",
    ),
    "deep": (CONFIGS, b'{"a":' * 5000 + b"1" + b"}" * 5000, 400, "deeper"),
    "not JSON": (CONFIGS, b"{", 400, "not JSON"),
    "5,000 digits": (CONFIGS, b'{"data":{"a":' + b"1" * 5000 + b"}}", 400, "64 bits"),
    "empty": (CONFIGS, b"", 400, "empty"),
    "a list": (CONFIGS, b"[]", 400, "a list"),
    "null": (CONFIGS, b"null", 400, "null"),
    "null metadata": (CONFIGS, b'{"metadata":null}', 400, "metadata"),
    "2 MiB": (CONFIGS, b" " * (2 << 20), 413, "larger than"),
    "number as label": (
        CONFIGS,
        b'{"metadata":{"name":"a","labels":{"a":1}}}',
        422,
        "metadata.labels.a",
    ),
    "labels no map": (CONFIGS, b'{"metadata":{"name":"a","labels":[1]}}', 422, "metadata.labels"),
    "name a number": (CONFIGS, b'{"metadata":{"name":1}}', 422, "metadata.name"),
    "owner without uid": (
        CONFIGS,
        b'{"metadata":{"name":"a","ownerReferences":[{"kind":"X"}]}}',
        422,
        "metadata.ownerReferences[0]",
    ),
    "finalizers no list": (
        CONFIGS,
        b'{"metadata":{"name":"a","finalizers":7}}',
        422,
        "metadata.finalizers",
    ),
}


async def _calls_of_creates(admin: Client) -> int:
    """Of Python functions, here and in the server: the most that one takes once all is loaded."""
    counts = []
    for path, made in ((CONFIGS, config), (DATABASES, database_obj)):
        assert (await admin("POST", path, made("first"))).code == 201
        with python_calls() as took:
            assert (await admin("POST", path, made("second"))).code == 201
        counts.append(took.calls)
    return max(counts)


async def test_bad_input_is_a_clear_status_in_time(admin: Client) -> None:
    usual = await _calls_of_creates(admin)
    before = admin.served.cache.revision
    for case, (path, raw, code, told) in BAD_INPUT.items():
        with python_calls() as took:
            answer = await admin("POST", path, raw)
        # most take less than a create; longer bodies come in more pieces
        assert took.calls < 3 * usual, case
        assert answer.code == code, case
        assert answer.body["kind"] == "Status", case
        assert told in answer.body["message"] + json.dumps(answer.causes), case
    assert admin.served.cache.revision == before


def _protobuf(kind: str) -> bytes:
    """An empty object: an envelope with apiVersion and kind."""
    types = b"\x0a\x02v1\x12" + bytes([len(kind)]) + kind.encode()
    return b"k8s\x00\x0a" + bytes([len(types)]) + types


MEDIA_TYPES: list[Any] = [
    ("text/plain", b"x", 415),
    ("application/x-www-form-urlencoded", b"a=b", 415),
    ("application/yaml", b"metadata: {name: y}\ndata: {a: b}\n", 201),
    ("application/yaml", b"a: &x 1\nb: *x\n", 400),
    ("application/vnd.kubernetes.protobuf", b"k8s\x00garbage", 400),
    ("application/vnd.kubernetes.protobuf", _protobuf("Pod"), 415),
    ("application/json; charset=utf-8", b'{"metadata":{"name":"y"}}', 201),
]


async def test_media_types(admin: Client) -> None:
    for type_, raw, code in MEDIA_TYPES:
        assert (await admin("POST", CONFIGS, raw, type=type_)).code == code, type_
        await admin("DELETE", CONFIGS + "/y")


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_kinds_of_our_own_have_no_protobuf(admin: Client, method: str) -> None:
    await admin.create("y")
    path = DATABASES if method == "POST" else DATABASES + "/y"
    type_ = "application/vnd.kubernetes.protobuf"
    for raw in (_protobuf("Database"), _protobuf("ConfigMap"), b"garbage"):
        answer = await admin(method, path, raw, type=type_)
        assert (answer.code, answer.body["reason"]) == (415, "UnsupportedMediaType")
        assert answer.body["message"].endswith("application/json, application/yaml")
    gone = await admin("DELETE", DATABASES + "/y", _protobuf("DeleteOptions"), type=type_)
    assert gone.code == 200


@pytest.mark.parametrize(
    ("header", "code"), [(b"Authorization: Bearer \xff", 401), (b"Content-Type: text/\xff", 415)]
)
async def test_headers_that_are_not_utf8_get_a_status(
    admin: Client, header: bytes, code: int
) -> None:
    token = b"Authorization: Bearer %b" % admin.served.admin.encode()
    request = b"POST %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" % CONFIGS.encode()
    answer = await _raw(
        admin, request + b"%b\r\n%b\r\nContent-Length: 1\r\n\r\nx" % (header, token)
    )
    assert answer == code


async def _raw(admin: Client, request: bytes) -> int:
    """The code of the Status that answers these bytes."""
    url = urlsplit(admin.served.url)
    context = ssl.create_default_context(cafile=str(admin.served.ca))
    reader, writer = await asyncio.open_connection(url.hostname, url.port, ssl=context)
    try:
        writer.write(request)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
    status = json.loads(body)
    assert head.split()[1] == str(status["code"]).encode()
    assert (status["kind"], status["status"]) == ("Status", "Failure")
    return int(status["code"])


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        pytest.param(b"GET /api?%b HTTP/1.1\r\nHost: x\r\n\r\n", 431, id="request line"),
        pytest.param(b"GET /api HTTP/1.1\r\nHost: x\r\nX: %b\r\n\r\n", 431, id="value"),
        pytest.param(b"GET /api HTTP/1.1\r\nHost: x\r\n%b: x\r\n\r\n", 431, id="header"),
        pytest.param(b"%b\r\n\r\n", 400, id="no HTTP"),
    ],
)
async def test_what_is_too_long_or_no_request_gets_a_status(
    admin: Client, request_: bytes, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    assert await _raw(admin, request_ % (b"x" * 17_000)) == code
    assert "xxxx" not in caplog.text  # it may be a token


async def test_a_body_that_is_not_encoded_as_said_is_a_bad_request(admin: Client) -> None:
    answer = await admin("POST", CONFIGS, b"{}", headers={"Content-Encoding": "gzip"})
    assert (answer.code, answer.body["reason"]) == (400, "BadRequest")


async def test_an_answer_nobody_can_serve_is_not_acceptable(admin: Client) -> None:
    for accept, code in (("text/html", 406), ("text/html,*/*", 200), ("application/yaml", 406)):
        assert (await admin("GET", CONFIGS, headers={"Accept": accept})).code == code


async def test_a_body_that_never_ends_is_cut_off(
    database: Database, tmp_path: Path, admin: Client
) -> None:
    limits = Limits(body_timeout_s=0.3, concurrency=2)
    async with api_on(database, tmp_path / "second", limits=limits) as served:

        async def drip() -> Any:
            yield b"{"
            await asyncio.sleep(1.0)

        headers = {"Authorization": f"Bearer {served.admin}", "Content-Type": "application/json"}
        async with admin.session.post(
            served.url + CONFIGS, data=drip(), headers=headers, ssl=False
        ) as slow:
            assert slow.status == 408
            assert (await slow.json())["kind"] == "Status"


async def test_store_away_is_503_with_retry_after_and_passes_by_itself(tmp_path: Path) -> None:
    cluster = EmbeddedPostgres(Path(tempfile.mkdtemp(prefix="bunker-pg-")) / "postgres")
    try:
        await asyncio.to_thread(cluster.start)
        await ensure_schema(Database(cluster.dsn))
        async with api_on(Database(cluster.dsn), tmp_path) as served, client_of(served) as admin:
            await _outage(admin, cluster)
    finally:
        await asyncio.to_thread(cluster.destroy)
        shutil.rmtree(cluster.home.parent, ignore_errors=True)


async def _outage(admin: Client, cluster: EmbeddedPostgres) -> None:
    await admin("POST", CONFIGS, config("a"))
    await asyncio.to_thread(cluster.stop)
    for method, path, body in (
        ("GET", CONFIGS + "/a", None),
        ("GET", CONFIGS, None),
        ("POST", CONFIGS, config("b")),
        ("PUT", CONFIGS + "/a", config("a", x="1")),
        ("DELETE", CONFIGS + "/a", None),
    ):
        async with asyncio.timeout(20):
            answer = await admin(method, path, body)
        assert (answer.code, answer.body["reason"]) == (503, "ServiceUnavailable"), method
        assert int(answer.headers["Retry-After"]) >= 1
    assert (await admin("GET", "/readyz")).code == 503
    assert (await admin("GET", "/livez")).code == 200
    await asyncio.to_thread(cluster.start)
    for _ in range(100):
        if (await admin("POST", CONFIGS, config("c"))).code == 201:
            break
        await asyncio.sleep(0.2)
    assert (await admin("GET", CONFIGS + "/c")).code == 200


async def test_what_cannot_be_answered_is_not_done(admin: Client) -> None:
    made = config("unseen", a="1")
    yaml, table = "application/yaml", "application/json;as=Table;v=v1;g=meta.k8s.io"
    assert (await admin("POST", CONFIGS, made, accept=yaml)).code == 406
    assert (await admin("POST", CONFIGS, made, accept=table, includeObject="All")).code == 400
    assert (await admin("GET", f"{CONFIGS}/unseen")).code == 404
    assert (await admin("POST", CONFIGS, made)).code == 201
    where, changed = f"{CONFIGS}/unseen", {"data": {"a": "2"}}
    merge = "application/merge-patch+json"
    assert (await admin("PATCH", where, changed, type=merge, accept=yaml)).code == 406
    assert (await admin("DELETE", where, accept=yaml)).code == 406
    assert (await admin("GET", where)).body["data"] == {"a": "1"}
