"""The four patches over HTTP, and server-side apply."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import pytest

from controlplane.records import Key
from controlplane.store.records import Actor
from tests.integration.api.client import DATABASES, Answer, Client
from tests.integration.api.conftest import APPS, CONFIGS, SECRETS, app_obj, config, database_obj

pytestmark = pytest.mark.postgres

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
JSON = "application/json-patch+json"


async def _apply(
    admin: Client, obj: dict[str, Any], manager: str, query: str = "", path: str = DATABASES
) -> Answer:
    name = obj["metadata"]["name"]
    return await admin("PATCH", f"{path}/{name}?fieldManager={manager}{query}", obj, type=APPLY)


async def test_apply_creates_then_changes_nothing(admin: Client) -> None:
    first = await _apply(admin, database_obj(), "me")
    assert first.code == 201
    again = await _apply(admin, database_obj(), "me")
    assert again.code == 200
    assert again.body == first.body
    (entry,) = first.body["metadata"]["managedFields"]
    assert (entry["operation"], entry["manager"]) == ("Apply", "me")
    assert entry["fieldsV1"] == {"f:spec": {"f:engine": {}, "f:paused": {}}}


async def test_apply_conflicts_are_named_and_force_takes_over(admin: Client) -> None:
    await _apply(admin, database_obj(priority=1), "one")
    refused = await _apply(admin, database_obj(priority=2), "two")
    assert (refused.code, refused.body["reason"]) == (409, "Conflict")
    assert refused.causes == [
        {
            "reason": "FieldManagerConflict",
            "message": 'conflict with "one"',
            "field": ".spec.priority",
        }
    ]
    forced = await _apply(admin, database_obj(priority=2), "two", "&force=true")
    assert forced.body["spec"]["priority"] == 2
    patched = await admin(
        "PATCH", DATABASES + "/db?fieldManager=patcher", {"spec": {"priority": 3}}, type=MERGE
    )
    assert patched.body["spec"]["priority"] == 3
    refused = await _apply(admin, database_obj(priority=2), "two")
    assert refused.causes[0]["message"].startswith('conflict with "patcher" using bunker.cloud/v1')


async def test_apply_removes_what_it_no_longer_wants_and_defaults_come_back(admin: Client) -> None:
    obj = database_obj(priority=7)
    obj["metadata"]["labels"] = {"a": "1"}
    await _apply(admin, obj, "me")
    left = (await _apply(admin, database_obj(), "me")).body
    assert left["spec"]["priority"] == 0
    assert "labels" not in left["metadata"]


async def test_apply_to_status_owns_status_alone(admin: Client) -> None:
    await _apply(admin, database_obj(), "me")
    obj = database_obj(priority=9)
    obj["status"] = {"conditions": [{"type": "X", "status": "True", "reason": "R"}]}
    done = await admin("PATCH", DATABASES + "/db/status?fieldManager=c", obj, type=APPLY)
    assert done.code == 200
    assert done.body["spec"]["priority"] == 0
    assert done.body["status"]["conditions"][0]["type"] == "X"
    missing = await admin("PATCH", DATABASES + "/no/status?fieldManager=c", {}, type=APPLY)
    assert missing.code == 404


async def test_apply_of_a_secret_in_plain_text(admin: Client) -> None:
    obj = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}
    first = await _apply(admin, {**obj, "stringData": {"a": "1"}}, "me", path=SECRETS)
    assert first.body["data"] == {"a": "MQ=="}
    again = await _apply(admin, {**obj, "stringData": {"a": "1"}}, "me", path=SECRETS)
    assert again.body == first.body
    other = await _apply(admin, {**obj, "stringData": {"b": "2"}}, "me", path=SECRETS)
    assert other.body["data"] == {"b": "Mg=="}


APPLY_REFUSES: list[Any] = [
    ("", database_obj(), 422),
    ("?fieldManager=" + "x" * 200, database_obj(), 422),
    ("?fieldManager=m", {**database_obj(), "kind": "App"}, 400),
    ("?fieldManager=m", {**database_obj(), "metadata": {"name": "other"}}, 400),
    ("?fieldManager=m", {**database_obj(), "metadata": {"managedFields": [{}]}}, 400),
    ("?fieldManager=m&fieldValidation=Strict", database_obj(bogus=1), 400),
    ("?fieldManager=m", database_obj(engine="nope"), 422),
    ("?fieldManager=m", [1], 400),
]


async def test_base64_with_line_breaks_is_applied_as_what_is_there(admin: Client) -> None:
    for path, kind, field in ((SECRETS, "Secret", "data"), (CONFIGS, "ConfigMap", "binaryData")):
        obj = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "lines"}}
        sent = {**obj, field: {"k": "YWJj\nZGVm\n"}}
        assert (await admin("POST", path, sent)).body[field] == {"k": "YWJjZGVm"}
        shared = await _apply(admin, sent, "me", path=path)
        assert (shared.code, shared.body.get("message")) == (200, None)
        assert shared.body[field] == {"k": "YWJjZGVm"}
        assert len(shared.body["metadata"]["managedFields"]) == 2
        again = await _apply(admin, sent, "me", path=path)
        assert again.body == shared.body


async def test_apply_refuses(admin: Client) -> None:
    for query, obj, code in APPLY_REFUSES:
        answer = await admin("PATCH", DATABASES + "/db" + query, obj, type=APPLY)
        assert answer.code == code
        assert (await admin("GET", DATABASES + "/db")).code == 404


async def test_apply_refuses_an_item_that_is_there_twice(admin: Client) -> None:
    """The second would be merged into the first, and nobody told that one is lost."""
    one, two = ({"name": "A", "value": value} for value in "12")
    path = f"{APPS}/app?fieldManager=me"
    assert (await admin("PATCH", path, app_obj(env=[one]), type=APPLY)).code == 201
    answer = await admin("PATCH", path, app_obj(env=[one, two]), type=APPLY)
    assert (answer.code, answer.body["reason"]) == (422, "Invalid")
    assert [(c["field"], c["reason"]) for c in answer.causes] == [
        ('spec.env[name="A"]', "FieldValueDuplicate")
    ]


async def test_a_dry_run_apply_writes_nothing(admin: Client) -> None:
    assert (await _apply(admin, database_obj(), "me", "&dryRun=All")).code == 201
    assert (await admin("GET", DATABASES + "/db")).code == 404
    made = (await _apply(admin, database_obj(), "me")).body
    tried = await _apply(admin, database_obj(priority=5), "me", "&dryRun=All")
    assert tried.body["spec"]["priority"] == 5
    assert (await admin("GET", DATABASES + "/db")).body == made


async def test_clients_may_rewrite_ownership(admin: Client) -> None:
    made = (await admin("POST", DATABASES, database_obj())).body
    entries = made["metadata"]["managedFields"]
    entries[0] |= {"manager": "kubectl", "operation": "Apply"}
    patch = [
        {"op": "replace", "path": "/metadata/managedFields", "value": entries},
        {
            "op": "replace",
            "path": "/metadata/resourceVersion",
            "value": made["metadata"]["resourceVersion"],
        },
    ]
    moved = (await admin("PATCH", DATABASES + "/db", patch, type=JSON)).body
    assert moved["metadata"]["resourceVersion"] != made["metadata"]["resourceVersion"]
    assert moved["metadata"]["managedFields"][0]["manager"] == "kubectl"
    assert moved["metadata"]["generation"] == 1
    stale = await admin("PATCH", DATABASES + "/db", patch, type=JSON)
    assert stale.code == 409


async def test_ownership_is_wiped_by_one_empty_entry_and_by_nothing_else(admin: Client) -> None:
    path = DATABASES + "/db"
    await _apply(admin, database_obj(priority=1), "me")
    other = [{"manager": "other", "operation": "Apply", "fieldsV1": {"f:spec": {"f:engine": {}}}}]
    harmless: list[tuple[str, object]] = [
        (path, []),
        (path, [{}, {}]),
        (path, [{"manager": "x", "operation": "Apply"}]),
        (path, [{"manager": "x", "fieldsType": "V2", "fieldsV1": {"f:a": {}}}]),
        (path + "/status", other),
        (path + "/status", [{}]),
    ]
    for at, given in harmless:
        kept = await admin("PATCH", at, {"metadata": {"managedFields": given}}, type=MERGE)
        assert kept.code == 200
        (entry,) = kept.body["metadata"]["managedFields"]
        assert (entry["manager"], entry["operation"]) == ("me", "Apply")
    wrongs: list[object] = [{}, "", "x", False]
    for wrong in wrongs:
        refused = await admin("PATCH", path, {"metadata": {"managedFields": wrong}}, type=MERGE)
        assert refused.code == 400, wrong
    wiped = await admin("PATCH", path, {"metadata": {"managedFields": [{}]}}, type=MERGE)
    assert (wiped.code, "managedFields" in wiped.body["metadata"]) == (200, False)


@pytest.mark.parametrize("time", ["yesterday", "", "2026-01-31", "2026-13-01T00:00:00Z", 5])
async def test_nobody_writes_ownership_at_no_time(admin: Client, time: object) -> None:
    """A typed client fails a whole list over one of these."""
    made = (await admin("POST", DATABASES, database_obj())).body
    entries = made["metadata"]["managedFields"]
    before = entries[0]["time"]
    for manager in (entries[0]["manager"], "another"):
        entries[0] |= {"manager": manager, "time": time}
        patch = {"metadata": {"managedFields": entries}}
        refused = await admin("PATCH", DATABASES + "/db", patch, type=MERGE)
        assert (refused.code, refused.body["reason"]) == (400, "BadRequest")
        assert "metadata.managedFields[0].time" in refused.body["message"]
    (entry,) = (await admin("GET", DATABASES + "/db")).body["metadata"]["managedFields"]
    assert entry["time"] == before
    del entries[0]["time"]
    patch = {"metadata": {"managedFields": entries}}
    moved = await admin("PATCH", DATABASES + "/db", patch, type=MERGE)
    (entry,) = moved.body["metadata"]["managedFields"]
    assert (entry["manager"], "time" in entry) == ("another", False)


async def test_what_is_stored_with_no_time_is_written_as_any_other(admin: Client) -> None:
    served = admin.served
    made = (await admin("POST", DATABASES, database_obj())).body
    stored = served.cache.get(Key("Database", "default", "db"))
    assert stored is not None
    entry = made["metadata"]["managedFields"][0]
    entries = [entry | {"manager": "old", "time": "yesterday"}]
    await served.records.update(
        stored, stored.obj, actor=Actor("old", "old"), managed_fields=orjson.dumps(entries)
    )
    now = (await admin("GET", DATABASES + "/db")).body
    assert now["metadata"]["managedFields"][0]["time"] == "yesterday"
    now["spec"]["priority"] = 7
    assert (await admin("PUT", DATABASES + "/db", now)).code == 200


def _nested(levels: int) -> dict[str, Any]:
    return {"a": _nested(levels - 1)} if levels else {}


async def test_patches_are_refused_by_kind_and_form(admin: Client) -> None:
    await admin("POST", DATABASES, database_obj())
    strategic = await admin(
        "PATCH", DATABASES + "/db", {}, type="application/strategic-merge-patch+json"
    )
    assert strategic.code == 415
    assert strategic.body["message"].endswith(
        "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
    )
    assert (await admin("PATCH", DATABASES + "/db", {}, type="application/json")).code == 415
    assert (await admin("PATCH", DATABASES + "/db", {}, type=JSON)).code == 400
    assert (await admin("PATCH", DATABASES + "/db", [], type=MERGE)).code == 400
    failing = [{"op": "test", "path": "/spec/engine", "value": "x"}]
    failed = await admin("PATCH", DATABASES + "/db", failing, type=JSON)
    assert (failed.code, failed.body["reason"]) == (422, "Invalid")
    whole = [{"op": "replace", "path": "", "value": 1}]
    assert (await admin("PATCH", DATABASES + "/db", whole, type=JSON)).code == 422
    # deeper than Python's stack, in what is stored and in what only says who owns it
    for at in ("/spec/a", "/metadata/managedFields/0/fieldsV1"):
        deep = [
            {"op": "add", "path": at + "/a" * (20 * n), "value": _nested(20)} for n in range(60)
        ]
        nested = await admin("PATCH", DATABASES + "/db", deep, type=JSON)
        assert (nested.code, nested.body["reason"]) == (400, "BadRequest")
    renamed = {"metadata": {"name": "other"}}
    assert (await admin("PATCH", DATABASES + "/db", renamed, type=MERGE)).code == 400


async def test_a_version_inside_a_merge_patch_is_a_lock(admin: Client) -> None:
    made = (await admin("POST", CONFIGS, config("a"))).body
    version = made["metadata"]["resourceVersion"]
    patch = {"metadata": {"resourceVersion": version}, "data": {"x": "1"}}
    assert (await admin("PATCH", CONFIGS + "/a", patch, type=MERGE)).code == 200
    assert (await admin("PATCH", CONFIGS + "/a", patch, type=MERGE)).code == 409


async def test_a_version_inside_a_configuration_makes_no_record_anew(admin: Client) -> None:
    made = (await admin("POST", CONFIGS, config("a"))).body
    version = made["metadata"]["resourceVersion"]
    locked = {**config("a", x="1"), "metadata": {"name": "a", "resourceVersion": version}}
    await admin("DELETE", CONFIGS + "/a")
    refused = await _apply(admin, locked, "me", path=CONFIGS)
    assert (refused.code, refused.body["reason"]) == (409, "Conflict")
    assert (await admin("GET", CONFIGS + "/a")).code == 404


async def test_patches_cannot_grow_an_object_past_the_limit(admin: Client) -> None:
    await admin("POST", CONFIGS, config("a", x="y" * 700_000))
    patch = {"data": {"z": "y" * 700_000}}
    grown = await admin("PATCH", CONFIGS + "/a", patch, type=MERGE)
    assert grown.code in (413, 422)


async def test_what_many_apply_at_once_for_the_first_time_is_merged(admin: Client) -> None:
    answers = await asyncio.gather(
        *(_apply(admin, config("new", **{f"k{n}": ""}), f"m{n}", path=CONFIGS) for n in range(20))
    )
    assert sorted(answer.code for answer in answers) == [*[200] * 19, 201]
    assert len((await admin("GET", CONFIGS + "/new")).body["data"]) == 20


async def test_an_emoji_can_be_applied_as_json_in_ascii(admin: Client) -> None:
    # the client writes it as a surrogate pair of escapes, as Python's json does by default
    applied = await _apply(admin, config("a", x="\U0001f600"), "me", path=CONFIGS)
    assert (applied.code, applied.body["data"]) == (201, {"x": "\U0001f600"})


async def test_managers_cannot_grow_a_record_past_the_limit(admin: Client) -> None:
    many = config("a", **{f"k{n}": "" for n in range(10_000)})
    codes = [(await _apply(admin, many, f"m{n}", path=CONFIGS)).code for n in range(8)]
    assert codes[:2] == [201, 200]
    assert codes[-1] == 413
    # what was read can be sent back, without spaces as it came
    kept = orjson.dumps((await admin("GET", CONFIGS + "/a")).body)
    assert (await admin("PUT", CONFIGS + "/a", kept)).code == 200
    fewer = {"data": {"k0": None}}
    assert (await admin("PATCH", CONFIGS + "/a", fewer, type=MERGE)).code == 200


class _Threads(ThreadPoolExecutor):
    """Counts what is given to it."""

    given = 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        self.given += 1
        return super().submit(fn, *args, **kwargs)


async def test_what_takes_long_is_not_done_on_the_loop(admin: Client) -> None:
    threads = _Threads()  # whoever ends the loop shuts them down
    asyncio.get_running_loop().set_default_executor(threads)

    async def given(*request: Any, type_: str = "application/json", code: int = 200) -> int:
        before = threads.given
        assert (await admin(*request, type=type_)).code == code
        return threads.given - before

    # the first of a kind in a process is what makes the kind ready, on a thread
    await admin("POST", CONFIGS, config("first"))
    many = {f"k{n}": "x" * 30 for n in range(1_000)}
    steps = [{"op": "add", "path": f"/data/{key}", "value": "y"} for key in many]
    assert await given("POST", CONFIGS, config("small"), code=201) == 0
    assert await given("POST", CONFIGS, config("large", **many), code=201) == 2
    assert await given("PATCH", CONFIGS + "/small", steps, type_=JSON) == 2
    assert await given("PUT", CONFIGS + "/large", config("large", **many)) == 2
    label = {"metadata": {"labels": {"a": "b"}}}
    assert await given("PATCH", CONFIGS + "/large", label, type_=MERGE) == 1
    applied = CONFIGS + "/new?fieldManager=m"
    assert await given("PATCH", applied, config("new", **many), type_=APPLY, code=201) == 2
