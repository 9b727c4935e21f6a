"""The garbage scan: what it must come through, whatever users write."""

import pytest

from tests.support.bench import Bench, box_key
from tests.support.running import USER
from tests.support.virtual import in_virtual_time

A, B = box_key("a"), box_key("b")


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
