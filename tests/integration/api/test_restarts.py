"""A Deployment takes one patch: a restart, which becomes a field of the App behind it."""

from typing import Any

import pytest

from api import records
from controlplane.access import Attempt, User, allowed
from tests.integration.api.client import Answer, Client
from tests.integration.api.conftest import APPS, app_obj

pytestmark = pytest.mark.postgres

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
STRATEGIC = "application/strategic-merge-patch+json"
MERGE = "application/merge-patch+json"
KEY = "kubectl.kubernetes.io/restartedAt"
FIELD = f"spec.template.metadata.annotations[{KEY}]"
NOON = "2026-01-31T12:00:00Z"
LATER = "2026-01-31T13:30:00+01:00"


def asked(when: object) -> dict[str, Any]:
    """What `kubectl rollout restart` sends."""
    return {"spec": {"template": {"metadata": {"annotations": {KEY: when}}}}}


async def restart(client: Client, body: object, type_: str = STRATEGIC, **query: Any) -> Answer:
    return await client("PATCH", f"{DEPLOYMENTS}/app", body, type=type_, **query)


@pytest.mark.parametrize("type_", [STRATEGIC, MERGE])
async def test_it_changes_the_app_and_is_told_as_a_deployment(editor: Client, type_: str) -> None:
    before = (await editor("POST", APPS, app_obj())).body
    done = await restart(editor, asked(NOON), type_, fieldManager="kubectl-rollout")
    assert done.code == 200
    assert done.body["kind"] == "Deployment"
    assert done.body["spec"]["template"]["metadata"]["annotations"] == {KEY: NOON}
    after = (await editor("GET", f"{APPS}/app")).body
    assert after["spec"] == {**before["spec"], "restartedAt": NOON}
    generation = before["metadata"]["generation"] + 1
    assert after["metadata"]["generation"] == generation
    assert done.body["metadata"]["generation"] == generation
    assert done.body["metadata"]["resourceVersion"] == after["metadata"]["resourceVersion"]
    assert (await editor("GET", f"{DEPLOYMENTS}/app")).body == done.body
    (owner,) = (
        entry
        for entry in after["metadata"]["managedFields"]
        if entry["manager"] == "kubectl-rollout"
    )
    assert owner["fieldsV1"] == {"f:spec": {"f:restartedAt": {}}}


async def test_the_same_restart_again_writes_nothing(admin: Client) -> None:
    await admin("POST", APPS, app_obj())
    first = await restart(admin, asked(NOON))
    assert (await restart(admin, asked(NOON))).body == first.body
    assert (await restart(admin, asked(LATER))).body["metadata"]["generation"] == 3


async def test_a_manifest_without_it_takes_nothing_back(admin: Client) -> None:
    async def apply() -> Answer:
        type_ = "application/apply-patch+yaml"
        return await admin("PATCH", f"{APPS}/app", app_obj(), type=type_, fieldManager="git")

    assert (await apply()).code == 201
    await restart(admin, asked(NOON))
    again = await apply()
    assert (again.code, again.body["spec"]["restartedAt"]) == (200, NOON)
    assert again.body["metadata"]["generation"] == 2


async def test_a_dry_run_tells_and_changes_nothing(admin: Client) -> None:
    before = (await admin("POST", APPS, app_obj())).body
    tried = await restart(admin, asked(NOON), dryRun="All")
    assert tried.code == 200
    assert tried.body["spec"]["template"]["metadata"]["annotations"] == {KEY: NOON}
    assert (await admin("GET", f"{APPS}/app")).body == before
    assert (await restart(admin, asked(NOON), dryRun="Yes")).code == 422


@pytest.mark.parametrize("when", ["now", "", None, 5, {}, [NOON], "2026-02-30T12:00:00Z"])
async def test_what_is_no_time_is_refused(admin: Client, when: object) -> None:
    await admin("POST", APPS, app_obj())
    answer = await restart(admin, asked(when))
    assert (answer.code, answer.body["reason"]) == (422, "Invalid")
    assert [cause["field"] for cause in answer.causes] == [FIELD]
    assert "RFC 3339" in answer.body["message"]


@pytest.mark.parametrize(
    ("more", "field"),
    [
        pytest.param({"metadata": {"labels": {"a": "b"}}}, "metadata", id="its metadata"),
        pytest.param({"spec": {**asked(NOON)["spec"], "replicas": 3}}, "spec.replicas", id="spec"),
        pytest.param(
            {"spec": {"template": {"spec": {"containers": [{"name": "app", "image": "y:1"}]}}}},
            "spec.template.spec",
            id="its image",
        ),
        pytest.param(
            {"spec": {"template": {"metadata": {"annotations": {KEY: NOON, "a": "b"}}}}},
            "spec.template.metadata.annotations.a",
            id="another annotation",
        ),
        pytest.param({"spec": {"paused": None}}, "spec.paused", id="null"),
        pytest.param({"$patch": "delete"}, "$patch", id="a directive"),
    ],
)
async def test_nothing_else_is_taken(admin: Client, more: dict[str, Any], field: str) -> None:
    before = (await admin("POST", APPS, app_obj())).body
    answer = await restart(admin, {**asked(NOON), **more})
    assert (answer.code, answer.body["reason"]) == (422, "Invalid")
    assert [(c["field"], c["reason"]) for c in answer.causes] == [(field, "FieldValueForbidden")]
    assert "change the App of the same name" in answer.body["message"]
    assert (await admin("GET", f"{APPS}/app")).body == before


@pytest.mark.parametrize("body", [{}, [], "x", 3, None, {"spec": []}, {"spec": {"template": 1}}])
async def test_a_patch_without_a_time_is_refused(admin: Client, body: object) -> None:
    await admin("POST", APPS, app_obj())
    answer = await restart(admin, body if body is not None else b"null")
    assert (answer.code, [cause["field"] for cause in answer.causes]) == (422, [FIELD])


@pytest.mark.parametrize(
    "type_", ["application/json-patch+json", "application/apply-patch+yaml", "text/plain"]
)
async def test_other_forms_of_patches_are_refused_too(admin: Client, type_: str) -> None:
    await admin("POST", APPS, app_obj())
    answer = await restart(admin, asked(NOON), type_)
    assert (answer.code, answer.body["reason"]) == (415, "UnsupportedMediaType")
    assert STRATEGIC in answer.body["message"]
    assert "change the App of the same name" in answer.body["message"]


async def test_other_writes_say_what_may_be_done(admin: Client) -> None:
    await admin("POST", APPS, app_obj())
    for method, path, allow in (
        ("PUT", f"{DEPLOYMENTS}/app", "GET, HEAD, PATCH"),
        ("DELETE", f"{DEPLOYMENTS}/app", "GET, HEAD, PATCH"),
        ("POST", DEPLOYMENTS, "GET, HEAD"),
        ("PATCH", "/api/v1/namespaces/default/pods/app-app-0", "GET, HEAD"),
    ):
        answer = await admin(method, path, {})
        assert (answer.code, answer.headers["Allow"]) == (405, allow)


async def test_there_must_be_an_app(admin: Client) -> None:
    answer = await restart(admin, asked(NOON))
    assert (answer.code, answer.body["reason"]) == (404, "NotFound")
    assert answer.body["details"]["kind"] == "deployments"


async def test_who_may_not_patch_may_not_restart(admin: Client, viewer: Client) -> None:
    await admin("POST", APPS, app_obj())
    answer = await restart(viewer, asked(NOON))
    assert answer.code == 403
    assert 'cannot patch resource "deployments" in API group "apps"' in answer.body["message"]


async def test_the_right_to_patch_the_app_is_needed_as_well(
    editor: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No role has the one right without the other so far: it is taken away here."""
    before = (await editor("POST", APPS, app_obj())).body

    def but_not_apps(user: User, attempt: Attempt) -> bool:
        return allowed(user, attempt) and (attempt.verb, attempt.resource) != ("patch", "apps")

    monkeypatch.setattr(records, "allowed", but_not_apps)
    answer = await restart(editor, asked(NOON))
    assert answer.code == 403
    assert 'cannot patch resource "apps" in API group "bunker.cloud"' in answer.body["message"]
    assert (await editor("GET", f"{APPS}/app")).body == before


async def test_clients_are_told_that_it_can_be_patched(admin: Client) -> None:
    listed = (await admin("GET", "/apis/apps/v1")).body["resources"]
    (row,) = (each for each in listed if each["name"] == "deployments")
    assert row["verbs"] == ["get", "list", "patch", "watch"]
    paths = (await admin("GET", "/openapi/v3/apis/apps/v1")).body["paths"]
    patch = paths["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
    assert set(patch["requestBody"]["content"]) == {STRATEGIC, MERGE}
    assert set(patch["responses"]) == {"200", "default"}
