"""A Bucket's policy that shuts the platform out: refused by every way that brings one, and no
hindrance where it is stored from before."""

from typing import Any

import orjson
import pytest

from controlplane.store.records import Actor
from tests.integration.api.client import Answer, Client

pytestmark = pytest.mark.postgres

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
JSON = "application/json-patch+json"
BUCKETS = "/apis/bunker.cloud/v1/namespaces/default/buckets"


async def _apply(admin: Client, obj: dict[str, Any]) -> Answer:
    path = f"{BUCKETS}/{obj['metadata']['name']}?fieldManager=me&force=true"
    return await admin("PATCH", path, obj, type=APPLY)


def _shut(sid: str) -> str:
    """A policy that keeps the platform itself out of the bucket."""
    statement = {"Sid": sid, "Effect": "Deny", "Principal": "*", "Action": "s3:*"}
    return orjson.dumps(
        {"Statement": [{**statement, "Resource": "arn:aws:s3:::default-old"}]}
    ).decode()


async def test_a_policy_from_before_hinders_no_other_edit_and_no_way_brings_a_new_one(
    admin: Client,
) -> None:
    obj: dict[str, Any] = {
        "apiVersion": "bunker.cloud/v1",
        "kind": "Bucket",
        "metadata": {"name": "old", "namespace": "default"},
        "spec": {"paused": True, "policy": _shut("a")},
    }
    refused = [
        await admin("POST", BUCKETS, obj),
        await _apply(admin, obj),
    ]
    await admin.served.records.create("Bucket", obj, actor=Actor("test", "test"))
    path = f"{BUCKETS}/old"
    patch = {"metadata": {"labels": {"a": "b"}}, "spec": {"quota": "1Gi", "forceDelete": True}}
    edited = await admin("PATCH", path, patch, type=MERGE)
    assert edited.code == 200, edited.body
    assert edited.body["spec"]["forceDelete"] is True
    spec = {**edited.body["spec"], "deletionPolicy": "Delete"}
    edited = await admin("PUT", path, {**edited.body, "spec": spec})
    assert (edited.code, edited.body["spec"]["deletionPolicy"]) == (200, "Delete")
    only = {**obj, "spec": {"versioning": True}}
    applied = await _apply(admin, only)
    assert (applied.code, applied.body["spec"]["versioning"]) == (200, True)
    # what may not change is held to, too
    moved = await admin("PATCH", path, {"spec": {"server": "other"}}, type=MERGE)
    assert (moved.code, moved.causes[0]["field"]) == (422, "spec.server")
    change = {"spec": {"policy": _shut("b")}}
    step = [{"op": "replace", "path": "/spec/policy", "value": _shut("b")}]
    refused += [
        await admin("PATCH", path, change, type=MERGE),
        await admin("PATCH", path, step, type=JSON),
        await admin("PUT", path, {**applied.body, "spec": {**spec, **change["spec"]}}),
        await _apply(admin, {**obj, **change}),
    ]
    assert [(each.code, each.causes[0]["field"]) for each in refused] == [(422, "spec.policy")] * 6
    assert (await admin("PATCH", path, {"spec": {"policy": None}}, type=MERGE)).code == 200
    assert (await admin("PATCH", path, {"spec": {"policy": _shut("a")}}, type=MERGE)).code == 422
