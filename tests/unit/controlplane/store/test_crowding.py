"""What a namespace may hold: exact in one process, and never in the engine's way."""

import asyncio
from typing import Any

import orjson
import pytest

from controlplane.clock import SystemClock
from controlplane.errors import ForbiddenError
from controlplane.records import Stored
from controlplane.store import crowding
from controlplane.store.records import Actor, Records
from resources.kinds import KIND_INFOS
from tests.support.memory import MemoryStore, PlainSealer

ALICE = Actor("alice", "kubectl")
ENGINE = Actor("engine", "bunker")


@pytest.fixture
async def records() -> Records:
    store = MemoryStore()
    made = Records(store, store.cache, PlainSealer(), SystemClock(), KIND_INFOS)
    for name in ("shop", "other"):
        obj = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}, "spec": {}}
        await made.create("Namespace", obj, actor=ALICE)
    return made


async def _make(
    records: Records, name: str, kind: str = "ConfigMap", text: str = "", **options: Any
) -> Stored:
    meta = {"name": name, "namespace": options.pop("namespace", "shop")}
    obj = {"apiVersion": "v1", "kind": kind, "metadata": meta, "data": {"text": text}}
    return await records.create(kind, obj, actor=ALICE, **options)


async def _limit(kept: Records, name: str, **spec: Any) -> Stored:
    meta = {"name": name, "namespace": "shop"}
    obj = {"apiVersion": "bunker.cloud/v1", "kind": "Quota", "metadata": meta, "spec": spec}
    return await kept.create("Quota", obj, actor=ALICE)


async def test_creates_at_once_fill_a_namespace_exactly(records: Records) -> None:
    await _limit(records, "loose", records=90)
    await _limit(records, "tight", records=7)  # the two of them count
    made = await asyncio.gather(
        *(_make(records, f"c{n}") for n in range(20)), return_exceptions=True
    )
    refused = [each for each in made if isinstance(each, ForbiddenError)]
    assert len(records.view.list("ConfigMap", "shop")) == 5
    assert len(refused) == 15
    assert {each.reason for each in refused} == {"QuotaExceeded"}
    assert str(refused[0]) == (
        "exceeded quota: tight, requested: records=1, used: records=7, limited: records=7"
    )
    with pytest.raises(ForbiddenError):
        await _make(records, "tried", dry_run=True)
    await _make(records, "elsewhere", namespace="other")
    await _make(records, "e", "Event")
    await _make(records, "the-engines", epoch=1)


async def test_what_is_deleted_makes_room(records: Records) -> None:
    await _limit(records, "tight", records=2)
    one = await _make(records, "one")
    with pytest.raises(ForbiddenError):
        await _make(records, "two")
    await records.delete(one, actor=ALICE)
    await _make(records, "two")


async def test_a_namespace_without_a_quota_has_bounds_too(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crowding, "RECORDS", 1)
    monkeypatch.setattr(crowding, "EVENTS", 2)
    await _make(records, "one")
    with pytest.raises(ForbiddenError, match="exceeded quota: default, requested: records=1"):
        await _make(records, "two")
    await _make(records, "e1", "Event")
    await _make(records, "e2", "Event")
    with pytest.raises(ForbiddenError, match="used: events=2, limited: events=2"):
        await _make(records, "e3", "Event")
    # a Quota says how many, also if that is more, and can be made where all is full
    await _limit(records, "more", records=3)
    await _make(records, "two")


async def test_a_namespace_full_of_bytes_takes_nothing_that_grows(records: Records) -> None:
    quota = await _limit(records, "tight", recordBytes="4Ki")
    large = await _make(records, "large", text="x" * 5_000)
    with pytest.raises(ForbiddenError, match="limited: recordBytes=4Ki"):
        await _make(records, "small")
    more = {**large.obj, "data": {"text": "x" * 5_001}}
    with pytest.raises(ForbiddenError) as refused:
        await records.update(large, more, actor=ALICE)
    assert refused.value.reason == "QuotaExceeded"
    await records.update(large, more, actor=ALICE, epoch=1, dry_run=True)
    less = {**large.obj, "data": {"text": "x"}}
    large = await records.update(large, less, actor=ALICE)
    await records.update(large, more, actor=ALICE)
    wider = {**quota.obj, "spec": {"recordBytes": "400Ki"}}
    await records.update(quota, wider, actor=ALICE)
    await _make(records, "small")


async def test_what_the_server_keeps_of_an_edit_is_not_the_users_growth(records: Records) -> None:
    """In a full namespace as well one can scale down, and pause: else nobody can in need."""
    spec = {"image": "x" * 5_000, "replicas": 3, "paused": False}
    meta = {"name": "web", "namespace": "shop"}
    obj = {"apiVersion": "bunker.cloud/v1", "kind": "App", "metadata": meta, "spec": spec}
    app = await records.create("App", obj, actor=ALICE)
    admitted = {**app.obj, "status": {"allocation": {"cpu": 100}}}
    app = await records.update(app, admitted, actor=ENGINE, subresource="engine", epoch=1)
    await _limit(records, "tight", recordBytes="4Ki")
    with pytest.raises(ForbiddenError, match="recordBytes"):
        await records.update(app, _with_spec(app, replicas=30), actor=ALICE)
    app = await records.update(app, _with_spec(app, replicas=2), actor=ALICE)
    assert app.obj["status"]["allocation"]["spec"] == spec
    app = await records.update(app, _with_spec(app, paused=True), actor=ALICE)
    assert app.obj["spec"] == {**spec, "replicas": 2, "paused": True}
    with pytest.raises(ForbiddenError, match="recordBytes"):
        await records.update(app, _with_spec(app, replicas=30), actor=ALICE)
    while app.generation < 12:  # one digit more is none of theirs either
        replicas = 3 - app.obj["spec"]["replicas"]
        app = await records.update(app, _with_spec(app, replicas=replicas), actor=ALICE)


def _with_spec(app: Stored, **spec: Any) -> dict[str, Any]:
    return {**app.obj, "spec": {**app.obj["spec"], **spec}}


async def test_nor_more_who_own_what_is_there(records: Records) -> None:
    await _limit(records, "tight", recordBytes="4Ki")
    made = await _make(records, "large", text="x" * 5_000)
    made = await records.update(made, made.obj, actor=ALICE, managed_fields=_owners(3_900))
    with pytest.raises(ForbiddenError, match="recordBytes"):
        await records.update(made, made.obj, actor=ALICE, managed_fields=_owners(5_000))


def _owners(size: int) -> bytes:
    """managedFields of so many bytes and a few more."""
    entry = {"manager": "m", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1"}
    return orjson.dumps([{**entry, "fieldsV1": {"f:data": {f"f:{'k' * size}": {}}}}])
