"""The garbage scan: what it must come through, whatever users write."""

import random
from collections.abc import Sequence

import orjson
import pytest

from controlplane.engine.cache import Cache
from controlplane.engine.garbage import Garbage
from controlplane.engine.queue import Queue
from controlplane.records import Key, Stored
from resources.kinds import KIND_INFOS
from tests.support.bench import Bench, box_key
from tests.support.running import USER
from tests.support.virtual import LoopClock, in_virtual_time

A, B, C = box_key("a"), box_key("b"), box_key("c")


@pytest.mark.parametrize("told", ["yesterday", "2026-01-01T00:00:00", ""])
@in_virtual_time
async def test_events_expire_whatever_time_somebody_wrote_into_one(told: str) -> None:
    async with Bench().running() as bench:
        await bench.namespace()
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": "a-first-of-all", "namespace": "shop"},
            "involvedObject": {"kind": "Box", "name": "a", "namespace": "shop"},
            "lastTimestamp": told,
        }
        await bench.records.create("Event", event, actor=USER)
        await bench.box("b")
        await bench.settle(60)
        assert len(bench.store.cache.list("Event", "shop")) > 1
        await bench.settle(2 * 3600)
        assert bench.store.cache.list("Event", "shop") == []


@in_virtual_time
async def test_an_owner_waits_for_nobody_who_is_not_its_dependent_any_more() -> None:
    async with Bench().shop("a", "b") as bench:
        owner = {"apiVersion": "bunker.cloud/v1", "kind": "Box", "name": "a"}
        ref = {**owner, "uid": bench.get(A).uid, "blockOwnerDeletion": True}
        meta = {"ownerReferences": [ref], "finalizers": ["example.com/busy"]}
        await bench.change(B, lambda obj: {**obj, "metadata": {**obj["metadata"], **meta}})
        await bench.delete(A, "Foreground")
        await bench.settle()
        assert bench.get(A).meta["finalizers"] == ["foregroundDeletion"]
        assert bench.get(B).deleting
        await bench.change(
            B, lambda obj: {**obj, "metadata": {**obj["metadata"], "ownerReferences": []}}
        )
        await bench.settle()
        assert bench.find(A) is None


async def own(bench: Bench, dependent: Key, *owners: Key) -> None:
    """Each of `owners` waits for `dependent` to go."""
    refs = [
        {
            "apiVersion": "bunker.cloud/v1",
            "kind": owner.kind,
            "name": owner.name,
            "uid": bench.get(owner).uid,
            "blockOwnerDeletion": True,
        }
        for owner in owners
    ]
    await bench.change(
        dependent, lambda obj: {**obj, "metadata": {**obj["metadata"], "ownerReferences": refs}}
    )


@in_virtual_time
async def test_a_foreground_deletion_leaves_what_another_owner_still_has() -> None:
    async with Bench().shop("a", "b", "c") as bench:
        await own(bench, C, A, B)
        await bench.delete(A, "Foreground")
        await bench.settle(60)
        assert bench.find(A) is None
        assert not bench.get(C).deleting
        assert bench.get(C).owner_uids == (bench.get(B).uid,)
        await bench.delete(B, "Foreground")
        await bench.settle(60)
        assert bench.find(B) is None
        assert bench.find(C) is None


@in_virtual_time
async def test_what_two_owners_have_goes_with_both_in_the_foreground() -> None:
    async with Bench().shop("a", "b", "c") as bench:
        await own(bench, C, A, B)
        await bench.put_finalizers(C, "example.com/busy", *bench.get(C).meta["finalizers"])
        bench.world.latency_s = 5.0
        await bench.delete(A, "Foreground")
        await bench.delete(B, "Foreground")
        await bench.settle(60)
        assert bench.get(C).deleting
        assert bench.get(A).meta["finalizers"] == ["foregroundDeletion"]
        assert bench.get(B).meta["finalizers"] == ["foregroundDeletion"]
        await bench.put_finalizers(C)
        await bench.settle(60)
        assert [bench.find(key) for key in (A, B, C)] == [None, None, None]


@pytest.mark.parametrize("chain", [(A,), (A, B), (A, B, C)], ids=["itself", "two", "three"])
@in_virtual_time
async def test_owners_in_a_circle_do_not_wait_for_each_other(chain: tuple[Key, ...]) -> None:
    async with Bench().shop("a", "b", "c") as bench:
        for owner, dependent in zip(chain, (*chain[1:], chain[0]), strict=True):
            await own(bench, dependent, owner)
        await bench.delete(A, "Foreground")
        await bench.settle(60)
        assert [bench.find(key) for key in chain] == [None] * len(chain)


class Looked(Cache):
    """Counts the records that it hands out, or looks for."""

    looks = 0

    def get(self, key: Key, /) -> Stored | None:
        self.looks += 1
        return super().get(key)

    def list(self, kind: str, namespace: str | None = None, /) -> Sequence[Stored]:
        found = super().list(kind, namespace)
        self.looks += len(found)
        return found


def volumes_of(number: int, *, owned: bool) -> Looked:
    """So many Databases in two namespaces, and a Volume for each."""
    cache = Looked()

    def put(key: Key, uid: str, **meta: object) -> None:
        body = orjson.dumps({"metadata": {"name": key.name, **meta}})
        cache.apply([("create", Stored(key, uid, cache.revision + 1, 1, body))])

    for each in range(number):
        put(Key("Database", f"space-{each % 2}", f"db-{each}"), f"uid-{each}")
        ref = {"kind": "Database", "name": f"db-{each}", "uid": f"uid-{each if owned else 'gone'}"}
        put(Key("Volume", "", f"volume-{each}"), f"volume-{each}", ownerReferences=[ref])
    return cache


@pytest.mark.parametrize("owned", [True, False])
def test_the_owner_of_what_is_in_no_namespace_is_found_without_a_look_at_all(owned: bool) -> None:
    def looks(number: int) -> int:
        cache = volumes_of(number, owned=owned)
        clock, records = LoopClock(), Bench().records
        jobs = Queue(clock, random.Random(0))
        garbage = Garbage(cache, records, KIND_INFOS, lambda: 1, clock, jobs, lambda: None)
        volumes = Cache.list(cache, "Volume")
        found = [garbage._owner(each.meta["ownerReferences"][0], each) for each in volumes]
        assert [each is not None for each in found] == [owned] * number
        return cache.looks

    assert looks(400) == 4 * looks(100)
