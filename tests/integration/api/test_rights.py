"""Status and ownerReferences are rights of their own, and an owner must be there."""

from typing import Any

import pytest

from controlplane.records import Key
from controlplane.store.records import Actor
from tests.integration.api.client import Client
from tests.integration.api.conftest import APPS, CONFIGS, app_obj, config

pytestmark = pytest.mark.postgres

MERGE = "application/merge-patch+json"


def owned_by(owner: dict[str, Any], **other: Any) -> dict[str, Any]:
    ref = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        **other,
    }
    return {"metadata": {"name": "child", "ownerReferences": [ref]}}


async def test_editor_writes_records_but_neither_status_nor_owners(editor: Client) -> None:
    owner = (await editor("POST", APPS, app_obj("owner"))).body
    assert owner["metadata"]["uid"]
    status = await editor("PATCH", f"{APPS}/owner/status", {"status": {}}, type=MERGE)
    assert (status.code, status.body["reason"]) == (403, "Forbidden")
    child = {**config("child"), **owned_by(owner)}
    refused = await editor("POST", CONFIGS, child)
    assert refused.code == 403
    assert "configmaps/ownerreferences" in refused.body["message"]
    assert (await editor("POST", CONFIGS, config("child"))).code == 201
    refused = await editor("PATCH", f"{CONFIGS}/child", owned_by(owner), type=MERGE)
    assert refused.code == 403


async def test_operator_writes_both_and_an_editor_may_still_edit_the_rest(
    operator: Client, editor: Client
) -> None:
    owner = (await operator("POST", APPS, app_obj("owner"))).body
    ready = {"type": "Ready", "status": "True", "reason": "Told", "message": ""}
    patch = {"status": {"conditions": [ready]}}
    told = await operator("PATCH", f"{APPS}/owner/status", patch, type=MERGE)
    assert told.code == 200
    child = await operator("POST", CONFIGS, {**config("child"), **owned_by(owner)})
    assert child.code == 201
    edited = await editor("PATCH", f"{CONFIGS}/child", {"data": {"a": "b"}}, type=MERGE)
    assert edited.code == 200
    assert edited.body["metadata"]["ownerReferences"][0]["name"] == "owner"


async def test_nobody_writes_what_the_agent_believes_of_others(operator: Client) -> None:
    """Else a budget is escaped, a name taken, or the ingress sent somewhere."""
    served = operator.served
    await operator("POST", APPS, app_obj("owner"))
    stored = served.cache.get(Key("App", "default", "owner"))
    assert stored is not None
    held = {"cpu": "100m", "memory": "64Mi"}
    told = {**stored.obj, "status": {"allocation": held, "backends": ["10.201.0.2:80"]}}
    await served.records.update(stored, told, actor=Actor("agent", "agent"), subresource="status")
    forged = {"allocation": {"cpu": "0"}, "backends": ["10.200.0.9:8080"], "endpoint": "x:1"}
    for body in (forged, {"allocation": None, "backends": None}, None):
        patched = await operator("PATCH", f"{APPS}/owner/status", {"status": body}, type=MERGE)
        assert patched.code == 200
        status = patched.body["status"]
        assert (status["backends"], status["allocation"]["memory"]) == (["10.201.0.2:80"], "64Mi")
    now = (await operator("GET", f"{APPS}/owner")).body
    whole = {**now, "status": forged}
    replaced = (await operator("PUT", f"{APPS}/owner/status", whole)).body["status"]
    assert (replaced["endpoint"], replaced["backends"]) == ("x:1", ["10.201.0.2:80"])


async def test_a_condition_turned_at_a_time_or_says_none(operator: Client) -> None:
    await operator("POST", APPS, app_obj("owner"))

    async def told(time: object) -> tuple[int, list[str]]:
        ready = {"type": "Ready", "status": "True", "reason": "R", "lastTransitionTime": time}
        body = {"status": {"conditions": [ready]}}
        answer = await operator("PATCH", f"{APPS}/owner/status", body, type=MERGE)
        return answer.code, [] if answer.code == 200 else [c["field"] for c in answer.causes]

    field = "status.conditions[0].lastTransitionTime"
    for time in ("yesterday", "2026-01-31", "2026-01-31T12:00:00"):
        assert await told(time) == (422, [field])
    for sound in ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00.5+01:00", "", None):
        assert await told(sound) == (200, [])


async def test_a_status_stored_with_no_time_hinders_no_write(operator: Client) -> None:
    served = operator.served
    await operator("POST", APPS, app_obj("owner"))
    stored = served.cache.get(Key("App", "default", "owner"))
    assert stored is not None
    ready = {"type": "Ready", "status": "True", "reason": "R", "lastTransitionTime": "yesterday"}
    told = {**stored.obj, "status": {"conditions": [ready]}}
    await served.records.update(stored, told, actor=Actor("old", "old"), subresource="status")
    for path, body in (
        (f"{APPS}/owner/status", {"status": {"endpoint": "x:1"}}),
        (f"{APPS}/owner", {"spec": {"image": "x:2"}}),
    ):
        answer = await operator("PATCH", path, body, type=MERGE)
        assert answer.code == 200
        assert answer.body["status"]["conditions"] == [ready]


async def test_nobody_names_the_network_that_a_tenants_containers_join(admin: Client) -> None:
    """Not the engine's own, nor another tenant's."""
    where = "/api/v1/namespaces/default"
    body = {"status": {"network": "bridge", "phase": "Active"}}
    patched = await admin("PATCH", f"{where}/status", body, type=MERGE)
    assert patched.code == 200
    assert "network" not in patched.body["status"]


async def test_editor_has_no_business_outside_tenants_namespaces(editor: Client) -> None:
    where = APPS.replace("/default/", "/kube-system/")
    assert (await editor("POST", where, app_obj())).code == 403
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "more"}}
    assert (await editor("POST", "/api/v1/namespaces", space)).code == 403


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"uid": "00000000-0000-4000-8000-000000000000"}, "metadata.ownerReferences[0].uid"),
        ({"name": "nobody"}, "metadata.ownerReferences[0].name"),
        ({"kind": "Gadget"}, "metadata.ownerReferences[0].kind"),
        ({"apiVersion": "v1"}, "metadata.ownerReferences[0].kind"),
    ],
)
async def test_owner_that_is_not_there_is_refused(
    admin: Client, wrong: dict[str, str], field: str
) -> None:
    owner = (await admin("POST", APPS, app_obj("owner"))).body
    answer = await admin("POST", CONFIGS, {**config("child"), **owned_by(owner, **wrong)})
    assert answer.code == 422
    assert [cause["field"] for cause in answer.causes] == [field]
    assert (await admin("GET", f"{CONFIGS}/child")).code == 404


async def test_owner_of_another_namespace_is_refused(admin: Client) -> None:
    await admin("POST", "/api/v1/namespaces", {"metadata": {"name": "other"}})
    where = APPS.replace("/default/", "/other/")
    owner = (await admin("POST", where, app_obj("owner"))).body
    answer = await admin("POST", CONFIGS, {**config("child"), **owned_by(owner)})
    assert answer.code == 422
    assert "in namespace 'default'" in answer.body["message"]


async def test_reference_to_an_owner_that_went_can_stay_and_can_be_removed(admin: Client) -> None:
    owner = (await admin("POST", CONFIGS, config("owner"))).body
    held = owned_by(owner)
    held["metadata"]["finalizers"] = ["test/held"]
    assert (await admin("POST", CONFIGS, {**config("child"), **held})).code == 201
    await admin("DELETE", f"{CONFIGS}/owner?propagationPolicy=Orphan")
    edited = await admin("PATCH", f"{CONFIGS}/child", {"data": {"a": "b"}}, type=MERGE)
    assert edited.code == 200
    bare = {"metadata": {"ownerReferences": None, "finalizers": None}}
    assert (await admin("PATCH", f"{CONFIGS}/child", bare, type=MERGE)).code == 200
