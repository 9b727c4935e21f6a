"""What the engine tells is in its own words, whoever wrote under the Event's name before."""

from typing import Any

import orjson

from controlplane import events
from controlplane.engine.recorder import Recorder
from controlplane.records import Key
from tests.support.bench import Bench, box_key
from tests.support.running import USER
from tests.support.virtual import LoopClock, in_virtual_time


@in_virtual_time
async def test_what_is_told_again_says_what_happened() -> None:
    async with Bench().shop("a") as bench:
        what = events.happened(bench.get(box_key("a")), "Warning", "Broken", "it broke")
        forged = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": what.event_name, "namespace": "shop"},
            "involvedObject": {"kind": "ConfigMap", "name": "x"},
            "message": "nothing happened",
            "count": 2**64 - 1,
        }
        await bench.records.create("Event", forged, actor=USER)
        recorder = Recorder(bench.records, bench.store.cache, LoopClock(), lambda: bench.epoch)
        for count in (1, 2):
            recorder.tell(what)
            await recorder.flush()
            told = bench.store.cache.get(Key("Event", "shop", what.event_name))
            assert told is not None
            event: dict[str, Any] = orjson.loads(told.body)
            assert (event["message"], event["count"]) == ("it broke", count)
            assert event["involvedObject"]["uid"] == what.uid
