"""Records: Kubernetes' rules for create, update, status and delete, end to end."""

from typing import Any

import pytest

from controlplane.engine.cache import Cache
from controlplane.errors import (
    AlreadyExistsError,
    ConflictError,
    ForbiddenError,
    InvalidFieldError,
    NotFoundError,
)
from controlplane.records import Key, Stored
from controlplane.store.records import Actor, Records
from controlplane.store.service import PostgresStore
from resources.meta import FINALIZER

pytestmark = pytest.mark.postgres

ALICE = Actor("alice", "kubectl")


def config(name: str, **data: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "shop"},
        "data": data,
    }


def database_record(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "bunker.cloud/v1",
        "kind": "Database",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"engine": "redis"},
    }


async def make_namespace(records: Records, name: str = "shop") -> Stored:
    obj = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    return await records.create("Namespace", obj, actor=ALICE)


async def test_first_write_has_revision_1000_and_is_in_the_cache(
    records: Records, cache: Cache
) -> None:
    made = await make_namespace(records)
    assert made.revision == 1000
    assert cache.get(Key("Namespace", "", "shop")) == made
    obj = await records.read(made)
    assert obj["metadata"]["resourceVersion"] == "1000"
    assert obj["metadata"]["labels"] == {"kubernetes.io/metadata.name": "shop"}
    assert obj["status"] == {"phase": "Active"}
    assert obj["metadata"]["finalizers"] == [FINALIZER]


async def test_create_owns_identity_and_drops_what_the_server_owns(records: Records) -> None:
    await make_namespace(records)
    given = database_record("db")
    given["metadata"] |= {"uid": "mine", "generation": 7, "deletionTimestamp": "2020", "x": None}
    given["status"] = {"endpoint": "forged"}
    made = await records.read(await records.create("Database", given, actor=ALICE))
    assert made["metadata"]["uid"] != "mine"
    assert made["metadata"]["generation"] == 1
    assert "deletionTimestamp" not in made["metadata"]
    assert "status" not in made
    assert made["metadata"]["managedFields"][0]["manager"] == "kubectl"


async def test_create_twice_is_refused_and_generate_name_finds_a_free_one(
    records: Records,
) -> None:
    await make_namespace(records)
    await records.create("ConfigMap", config("a"), actor=ALICE)
    with pytest.raises(AlreadyExistsError):
        await records.create("ConfigMap", config("a"), actor=ALICE)
    generated = config("")
    generated["metadata"] = {"generateName": "job-", "namespace": "shop"}
    made = await records.create("ConfigMap", generated, actor=ALICE)
    assert made.key.name.startswith("job-")
    assert len(made.key.name) == len("job-") + 5


async def test_create_needs_a_namespace_that_stays(records: Records, cache: Cache) -> None:
    with pytest.raises(NotFoundError):
        await records.create("ConfigMap", config("a"), actor=ALICE)
    home = await make_namespace(records)
    marked = await records.delete(home, actor=ALICE)
    assert marked is not None
    assert marked.deleting
    assert marked.obj["status"]["phase"] == "Terminating"
    with pytest.raises(ForbiddenError) as refused:
        await records.create("ConfigMap", config("a"), actor=ALICE)
    assert refused.value.reason == "NamespaceTerminating"


async def test_update_moves_the_generation_on_spec_changes_only(records: Records) -> None:
    await make_namespace(records)
    base = await records.create("Database", database_record("db"), actor=ALICE)
    obj = await records.read(base)
    obj["metadata"]["labels"] = {"a": "b"}
    labelled = await records.update(base, obj, actor=ALICE)
    assert labelled.generation == 1
    obj = await records.read(labelled)
    obj["spec"]["engine"] = "postgres"
    obj["status"] = {"endpoint": "forged"}
    edited = await records.update(labelled, obj, actor=ALICE)
    assert edited.generation == 2
    assert "status" not in edited.obj


async def test_status_write_changes_status_alone(records: Records) -> None:
    await make_namespace(records)
    base = await records.create("Database", database_record("db"), actor=ALICE)
    obj = await records.read(base)
    obj["spec"] = {"engine": "postgres"}
    obj["status"] = {"ready": 1}
    after = await records.update(base, obj, actor=ALICE, subresource="status")
    assert after.obj["spec"] == {"engine": "redis"}
    assert after.obj["status"] == {"ready": 1}
    assert after.generation == 1


async def test_no_op_update_writes_nothing(records: Records, store: PostgresStore) -> None:
    await make_namespace(records)
    base = await records.create("ConfigMap", config("a", k="v"), actor=ALICE)
    assert await records.update(base, await records.read(base), actor=ALICE) is base
    assert await store.revision() == base.revision


async def test_update_of_an_old_revision_conflicts(records: Records) -> None:
    await make_namespace(records)
    base = await records.create("ConfigMap", config("a", k="v"), actor=ALICE)
    await records.update(base, config("a", k="w"), actor=ALICE)
    with pytest.raises(ConflictError):
        await records.update(base, config("a", k="x"), actor=ALICE)
    stale = config("a", k="y")
    stale["metadata"]["resourceVersion"] = "5"
    with pytest.raises(ConflictError):
        await records.update(base, stale, actor=ALICE)


async def test_finalizers_hold_a_deletion_until_the_last_is_dropped(
    records: Records, cache: Cache
) -> None:
    await make_namespace(records)
    obj = database_record("db")
    obj["metadata"]["finalizers"] = ["a/b"]
    base = await records.create("Database", obj, actor=ALICE)
    marked = await records.delete(base, actor=ALICE)
    assert marked is not None
    assert marked.generation == 2
    assert await records.delete(marked, actor=ALICE) is marked
    more = await records.read(marked)
    more["metadata"]["finalizers"] = ["a/b", "c/d"]
    with pytest.raises(InvalidFieldError):
        await records.update(marked, more, actor=ALICE)
    done = await records.read(marked)
    done["metadata"]["finalizers"] = []
    gone = await records.update(marked, done, actor=ALICE)
    assert gone.revision == marked.revision + 1
    assert cache.get(base.key) is None
    with pytest.raises(NotFoundError):
        await records.update(marked, done, actor=ALICE)


@pytest.mark.parametrize(
    ("propagation", "finalizer"), [("Foreground", "foregroundDeletion"), ("Orphan", "orphan")]
)
async def test_propagation_leaves_its_finalizer(
    records: Records, propagation: Any, finalizer: str
) -> None:
    await make_namespace(records)
    base = await records.create("ConfigMap", config("a"), actor=ALICE)
    marked = await records.delete(base, actor=ALICE, propagation=propagation)
    assert marked is not None
    assert marked.meta["finalizers"] == [finalizer]


async def test_delete_checks_preconditions(records: Records, cache: Cache) -> None:
    await make_namespace(records)
    base = await records.create("ConfigMap", config("a"), actor=ALICE)
    with pytest.raises(ConflictError):
        await records.delete(base, actor=ALICE, uid="another")
    with pytest.raises(ConflictError):
        await records.delete(base, actor=ALICE, revision=1)
    assert await records.delete(base, actor=ALICE, uid=base.uid, revision=base.revision) is None
    assert cache.get(base.key) is None


async def test_dry_run_stores_nothing(records: Records, store: PostgresStore) -> None:
    home = await make_namespace(records)
    made = await records.create("ConfigMap", config("a"), actor=ALICE, dry_run=True)
    assert "resourceVersion" not in (await records.read(made))["metadata"]
    base = await records.create("ConfigMap", config("a"), actor=ALICE)
    with pytest.raises(AlreadyExistsError):
        await records.create("ConfigMap", config("a"), actor=ALICE, dry_run=True)
    would = await records.update(base, config("a", k="v"), actor=ALICE, dry_run=True)
    assert would.obj["data"] == {"k": "v"}
    assert await records.delete(base, actor=ALICE, dry_run=True) is None
    assert await records.delete(home, actor=ALICE, dry_run=True) is not None
    assert await store.revision() == base.revision
