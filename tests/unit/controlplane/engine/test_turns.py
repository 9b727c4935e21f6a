"""Passes that find nothing to do let everything else on the loop go on in between."""

import asyncio

from controlplane.engine.controller import Tuning
from controlplane.engine.queue import Priority
from tests.support.bench import Bench, box_key
from tests.support.virtual import in_virtual_time

MANY = 50


@in_virtual_time
async def test_others_get_their_turn_after_each_pass() -> None:
    names = [f"b{number:02}" for number in range(MANY)]
    async with Bench(tuning=Tuning(workers=1)).shop(*names) as bench:
        assert bench.term is not None
        await bench.settle(60)
        queue = bench.term.queues["Box"]
        for name in names:
            queue.add(box_key(name), Priority.RESYNC)
        turns = 0
        while not queue.idle:
            turns += 1
            await asyncio.sleep(0)
    assert turns >= MANY
