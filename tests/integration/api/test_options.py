"""What a write may be asked with, and what it must name: refused as Kubernetes refuses it."""

from typing import Any

import pytest

from tests.integration.api.client import Client
from tests.integration.api.conftest import APPS, CONFIGS, app_obj, config

pytestmark = pytest.mark.postgres

A = CONFIGS + "/a"
MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"
BOTH = "orphanDependents=True&propagationPolicy=Orphan"
NOT_SUPPORTED, FORBIDDEN = "FieldValueNotSupported", "FieldValueForbidden"

OPTIONS: list[Any] = [
    ("POST", CONFIGS, "dryRun=foo", "CreateOptions", "dryRun", NOT_SUPPORTED),
    ("POST", CONFIGS, "dryRun=All&dryRun=x", "CreateOptions", "dryRun", NOT_SUPPORTED),
    ("POST", CONFIGS, "dryRun=", "CreateOptions", "dryRun", NOT_SUPPORTED),
    ("POST", CONFIGS, "fieldValidation=Foo", "CreateOptions", "fieldValidation", NOT_SUPPORTED),
    ("PUT", A, "dryRun=foo", "UpdateOptions", "dryRun", NOT_SUPPORTED),
    ("PUT", A, "fieldManager=%00", "UpdateOptions", "fieldManager", "FieldValueInvalid"),
    ("PUT", A, "fieldManager=" + "x" * 129, "UpdateOptions", "fieldManager", "FieldValueTooLong"),
    ("PATCH", A, "fieldValidation=x", "PatchOptions", "fieldValidation", NOT_SUPPORTED),
    ("PATCH", A, "force=true", "PatchOptions", "force", FORBIDDEN),
    ("PATCH", APPS + "/a/scale", "force=false", "PatchOptions", "force", FORBIDDEN),
    ("DELETE", A, "dryRun=foo", "DeleteOptions", "dryRun", NOT_SUPPORTED),
    ("DELETE", A, "dryRun=", "DeleteOptions", "dryRun", NOT_SUPPORTED),
    ("DELETE", A, "propagationPolicy=x", "DeleteOptions", "propagationPolicy", NOT_SUPPORTED),
    ("DELETE", CONFIGS, "propagationPolicy=x", "DeleteOptions", "propagationPolicy", NOT_SUPPORTED),
    ("DELETE", A, BOTH, "DeleteOptions", "propagationPolicy", "FieldValueInvalid"),
    ("DELETE", CONFIGS, BOTH, "DeleteOptions", "propagationPolicy", "FieldValueInvalid"),
]


async def test_options_of_writes_that_are_refused(admin: Client) -> None:
    await admin("POST", CONFIGS, config("a", x="1"))
    await admin("POST", APPS, app_obj("a"))
    before = admin.served.cache.revision
    for method, path, query, kind, field, reason in OPTIONS:
        type_ = MERGE if method == "PATCH" else "application/json"
        body = None if method == "DELETE" else config("a") if path != APPS else {}
        answer = await admin(method, f"{path}?{query}", body, type=type_)
        assert (answer.code, answer.body["reason"]) == (422, "Invalid"), query
        assert answer.body["details"]["group"] == "meta.k8s.io"
        assert answer.body["details"]["kind"] == kind
        assert [(c["field"], c["reason"]) for c in answer.causes] == [(field, reason)]
        assert answer.body["message"].startswith(f'{kind}.meta.k8s.io "" is invalid: {field}: ')
    assert admin.served.cache.revision == before


async def test_applying_needs_a_manager(admin: Client) -> None:
    answer = await admin("PATCH", A, config("a"), type=APPLY)
    assert (answer.code, answer.body["details"]["kind"]) == (422, "PatchOptions")
    assert [(c["field"], c["reason"]) for c in answer.causes] == [
        ("fieldManager", "FieldValueRequired")
    ]


DELETES: list[Any] = [
    ({"preconditions": []}, 400),
    ({"preconditions": ""}, 400),
    ({"preconditions": False}, 400),
    ({"preconditions": {"uid": 7}}, 400),
    ({"preconditions": {"uid": "other"}}, 409),
    ({"preconditions": {"resourceVersion": 7}}, 400),
    ({"preconditions": {"resourceVersion": "x"}}, 400),
    ({"gracePeriodSeconds": "x"}, 400),
    ({"gracePeriodSeconds": True}, 400),
    ({"orphanDependents": "no"}, 400),
    ({"orphanDependents": True, "propagationPolicy": "Orphan"}, 422),
    ({"propagationPolicy": "Bogus"}, 422),
    ({"propagationPolicy": 7}, 422),
    ({"dryRun": ["x"]}, 422),
    ({"dryRun": [""]}, 422),
    ({"dryRun": ""}, 422),
    ({"dryRun": {}}, 422),
    ({"kind": "ConfigMap"}, 400),
    ([], 400),
]


async def test_delete_options_that_cannot_be_read_delete_nothing(admin: Client) -> None:
    await admin("POST", CONFIGS, config("a"))
    for body, code in DELETES:
        for path in (A, CONFIGS):
            answer = await admin("DELETE", path, body)
            assert (answer.code, answer.body["kind"]) == (code, "Status"), body
    for query in ("gracePeriodSeconds=x", "orphanDependents=x", "orphanDependents="):
        for path in (A, CONFIGS):
            assert (await admin("DELETE", f"{path}?{query}")).code == 400, query
    assert (await admin("GET", A)).code == 200
    fine = {"kind": "DeleteOptions", "gracePeriodSeconds": 0, "preconditions": None}
    assert (await admin("DELETE", A + "?gracePeriodSeconds=0", fine)).code == 200


@pytest.mark.parametrize("path", [A, CONFIGS])
@pytest.mark.parametrize(
    ("query", "body", "orphaned"),
    [
        ("True", None, True),  # as the Python client asks for it
        ("1", {"gracePeriodSeconds": 0}, True),
        ("false", None, False),
        ("true", {"orphanDependents": False}, False),
        ("false", {"propagationPolicy": "Orphan"}, True),
    ],
)
async def test_who_deletes_may_ask_by_query_to_keep_what_is_owned(
    admin: Client, path: str, query: str, body: Any, orphaned: bool
) -> None:
    held = config("a")
    held["metadata"]["finalizers"] = ["example.com/wait"]
    await admin("POST", CONFIGS, held)
    answer = await admin("DELETE", f"{path}?orphanDependents={query}", body)
    assert answer.code == 200
    marked = answer.body if path == A else answer.body["items"][0]
    kept = ["example.com/wait", *(["orphan"] if orphaned else [])]
    assert marked["metadata"]["finalizers"] == kept


async def test_a_collection_is_deleted_as_far_as_was_asked(admin: Client) -> None:
    for name in "abc":
        await admin("POST", CONFIGS, config(name))
    for query in (
        "limit=x",
        "resourceVersion=x",
        "continue=x",
        "timeoutSeconds=x",
        "resourceVersionMatch=Exact",
        "resourceVersion=999999999",
    ):
        assert (await admin("DELETE", f"{CONFIGS}?{query}")).code >= 400, query
    first = await admin("DELETE", CONFIGS + "?limit=1")
    assert [item["metadata"]["name"] for item in first.body["items"]] == ["a"]
    left = (await admin("GET", CONFIGS)).body["items"]
    assert [item["metadata"]["name"] for item in left] == ["b", "c"]
    assert (await admin("DELETE", "/api/v1/namespaces")).code == 405


@pytest.mark.parametrize(
    "body", [{}, {"metadata": {}}, {"metadata": {"name": ""}}, {"metadata": 7}]
)
async def test_who_replaces_a_record_names_it(admin: Client, body: Any) -> None:
    await admin("POST", CONFIGS, config("a", x="1"))
    answer = await admin("PUT", A, body)
    assert (answer.code, answer.body["reason"]) == (400, "BadRequest")
    assert "name must be provided" in answer.body["message"]
    assert (await admin("GET", A)).body["data"] == {"x": "1"}
