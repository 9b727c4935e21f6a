"""Discovery, OpenAPI, reviews and read-only kinds over HTTP."""

import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.integration.api.client import Client, client_of
from tests.integration.api.server import Served

pytestmark = pytest.mark.postgres

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
ACCESS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
RULES = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
WHOAMI = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
TOKENS = "/apis/authentication.k8s.io/v1/tokenreviews"


@pytest.fixture
async def viewer(served: Served) -> AsyncIterator[Client]:
    """Somebody who may read."""
    async with client_of(served, served.viewer) as found:
        yield found


def attributes(verb: str, resource: str, **more: str) -> dict[str, Any]:
    return {"spec": {"resourceAttributes": {"verb": verb, "resource": resource, **more}}}


async def get_again(client: Client, path: str, etag: str) -> int:
    """The status of asking with If-None-Match."""
    context = ssl.create_default_context(cafile=str(client.served.ca))
    headers = {**client.headers, "If-None-Match": etag}
    url = client.served.url + path
    async with client.session.get(
        url, headers=headers, ssl=context, allow_redirects=False
    ) as answer:
        return answer.status


@pytest.mark.parametrize("path", ["/api", "/apis"])
async def test_aggregated_discovery_is_revalidated(client: Client, path: str) -> None:
    answer = await client("GET", path, accept=AGGREGATED)
    assert answer.headers["Content-Type"] == AGGREGATED
    assert answer.headers["Vary"] == "Accept"
    context = ssl.create_default_context(cafile=str(client.served.ca))
    headers = {**client.headers, "Accept": AGGREGATED, "If-None-Match": answer.headers["ETag"]}
    async with client.session.get(client.served.url + path, headers=headers, ssl=context) as again:
        assert again.status == 304


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/api", "APIVersions"),
        ("/apis", "APIGroupList"),
        ("/apis/bunker.cloud", "APIGroup"),
        ("/apis/bunker.cloud/v1", "APIResourceList"),
        ("/api/v1", "APIResourceList"),
    ],
)
async def test_legacy_discovery_is_plain_json(client: Client, path: str, kind: str) -> None:
    answer = await client("GET", path)
    assert (answer.code, answer.body["kind"]) == (200, kind)
    assert answer.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("path", ["/apis/nope", "/apis/bunker.cloud/v9", "/nope", "/api/v1/nope"])
async def test_unknown_paths_are_a_status(client: Client, path: str) -> None:
    answer = await client("GET", path)
    assert (answer.code, answer.body["kind"]) == (404, "Status")
    assert "details" in answer.body


async def test_discovery_nobody_can_read_is_406(client: Client) -> None:
    assert (await client("GET", "/apis", accept="text/html")).code == 406


async def test_discovery_needs_a_token(served: Served) -> None:
    async with client_of(served, "") as nobody:
        answer = await nobody("GET", "/apis")
        assert (answer.code, answer.body["reason"]) == (401, "Unauthorized")
        assert (await nobody("GET", "/version")).body["minor"] == "32"


async def test_every_published_document_is_there_under_its_hash(client: Client) -> None:
    index = (await client("GET", "/openapi/v3")).body["paths"]
    assert index.keys() >= {"api/v1", "apis/bunker.cloud/v1"}
    for entry in index.values():
        path, _, hashed = entry["serverRelativeURL"].partition("?hash=")
        answer = await client("GET", path, hash=hashed)
        assert answer.body["openapi"] == "3.0.0"
        assert "immutable" in answer.headers["Cache-Control"]
        assert await get_again(client, f"{path}?hash={hashed}", answer.headers["ETag"]) == 304
        assert await get_again(client, f"{path}?hash=OLD", "") == 301


async def test_v2_is_json_or_protobuf_as_asked(client: Client) -> None:
    assert (await client("GET", "/openapi/v2")).body["swagger"] == "2.0"
    answer = await client("GET", "/openapi/v2", accept=f"{PROTOBUF},application/json")
    # with the `@` of the request Go's mime package, and so kubectl, can't read the answer
    assert answer.headers["Content-Type"] == PROTOBUF.replace("@", ".")
    assert answer.body.startswith(b"\x0a\x032.0")
    assert (await client("GET", "/openapi/v2", accept="text/html")).code == 406


async def test_who_am_i(client: Client, viewer: Client) -> None:
    answer = await client("POST", WHOAMI, {})
    assert answer.code == 201
    assert answer.body["status"]["userInfo"]["username"] == "admin"
    found = (await viewer("POST", WHOAMI, {})).body["status"]["userInfo"]
    assert "bunker:viewers" in found["groups"]


@pytest.mark.parametrize(
    ("verb", "resource", "may"),
    [("get", "configmaps", True), ("get", "secrets", False), ("delete", "configmaps", False)],
)
async def test_access_review_says_what_would_happen(
    viewer: Client, verb: str, resource: str, may: bool
) -> None:
    answer = await viewer("POST", ACCESS, attributes(verb, resource, namespace="default"))
    assert answer.body["status"]["allowed"] is may
    path = f"/api/v1/namespaces/default/{resource}"
    done = await viewer({"get": "GET", "delete": "DELETE"}[verb], f"{path}/nope")
    assert (done.code != 403) is may


@pytest.mark.parametrize(
    ("group", "resource", "may"),
    [("", "namespaces", False), ("bunker.cloud", "volumes", False), ("", "secrets", True)],
)
async def test_what_is_in_no_namespace_is_reviewed_without_one(
    editor: Client, group: str, resource: str, may: bool
) -> None:
    # kubectl auth can-i names its current namespace in any case
    asked = attributes("delete", resource, group=group, namespace="default")
    assert (await editor("POST", ACCESS, asked)).body["status"]["allowed"] is may


@pytest.mark.parametrize(
    ("verb", "path", "may"),
    [("get", "/metrics", True), ("get", "/openapi/v3", True), ("post", "/metrics", False)],
)
async def test_access_review_of_paths(viewer: Client, verb: str, path: str, may: bool) -> None:
    body = {"spec": {"nonResourceAttributes": {"verb": verb, "path": path}}}
    answer = await viewer("POST", ACCESS, body)
    assert answer.body["status"]["allowed"] is may


@pytest.mark.parametrize("body", [{}, {"spec": 7}, attributes("get", 7)])  # type: ignore[arg-type]  # wrong on purpose
async def test_bad_access_reviews_are_refused(viewer: Client, body: Any) -> None:
    assert (await viewer("POST", ACCESS, body)).code == 400


async def test_rules_review_lists_what_the_role_allows(client: Client, viewer: Client) -> None:
    body = {"spec": {"namespace": "default"}}
    (everything,) = (await client("POST", RULES, body)).body["status"]["resourceRules"]
    assert everything["verbs"] == ["*"]
    rules = (await viewer("POST", RULES, body)).body["status"]["resourceRules"]
    by_resource = {rule["resources"][0]: rule["verbs"] for rule in rules}
    assert by_resource["databases"] == ["get", "list", "watch"]
    assert "secrets" not in by_resource


async def test_rules_review_is_about_the_namespace_it_names(editor: Client) -> None:
    verbs = {}
    for namespace in ("default", "kube-system"):
        answer = await editor("POST", RULES, {"spec": {"namespace": namespace}})
        for rule in answer.body["status"]["resourceRules"]:
            verbs[namespace, rule["resources"][0]] = rule["verbs"]
    assert "create" in verbs["default", "apps"]
    assert "get" in verbs["default", "secrets"]
    assert verbs["default", "namespaces"] == ["get", "list", "watch"]
    assert verbs["default", "quotas"] == ["get", "list", "watch"]
    assert verbs["default", "pods"] == ["get", "list", "watch"]
    assert verbs["kube-system", "apps"] == ["get", "list", "watch"]
    assert ("kube-system", "secrets") not in verbs


async def test_token_review_is_for_administrators_and_oneself(
    client: Client, viewer: Client
) -> None:
    served = client.served
    ask = {"spec": {"token": served.viewer}}
    answer = (await client("POST", TOKENS, ask)).body["status"]
    assert (answer["authenticated"], answer["user"]["username"]) == (True, "viewer")
    assert (await viewer("POST", TOKENS, ask)).body["status"]["authenticated"] is True
    assert (await viewer("POST", TOKENS, {"spec": {"token": served.admin}})).code == 403
    unknown = await client("POST", TOKENS, {"spec": {"token": "x" * 43}})
    assert unknown.body["status"]["authenticated"] is False
    assert (await client("POST", TOKENS, {"spec": {}})).code == 400


async def test_definitions_are_read_only(client: Client) -> None:
    listed = (await client("GET", CRDS)).body
    assert "databases.bunker.cloud" in {item["metadata"]["name"] for item in listed["items"]}
    one = await client("GET", f"{CRDS}/databases.bunker.cloud")
    assert one.body["spec"]["names"]["kind"] == "Database"
    assert (await client("GET", f"{CRDS}/nope.bunker.cloud")).code == 404
    assert (await client("DELETE", f"{CRDS}/databases.bunker.cloud")).code == 405
    table = (await client("GET", CRDS, accept=TABLE)).body
    assert table["columnDefinitions"][1]["name"] == "Created At"


@pytest.mark.parametrize(
    "path", ["/api/v1/pods", "/api/v1/namespaces/default/pods", "/api/v1/services"]
)
async def test_pods_and_services_are_empty_lists(client: Client, path: str) -> None:
    answer = await client("GET", path, labelSelector="kubernetes.io/cluster-service=true")
    assert (answer.code, answer.body["items"]) == (200, [])
    assert (await client("POST", path, {})).code == 405


async def test_bad_include_object_is_refused(client: Client) -> None:
    answer = await client("GET", "/api/v1/namespaces", accept=TABLE, includeObject="All")
    assert (answer.code, answer.body["reason"]) == (400, "BadRequest")


@pytest.mark.parametrize("name", ["a%0Ab", "a%00b", "..%2f..", "%ff", "a%20b"])
async def test_odd_names_in_a_path_are_a_status_too(client: Client, name: str) -> None:
    answer = await client("GET", f"/apis/bunker.cloud/v1/namespaces/default/apps/{name}")
    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.code in (400, 404)


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH"])
async def test_who_scales_a_deployment_is_told_to_scale_the_app(
    client: Client, method: str
) -> None:
    path = "/apis/apps/v1/namespaces/default/deployments/shop/scale"
    answer = await client(method, path, None if method == "GET" else {})
    assert (answer.code, answer.body["reason"]) == (405, "MethodNotAllowed")
    assert "kubectl scale app" in answer.body["message"]
