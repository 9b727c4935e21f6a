"""Bad input: a clear Status error in under 200 ms, and nothing stored."""

import copy
import json
from typing import Any

import pytest

from tests.e2e import records
from tests.e2e.cloud import Answer, Cloud, Json, condition, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.docker]
LIMIT_S = 0.2
GOOD = records.redis("bad", "NS")


def changed(path: str, value: Any) -> Json:
    """The good record with one field set; "-" appended to the path's keys makes a new one."""
    record = copy.deepcopy(GOOD)
    *parents, last = path.split(".")
    place = record
    for key in parents:
        place = place.setdefault(key, {})
    place[last] = value
    return record


def post(cloud: Cloud, namespace: str, body: Json | bytes, **kwargs: Any) -> Answer:
    plural = kwargs.pop("plural", "databases")
    raw = json.dumps(body) if isinstance(body, dict) else body.decode()
    raw = raw.replace('"NS"', f'"{namespace}"')
    path = f"/apis/bunker.cloud/v1/namespaces/{namespace}/{plural}?fieldValidation=Strict"
    return cloud.call("POST", kwargs.pop("path", path), raw.encode(), **kwargs)


def refused(cloud: Cloud, namespace: str, answer: Answer, code: int, *words: str) -> None:
    assert answer.status == code, answer.body
    assert answer.body["kind"] == "Status"
    assert answer.body["status"] == "Failure"
    assert answer.body["code"] == code
    assert answer.body["reason"]
    for word in words:
        assert word in json.dumps(answer.body), (word, answer.body)
    assert answer.seconds < LIMIT_S, f"took {answer.seconds:.3f} s"
    stored = cloud.call("GET", f"/apis/bunker.cloud/v1/namespaces/{namespace}/databases")
    assert stored.body["items"] == []


CASES = [
    pytest.param("spec.colour", "red", 400, ("spec.colour",), id="unknown field"),
    pytest.param("spec.plan", 5, 422, ("spec.plan",), id="wrong type"),
    pytest.param("spec.storage", "-5Gi", 422, ("spec.storage", "-5Gi"), id="negative quantity"),
    pytest.param("spec.storage", "1.5Gi", 422, ("spec.storage", "1.5Gi"), id="float quantity"),
    pytest.param("spec.storage", 1.5, 422, ("spec.storage",), id="float number"),
    pytest.param(
        "spec.resources", {"cpu": "-1", "memory": "64Mi"}, 422, ("spec.resources.cpu",), id="cpu"
    ),
    pytest.param("spec.engine", "oracle", 422, ("spec.engine", "postgres"), id="unknown engine"),
    pytest.param("spec.version", "99", 422, ("version", "99"), id="unknown version"),
    pytest.param("metadata.name", "x" * 64, 422, ("metadata.name",), id="name too long"),
    pytest.param("metadata.name", "Not_A_Label", 422, ("metadata.name",), id="name not a label"),
    pytest.param("apiVersion", "bunker.cloud/v9", 400, ("bunker.cloud/v9",), id="wrong version"),
    pytest.param("apiVersion", "other.group/v1", 400, ("other.group/v1",), id="wrong group"),
    pytest.param("kind", "App", 400, ("App",), id="wrong kind for the path"),
    pytest.param("metadata.labels", {"a b": "c"}, 422, ("metadata.labels",), id="bad label"),
    pytest.param("metadata.namespace", "elsewhere", 400, ("namespace",), id="other namespace"),
]


@pytest.mark.parametrize(("path", "value", "code", "words"), CASES)
def test_wrong_field_is_refused(
    cloud: Cloud, namespace: str, path: str, value: object, code: int, words: tuple[str, ...]
) -> None:
    refused(cloud, namespace, post(cloud, namespace, changed(path, value)), code, *words)


def test_missing_required_field_is_refused(cloud: Cloud, namespace: str) -> None:
    record = copy.deepcopy(GOOD)
    del record["spec"]["engine"]
    refused(cloud, namespace, post(cloud, namespace, record), 422, "spec.engine")


def test_two_mebibytes_are_refused(cloud: Cloud, namespace: str) -> None:
    record = changed("metadata.annotations", {"big": "x" * 2 * 2**20})
    refused(cloud, namespace, post(cloud, namespace, record), 413)


def test_alias_bomb_is_refused(cloud: Cloud, namespace: str) -> None:
    levels = "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 10))
    bomb = f"l0: &l0 [lol]\n{levels}\nspec: *l9\n".encode()
    answer = post(cloud, namespace, bomb, content_type="application/yaml")
    refused(cloud, namespace, answer, 400, "alias")


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        pytest.param(
            "application/json",
            json.dumps(GOOD).replace('"engine":', '"engine": "redis", "engine":').encode(),
            id="json",
        ),
        pytest.param(
            "application/yaml",
            b"apiVersion: bunker.cloud/v1\nkind: Database\nmetadata: {name: bad}\n"
            b"spec:\n  engine: redis\n  engine: postgres\n",
            id="yaml",
        ),
    ],
)
def test_duplicate_key_is_refused(
    cloud: Cloud, namespace: str, content_type: str, body: bytes
) -> None:
    answer = post(cloud, namespace, body, content_type=content_type)
    refused(cloud, namespace, answer, 400, "engine")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"text"', b"\xff\xfe"])
def test_body_that_is_no_object_is_refused(cloud: Cloud, namespace: str, body: bytes) -> None:
    path = f"/apis/bunker.cloud/v1/namespaces/{namespace}/databases"
    refused(cloud, namespace, cloud.call("POST", path, body), 400)


def test_deep_nesting_is_refused(cloud: Cloud, namespace: str) -> None:
    body = b'{"spec":' + b'{"a":' * 5000 + b"1" + b"}" * 5001
    refused(cloud, namespace, post(cloud, namespace, body), 400)


@pytest.mark.parametrize("token", ["", "wrong", "x" * 4000])
def test_bad_token_is_refused(cloud: Cloud, namespace: str, token: str) -> None:
    refused(cloud, namespace, post(cloud, namespace, copy.deepcopy(GOOD), token=token), 401)


def test_unknown_namespace_is_refused(cloud: Cloud, namespace: str) -> None:
    path = "/apis/bunker.cloud/v1/namespaces/nowhere/databases"
    record = json.dumps(GOOD).replace('"NS"', '"nowhere"').encode()
    refused(cloud, namespace, cloud.call("POST", path, record), 404, "nowhere")


@pytest.mark.parametrize(
    "path", ["/apis/bunker.cloud/v1/things", "/apis/bunker.cloud/v9/databases", "/apis/x/v1/y"]
)
def test_unknown_resource_is_not_found(cloud: Cloud, namespace: str, path: str) -> None:
    refused(cloud, namespace, cloud.call("GET", path), 404)


def test_missing_reference_waits_and_names_it(cloud: Cloud, namespace: str) -> None:
    cloud.apply(records.app("web", namespace, databaseRefs=[{"name": "absent"}]))

    def waits() -> bool:
        ready = condition(cloud.get("app", "web", namespace) or {}, "Ready")
        return ready.get("status") == "False" and "absent" in ready["message"]

    eventually(waits, within_s=10, what="a condition that names what is missing")
    with cloud.engine() as engine:
        assert cloud.containers("web", namespace, engine=engine) == []
    cloud.apply(records.redis("absent", namespace))
    cloud.wait_ready("app", "web", namespace, within_s=40)


def test_kubectl_shows_the_fix(cloud: Cloud, namespace: str) -> None:
    manifest = json.dumps(changed("spec.storage", "1.5Gi")).replace('"NS"', f'"{namespace}"')
    out = cloud.kubectl("apply", "-f", "-", stdin=manifest, check=False)
    assert "spec.storage" in out
    assert "512Mi" in out or "10Gi" in out
