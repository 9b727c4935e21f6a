"""Writes of records that another release stored: its rules, its defaults, its fields."""

from typing import Any

import pytest

from controlplane.records import Key
from controlplane.store.records import Actor
from tests.integration.api.client import DATABASES, Client
from tests.integration.api.conftest import APPS, app_obj, database_obj

pytestmark = pytest.mark.postgres

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
BUCKETS = "/apis/bunker.cloud/v1/namespaces/default/buckets"


async def _stored_before(admin: Client, **metadata: Any) -> str:
    """A record that a rule of today refuses, and with a field of another release."""
    obj = {
        "apiVersion": "bunker.cloud/v1",
        "kind": "Bucket",
        "metadata": {"name": "old", "namespace": "default", **metadata},
        "spec": {"paused": True, "policy": "no policy", "gone": 1},
    }
    await admin.served.records.create("Bucket", obj, actor=Actor("test", "test"))
    return f"{BUCKETS}/old"


async def test_a_rule_that_came_later_keeps_no_metadata_from_being_changed(admin: Client) -> None:
    path = await _stored_before(admin, finalizers=["example.com/wait"])
    strict = "?fieldValidation=Strict"
    labels = {"metadata": {"labels": {"a": "b"}}}
    labelled = await admin("PATCH", path + strict, labels, type=MERGE)
    assert (labelled.code, labelled.body["metadata"]["labels"]) == (200, {"a": "b"})
    sent = {**labelled.body, "metadata": {**labelled.body["metadata"], "annotations": {"c": "d"}}}
    assert (await admin("PUT", path + strict, sent)).code == 200
    status = {"status": {"bucket": "x"}}
    assert (await admin("PATCH", f"{path}/status", status, type=MERGE)).code == 200
    assert (await admin("DELETE", path)).code == 200
    freed = await admin("PATCH", path, {"metadata": {"finalizers": None}}, type=MERGE)
    assert freed.code == 200
    assert (await admin("GET", path)).code == 404


def _owners(record: dict[str, Any], path: str) -> set[str]:
    """Managers with a field of that name in their part of the spec."""
    entries = record["metadata"]["managedFields"]
    return {e["manager"] for e in entries if path in e["fieldsV1"].get("f:spec", {})}


async def test_a_default_that_came_later_is_no_edit_and_nobodys(admin: Client) -> None:
    obj = app_obj()
    obj["metadata"]["namespace"] = "default"
    await admin.served.records.create("App", obj, actor=Actor("old", "old"))
    stored = admin.served.cache.get(Key("App", "default", "app"))
    assert stored is not None
    await admin.served.records.update(
        stored,
        {**stored.obj, "status": {"allocation": {"names": []}}},
        actor=Actor("agent", "agent"),
        subresource="engine",
        managed_fields=stored.managed_fields,
    )
    path = f"{APPS}/app"
    label = {"metadata": {"labels": {"a": "b"}}}
    labelled = (await admin("PATCH", path, label, type=MERGE)).body
    assert labelled["metadata"]["generation"] == 1
    assert labelled["spec"] == obj["spec"]
    assert labelled["status"]["allocation"] == {"names": []}
    turned = {"status": {"conditions": [{"type": "X", "status": "True", "reason": "R"}]}}
    turned = (await admin("PATCH", f"{path}/status", turned, type=MERGE)).body
    assert _owners(turned, "f:surge") == set()
    scaled = (await admin("PATCH", path, {"spec": {"replicas": 2}}, type=MERGE)).body
    assert (scaled["metadata"]["generation"], scaled["spec"]["surge"]) == (2, 0)
    assert "spec" in scaled["status"]["allocation"]
    assert (_owners(scaled, "f:surge"), _owners(scaled, "f:replicas")) == (set(), {"test"})
    applied = await admin("PATCH", f"{path}?fieldManager=me", app_obj(surge=1), type=APPLY)
    assert (applied.code, applied.body.get("message")) == (200, None)
    assert _owners(applied.body, "f:surge") == {"me"}


@pytest.mark.parametrize("section", ["spec", "status"])
async def test_a_field_that_was_dropped_since_lets_nothing_change_that_may_not(
    admin: Client, section: str
) -> None:
    """Any write takes it out of the spec: nobody can read the record until then."""
    obj = database_obj()
    obj["metadata"]["namespace"] = "default"
    actor = Actor("old", "old")
    old = await admin.served.records.create("Database", obj, actor=actor)
    gone = {**old.obj, section: {**old.obj.get(section, {}), "gone": 1}}
    subresource = "engine" if section == "status" else ""
    await admin.served.records.update(old, gone, actor=actor, subresource=subresource)
    path = f"{DATABASES}/{obj['metadata']['name']}"
    another = {"spec": {"engine": "redis" if obj["spec"]["engine"] == "postgres" else "postgres"}}
    assert (await admin("PATCH", path, another, type=MERGE)).code == 422
    assert "gone" in (await admin("GET", path)).body[section]
    label = {"metadata": {"labels": {"a": "b"}}}
    labelled = await admin("PATCH", path, label, type=MERGE)
    assert (labelled.code, "gone" in labelled.body["spec"]) == (200, False)
    assert (await admin("PATCH", path, another, type=MERGE)).code == 422


@pytest.mark.parametrize(
    ("patch", "path", "code", "field"),
    [
        ({"spec": {"versioning": True}}, "", 422, "spec.policy"),
        ({"spec": {"policy": "another"}}, "", 422, "spec.policy"),
        ({"metadata": {"labels": {"a": "not a label"}}}, "", 422, "metadata.labels"),
        ({"metadata": {"finalizers": ["a b"]}}, "", 422, "metadata.finalizers[0]"),
        ({"status": {"accessKeys": 1}}, "/status", 422, "status.accessKeys"),
        ({"spec": {"other": 1}}, "", 400, "spec.other"),
    ],
)
async def test_what_a_write_brings_is_held_to_every_rule(
    admin: Client, patch: dict[str, Any], path: str, code: int, field: str
) -> None:
    at = await _stored_before(admin)
    answer = await admin("PATCH", f"{at}{path}?fieldValidation=Strict", patch, type=MERGE)
    assert answer.code == code, answer.body
    assert [cause.get("field", "") for cause in answer.causes][:1] == [field]


async def test_a_record_that_a_later_rule_refuses_is_mended_by_an_edit(admin: Client) -> None:
    path = await _stored_before(admin)
    mended = await admin("PATCH", path, {"spec": {"policy": None}}, type=MERGE)
    assert mended.code == 200
    assert "policy" not in mended.body["spec"]
