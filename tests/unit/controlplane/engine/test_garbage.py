"""The garbage scan: what it must come through, whatever users write."""

import pytest

from tests.support.bench import Bench
from tests.support.running import USER
from tests.support.virtual import in_virtual_time


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
