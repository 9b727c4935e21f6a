"""The garbage scan: what it must come through, whatever users write."""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import orjson
import pytest

from controlplane.engine.cache import Cache
from controlplane.engine.garbage import GROUP, SCAN_S, Garbage
from controlplane.engine.queue import Queue
from controlplane.records import Key, Stored
from resources.kinds import KIND_INFOS
from tests.support.bench import Bench, box_key, space_key
from tests.support.running import USER
from tests.support.virtual import LoopClock, in_virtual_time

A, B, C = box_key("a"), box_key("b"), box_key("c")


@pytest.mark.parametrize(
    "told", ["yesterday", "2026-01-01T00:00:00", "", "9999-12-31T00:00:00Z", "2026-01-02T00:00:00Z"]
)
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


def put_old_events(bench: Bench, number: int) -> list[Key]:
    """As an hour ago, when so many records started."""
    cache = bench.store.cache
    keys = [Key("Event", "shop", f"old-{each:05}") for each in range(number)]
    for key in keys:
        meta = {"name": key.name, "namespace": key.namespace, "uid": key.name}
        event = {"apiVersion": "v1", "kind": "Event", "metadata": meta}
        body = orjson.dumps({**event, "lastTimestamp": "1999-01-01T00:00:00Z"})
        cache.apply([("create", Stored(key, key.name, cache.revision + 1, 0, body))])
    return keys


async def until(true: Callable[[], bool]) -> float:
    """Returns after how many seconds it came true."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    while not true():
        await asyncio.sleep(0.1)
        assert loop.time() - began_s < 3600.0
    return loop.time() - began_s


@in_virtual_time
async def test_a_cascade_does_not_wait_until_thousands_of_old_events_are_deleted() -> None:
    async with Bench().shop("a", "b") as bench:
        await own(bench, B, A)
        old = put_old_events(bench, 3000)
        young = len(bench.store.cache.list("Event")) - len(old)
        bench.store.latency_s = 0.1
        await until(lambda: bench.find(old[0]) is None)
        await bench.delete(A)
        assert await until(lambda: bench.find(B) is None) < 2.0
        assert len(bench.store.cache.list("Event")) > young + 1000
        assert await until(lambda: bench.find(old[-1]) is None) < 10.0


@in_virtual_time
async def test_a_scan_leaves_no_event_parsed() -> None:
    async with Bench().shop("a") as bench:
        old = put_old_events(bench, 10)
        await until(lambda: bench.find(old[-1]) is None)
        left = bench.store.cache.list("Event")
        assert left
        assert not [each for each in left if "obj" in each.__dict__]


@in_virtual_time
async def test_events_go_though_some_were_written_meanwhile_or_the_store_was_away() -> None:
    async with Bench().shop() as bench:
        old, cache = put_old_events(bench, 1000), bench.store.cache
        bench.store.latency_s = 0.1
        await until(lambda: bench.find(old[0]) is None)
        raced = bench.get(old[-300])
        body = raced.body.replace(b"1999-", b"2999-")
        again = Stored(raced.key, raced.uid, cache.revision + 1, 0, body)
        cache.apply([("update", again)])
        gone = bench.get(old[-200])
        cache.apply([("delete", replace(gone, revision=cache.revision + 1))])
        bench.store.away = True
        await bench.settle(1)
        bench.store.away = False
        await bench.settle(20)
        assert bench.find(old[-300]) is again
        left = [key for key in old if bench.find(key) is not None]
        assert len(left) <= 1 + 4 * GROUP, "only what failed waits for the next scan"
        await bench.settle(SCAN_S + 20)
        assert [key for key in old if bench.find(key) is not None] == [raced.key], (
            "told again since"
        )


@in_virtual_time
async def test_what_is_written_to_while_its_namespace_goes_holds_nothing_up() -> None:
    """All that is in it is told that it goes, and says so in its status."""
    async with Bench().shop() as bench:
        await bench.namespace("crowd")
        for each in range(600):
            meta = {"name": f"map-{each}", "namespace": "crowd"}
            config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}
            await bench.records.create("ConfigMap", config_map, actor=USER)
        await bench.settle()
        bench.store.latency_s = 0.1
        await bench.delete(space_key("crowd"))
        cache = bench.store.cache
        await until(lambda: len(cache.list("ConfigMap", "crowd")) < 600)
        for stored in [*cache.list("ConfigMap", "crowd")]:
            cache.apply([("update", replace(stored, revision=cache.revision + 1))])
        assert await until(lambda: bench.find(space_key("crowd")) is None) < 10.0


@in_virtual_time
async def test_a_large_namespace_is_emptied_while_others_have_their_turn() -> None:
    async with Bench().shop("a", "b") as bench:
        await own(bench, B, A)
        await bench.namespace("crowd")
        await bench.settle()
        for each in range(1500):
            meta = {"name": f"map-{each}", "namespace": "crowd"}
            config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}
            await bench.records.create("ConfigMap", config_map, actor=USER)
        held = Key("ConfigMap", "crowd", "map-700")
        bench.store.latency_s = 0.1
        await bench.delete(space_key("crowd"))
        await until(lambda: len(bench.store.cache.list("ConfigMap", "crowd")) < 1400)
        await bench.put_finalizers(held, "example.com/busy")  # written between list and deletion
        await bench.delete(A)
        assert await until(lambda: bench.find(B) is None) < 2.0
        assert len(bench.store.cache.list("ConfigMap", "crowd")) > 500
        await bench.settle(20)
        assert [each.key for each in bench.store.cache.list("ConfigMap", "crowd")] == [held]
        assert bench.get(held).deleting
        await bench.put_finalizers(held)
        await bench.settle(10)
        assert bench.find(space_key("crowd")) is None
