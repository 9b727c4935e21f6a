"""Create, read, update, delete over TLS."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from api.context import Limits
from controlplane.records import Key
from controlplane.store.connect import Database
from controlplane.store.keys import StoredKeys
from controlplane.store.records import Actor
from tests.integration.api.client import DATABASES, Client, client_of
from tests.integration.api.conftest import APPS, CONFIGS, SECRETS, app_obj, config, database_obj
from tests.integration.api.server import api_on

pytestmark = pytest.mark.postgres


async def test_create_answers_201_with_what_the_server_owns(admin: Client) -> None:
    sent = database_obj()
    sent["metadata"] |= {
        "uid": "mine",
        "generation": 7,
        "creationTimestamp": "2020-01-01T00:00:00Z",
    }
    sent["status"] = {"endpoint": "forged"}
    made = await admin("POST", DATABASES, sent)
    assert made.code == 201
    meta = made.body["metadata"]
    assert meta["uid"] != "mine"
    assert meta["generation"] == 1
    assert meta["namespace"] == "default"
    assert meta["resourceVersion"].isdecimal()
    assert "status" not in made.body
    assert made.body["spec"]["deletionPolicy"] == "Retain"
    assert meta["managedFields"][0]["manager"] == "test"
    read = await admin("GET", DATABASES + "/db")
    assert read.body == made.body


async def test_create_twice_is_already_exists(admin: Client) -> None:
    await admin("POST", CONFIGS, config("a"))
    again = await admin("POST", CONFIGS, config("a"))
    assert (again.code, again.body["reason"]) == (409, "AlreadyExists")
    assert again.body["message"] == 'configmaps "a" already exists'
    assert again.body["details"] == {"name": "a", "kind": "configmaps"}


async def test_create_in_a_namespace_that_is_missing_or_going(admin: Client) -> None:
    missing = await admin("POST", "/api/v1/namespaces/nope/configmaps", config("a"))
    assert (missing.code, missing.body["message"]) == (404, 'namespaces "nope" not found')
    namespace = {"metadata": {"name": "going"}}
    assert (await admin("POST", "/api/v1/namespaces", namespace)).code == 201
    held = config("held")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    assert (await admin("POST", "/api/v1/namespaces/going/configmaps", held)).code == 201
    gone = await admin("DELETE", "/api/v1/namespaces/going")
    assert gone.body["status"]["phase"] == "Terminating"
    refused = await admin("POST", "/api/v1/namespaces/going/configmaps", config("late"))
    assert (refused.code, refused.body["reason"]) == (403, "Forbidden")
    assert refused.causes[0]["reason"] == "NamespaceTerminating"


async def test_generate_name(admin: Client) -> None:
    obj = config("")
    obj["metadata"] = {"generateName": "job-"}
    names = {(await admin("POST", CONFIGS, obj)).body["metadata"]["name"] for _ in range(5)}
    assert len(names) == 5
    assert all(name.startswith("job-") and len(name) == 9 for name in names)


async def test_dry_run_creates_nothing_and_has_no_version(admin: Client) -> None:
    made = await admin("POST", CONFIGS + "?dryRun=All", config("a"))
    assert made.code == 201
    assert "resourceVersion" not in made.body["metadata"]
    assert (await admin("GET", CONFIGS + "/a")).code == 404
    wrong = await admin("POST", CONFIGS + "?dryRun=Some", config("a"))
    assert wrong.code == 422


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"kind": "Secret"}, "kind"),
        ({"apiVersion": "v2"}, "apiVersion"),
        ({"metadata": {"name": "a", "namespace": "other"}}, "namespace"),
        ({"metadata": {"name": "a", "resourceVersion": "5"}}, "resourceVersion"),
        ({"metadata": []}, "metadata"),
    ],
)
async def test_an_object_that_does_not_fit_its_path(
    admin: Client, change: dict[str, Any], told: str
) -> None:
    answer = await admin("POST", CONFIGS, {**config("a"), **change})
    assert (answer.code, answer.body["reason"]) == (400, "BadRequest")
    assert told in answer.body["message"]


async def test_unknown_fields_by_validation_level(admin: Client) -> None:
    obj = database_obj(bogus=1)
    strict = await admin("POST", DATABASES + "?fieldValidation=Strict", obj)
    assert strict.code == 400
    assert strict.body["message"] == (
        'Database in version "v1" cannot be handled as a Database: '
        'strict decoding error: unknown field "spec.bogus"'
    )
    warned = await admin("POST", DATABASES + "?fieldValidation=Warn", obj)
    assert warned.headers["Warning"] == '299 - "unknown field \\"spec.bogus\\""'
    assert "bogus" not in warned.body["spec"]
    near = await admin("POST", DATABASES + "?fieldValidation=Strict", database_obj(verion="18"))
    assert 'unknown field "spec.verion" (did you mean "version"?)' in near.body["message"]
    silent = await admin(
        "POST", DATABASES + "?fieldValidation=Ignore", {**obj, "metadata": {"name": "c"}}
    )
    assert silent.code == 201
    assert "Warning" not in silent.headers


async def test_update_needs_the_version_only_if_it_is_given(admin: Client) -> None:
    made = (await admin("POST", CONFIGS, config("a", x="1"))).body
    made["data"] = {"x": "2"}
    second = await admin("PUT", CONFIGS + "/a", made)
    assert second.code == 200
    stale = await admin("PUT", CONFIGS + "/a", {**made, "data": {"x": "3"}})
    assert (stale.code, stale.body["reason"]) == (409, "Conflict")
    assert "the object has been modified; please apply your changes" in stale.body["message"]
    free = await admin("PUT", CONFIGS + "/a", config("a", x="4"))
    assert (free.code, free.body["data"]) == (200, {"x": "4"})
    wrong_uid = config("a")
    wrong_uid["metadata"]["uid"] = "00000000-0000-0000-0000-000000000000"
    assert (await admin("PUT", CONFIGS + "/a", wrong_uid)).code == 409
    assert (await admin("PUT", CONFIGS + "/nope", config("nope"))).code == 404


async def test_a_write_that_changes_nothing_writes_nothing(admin: Client) -> None:
    made = (await admin("POST", DATABASES, database_obj())).body
    same = await admin("PUT", DATABASES + "/db", made)
    assert same.body == made
    patched = await admin(
        "PATCH", DATABASES + "/db", {"spec": {"paused": True}}, type="application/merge-patch+json"
    )
    assert patched.body == made
    assert made["metadata"]["resourceVersion"] == str(admin.served.cache.revision)


async def test_status_and_main_leave_each_other_alone(admin: Client) -> None:
    made = (await admin("POST", DATABASES, database_obj())).body
    made["status"] = {"endpoint": "x"}
    assert "status" not in (await admin("PUT", DATABASES + "/db", made)).body
    made["spec"]["priority"] = 9
    done = (await admin("PUT", DATABASES + "/db/status", made)).body
    assert done["status"]["endpoint"] == "x"
    assert done["spec"]["priority"] == 0
    assert done["metadata"]["generation"] == 1
    entry = next(e for e in done["metadata"]["managedFields"] if e.get("subresource") == "status")
    assert entry["fieldsV1"] == {"f:status": {"f:endpoint": {}}}


async def test_an_immutable_field_is_named(admin: Client) -> None:
    await admin("POST", DATABASES, database_obj())
    changed = await admin(
        "PATCH",
        DATABASES + "/db",
        {"spec": {"engine": "postgres"}},
        type="application/merge-patch+json",
    )
    assert (changed.code, changed.body["reason"]) == (422, "Invalid")
    assert "spec.engine" in {cause["field"] for cause in changed.causes}


async def test_unconditional_writers_all_win_in_some_order(admin: Client) -> None:
    await admin("POST", CONFIGS, config("a"))
    answers = await asyncio.gather(
        *(
            admin(
                "PATCH",
                CONFIGS + "/a",
                {"data": {f"k{n}": "v"}},
                type="application/merge-patch+json",
            )
            for n in range(4)
        )
    )
    assert [answer.code for answer in answers] == [200] * 4
    assert len((await admin("GET", CONFIGS + "/a")).body["data"]) == 4


async def test_delete_with_preconditions_dry_run_and_finalizers(admin: Client) -> None:
    held = config("a")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    made = (await admin("POST", CONFIGS, held)).body
    wrong = {"preconditions": {"uid": "other"}}
    assert (await admin("DELETE", CONFIGS + "/a", wrong)).code == 409
    wrong = {"preconditions": {"resourceVersion": "1"}}
    assert (await admin("DELETE", CONFIGS + "/a", wrong)).code == 409
    assert (await admin("DELETE", CONFIGS + "/a?dryRun=All")).code == 200
    assert "deletionTimestamp" not in (await admin("GET", CONFIGS + "/a")).body["metadata"]
    marked = await admin(
        "DELETE", CONFIGS + "/a", {"preconditions": {"uid": made["metadata"]["uid"]}}
    )
    assert marked.code == 200
    assert marked.body["metadata"]["deletionTimestamp"]
    assert (await admin("DELETE", CONFIGS + "/a")).body == marked.body
    more = [{"op": "add", "path": "/metadata/finalizers/-", "value": "example.com/more"}]
    refused = await admin("PATCH", CONFIGS + "/a", more, type="application/json-patch+json")
    assert refused.code == 422
    assert "no new finalizers" in refused.body["message"]
    none = {"metadata": {"finalizers": None}}
    gone = await admin("PATCH", CONFIGS + "/a", none, type="application/merge-patch+json")
    assert gone.code == 200
    assert (await admin("GET", CONFIGS + "/a")).code == 404


async def test_delete_answers_success_with_the_uid(admin: Client) -> None:
    made = (await admin("POST", CONFIGS, config("a"))).body
    done = await admin("DELETE", CONFIGS + "/a")
    assert done.body["status"] == "Success"
    assert done.body["details"]["uid"] == made["metadata"]["uid"]
    missing = await admin("DELETE", CONFIGS + "/a")
    assert (missing.code, missing.body["message"]) == (404, 'configmaps "a" not found')


async def test_delete_collection_takes_what_is_selected(admin: Client) -> None:
    for name in ("a", "b", "c"):
        obj = config(name)
        obj["metadata"]["labels"] = {"keep": str(name == "c").lower()}
        await admin("POST", CONFIGS, obj)
    done = await admin("DELETE", CONFIGS + "?labelSelector=keep%3Dfalse")
    assert done.body["kind"] == "ConfigMapList"
    left = (await admin("GET", CONFIGS)).body["items"]
    assert [item["metadata"]["name"] for item in left] == ["c"]


async def test_secret_values_are_sealed_in_the_store_and_kept_from_viewers(
    admin: Client, viewer: Client
) -> None:
    canary = "canary-5f1d"
    obj = {"metadata": {"name": "s"}, "stringData": {"password": canary}}
    made = await admin("POST", SECRETS, obj)
    assert made.body["data"] == {"password": "Y2FuYXJ5LTVmMWQ="}
    assert "stringData" not in made.body
    assert made.body["type"] == "Opaque"
    stored = admin.served.cache.list("Secret")[0]
    assert canary.encode() not in stored.body
    assert b"Y2FuYXJ5LTVmMWQ" not in stored.body
    for path in (SECRETS, SECRETS + "/s", "/api/v1/secrets", SECRETS + "?watch=1"):
        assert (await viewer("GET", path)).code == 403
    patched = await admin(
        "PATCH",
        SECRETS + "/s",
        {"stringData": {"more": "x"}},
        type="application/strategic-merge-patch+json",
    )
    assert sorted(patched.body["data"]) == ["more", "password"]


async def test_scale(admin: Client) -> None:
    await admin("POST", APPS, app_obj(replicas=2))
    scale = (await admin("GET", APPS + "/app/scale")).body
    assert (scale["kind"], scale["spec"]) == ("Scale", {"replicas": 2})
    patched = await admin(
        "PATCH", APPS + "/app/scale", {"spec": {"replicas": 3}}, type="application/merge-patch+json"
    )
    assert patched.body["spec"] == {"replicas": 3}
    scale["spec"]["replicas"] = 4
    assert (await admin("PUT", APPS + "/app/scale", scale)).code == 409
    del scale["metadata"]["resourceVersion"]
    assert (await admin("PUT", APPS + "/app/scale", scale)).code == 200
    app = (await admin("GET", APPS + "/app")).body
    assert app["spec"]["replicas"] == 4
    assert app["metadata"]["generation"] == 3
    scale["metadata"]["name"] = "other"
    assert (await admin("PUT", APPS + "/app/scale", scale)).code == 400
    for wrong in (-1, "x", 1.5, None, 10**6):
        bad = {"spec": {"replicas": wrong}}
        answer = await admin("PUT", APPS + "/app/scale", bad)
        assert answer.code == 422 or wrong is None


async def test_a_namespace_takes_as_many_records_as_its_quota_says(admin: Client) -> None:
    path = "/apis/bunker.cloud/v1/namespaces/default/quotas"
    made = {"apiVersion": "bunker.cloud/v1", "kind": "Quota", "metadata": {"name": "few"}}
    assert (await admin("POST", path, {**made, "spec": {"records": 3}})).code == 201
    done = await asyncio.gather(
        *(admin("POST", CONFIGS, config(f"c{n}")) for n in range(6)),
    )
    assert sorted(answer.code for answer in done) == [201, 201, 403, 403, 403, 403]
    refused = next(answer for answer in done if answer.code == 403)
    assert refused.body["reason"] == "Forbidden"
    assert refused.body["message"].endswith(
        " is forbidden: exceeded quota: few, requested: records=1, used: records=3, "
        "limited: records=3"
    )
    assert refused.causes[0]["reason"] == "QuotaExceeded"


async def test_a_large_record_that_was_admitted_can_be_edited_again_and_again(
    database: Database, tmp_path: Path
) -> None:
    """The spec that its allocation was made for is kept beside the new one: it isn't theirs."""
    limit = 64 * 2**10
    path, merge = "/apis/bunker.cloud/v1/namespaces/default/zones", "application/merge-patch+json"
    sets = [{"name": f"n{n}", "type": "TXT", "records": ["x" * 60]} for n in range(290)]
    spec = {"domain": "a.example.org", "recordSets": sets[:200]}
    async with (
        api_on(database, tmp_path, limits=Limits(body_bytes=limit)) as served,
        client_of(served) as admin,
    ):
        made = await admin("POST", path, {"metadata": {"name": "large"}, "spec": spec})
        assert made.code == 201, made.body
        (stored,) = served.cache.list("Zone")
        await served.records.update(
            stored,
            {**stored.obj, "status": {"allocation": {"names": []}}},
            actor=Actor("agent", "agent"),
            subresource="engine",
            managed_fields=stored.managed_fields,
        )
        path += "/large"
        for paused in (True, False, True):
            edited = await admin("PATCH", path, {"spec": {"paused": paused}}, type=merge)
            assert (edited.code, edited.body.get("message")) == (200, None)
            assert edited.body["spec"]["paused"] == paused
            assert edited.body["status"]["allocation"]["spec"]["paused"] is False
            assert len(orjson.dumps(edited.body)) > limit
        larger = {"spec": {"recordSets": sets}}
        assert (await admin("PATCH", path, larger, type=merge)).code == 413


@pytest.mark.parametrize("query", ["", "?fieldSelector=metadata.name%3Da"], ids=["one", "all"])
async def test_a_delete_waits_for_its_turn_among_writers(admin: Client, query: str) -> None:
    """Else it loses to a busy record's writers again and again, and is answered 409."""
    for name in "ab":
        await admin.create(name)
    path = f"{DATABASES}{query}" if query else f"{DATABASES}/a"
    async with admin.served.ctx.turns.take(Key("Database", "default", "a")):
        deleting = asyncio.create_task(admin("DELETE", path))
        for _ in range(10):
            await admin.label("b", turn="theirs")
            await admin.label("b", turn=None)
        assert (await admin("GET", f"{DATABASES}/a")).code == 200
        assert not deleting.done()
    assert (await deleting).code == 200
    assert (await admin("GET", f"{DATABASES}/a")).code == 404


async def test_a_label_that_the_platform_once_made_too_long_holds_up_no_edit(
    admin: Client,
) -> None:
    """Of the Secret of a Database with a long name, as an earlier release wrote it."""
    meta = {"name": "s", "namespace": "default", "labels": {"bunker.cloud/claim": "v" * 90}}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": {"a": "Yg=="}}
    await admin.served.records.create("Secret", secret, actor=Actor("test", "test"))
    edit = {"data": {"a": "Yw=="}}
    patched = await admin("PATCH", SECRETS + "/s", edit, type="application/merge-patch+json")
    assert (patched.code, patched.body["data"]) == (200, {"a": "Yw=="})
    retyped = {"type": "another"}
    refused = await admin("PATCH", SECRETS + "/s", retyped, type="application/merge-patch+json")
    assert (refused.code, refused.causes[0]["field"]) == (422, "type")
    labels = {"metadata": {"labels": {"bunker.cloud/claim": "w" * 90}}}
    refused = await admin("PATCH", SECRETS + "/s", labels, type="application/merge-patch+json")
    assert (refused.code, refused.causes[0]["field"]) == (422, "metadata.labels")


async def test_a_secret_whose_key_is_lost_is_shown_and_takes_new_values(
    admin: Client, database: Database
) -> None:
    secret = {"metadata": {"name": "s"}, "data": {"a": "Yg=="}}
    assert (await admin("POST", SECRETS, secret)).code == 201
    await StoredKeys(database).delete(admin.served.cache.list("Secret")[0].uid)
    sealed = admin.served.cache.list("Secret")[0].obj["sealed"]
    shown = await admin("GET", SECRETS + "/s")
    assert (shown.code, "data" in shown.body) == (200, False)
    assert "its key is gone" in shown.headers["Warning"]
    labels = {"metadata": {"labels": {"a": "b"}}}
    patched = await admin("PATCH", SECRETS + "/s", labels, type="application/merge-patch+json")
    assert patched.code == 200
    assert admin.served.cache.list("Secret")[0].obj["sealed"] == sealed
    again = await admin("PUT", SECRETS + "/s", secret)
    assert (again.code, again.body["data"]) == (200, {"a": "Yg=="})
    assert "Warning" not in (await admin("GET", SECRETS + "/s")).headers
    await StoredKeys(database).delete(admin.served.cache.list("Secret")[0].uid)
    assert (await admin("DELETE", SECRETS)).code == 200
    assert admin.served.cache.list("Secret") == []
