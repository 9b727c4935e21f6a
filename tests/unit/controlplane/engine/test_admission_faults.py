"""Admission while the store or the engine fails."""

import asyncio
from dataclasses import dataclass, replace

from controlplane.engine.term import Setup
from controlplane.errors import RetryableError, StoreUnavailableError
from controlplane.records import Stored, Write
from resources.meta import Footprint
from tests.support.bench import Bench, box_key, space_key
from tests.support.memory import LaggingStore
from tests.support.virtual import in_virtual_time
from tests.unit.controlplane.engine.test_room import stored_sum

A, B = box_key("a"), box_key("b")


@dataclass(slots=True)
class Unresolved(LaggingStore):
    """PostgreSQL goes as the engine commits Box a, is back for writes in 0.9 s, and for who
    follows its log `lag_s` after the commit, of which nobody hears meanwhile."""

    breaks: bool = False
    back_at_s: float = 0.0

    async def write(self, write: Write, /) -> Stored:
        if write.epoch is None:
            return await LaggingStore.write(self, write)
        # b's are a little slower, so that it asks again after a did
        await asyncio.sleep(0.06 if write.key == B else 0.01)
        if asyncio.get_running_loop().time() < self.back_at_s:
            raise StoreUnavailableError("PostgreSQL does not answer")
        stored = await LaggingStore.write(self, write)
        if self.back_at_s and self.cache.revision < stored.revision:
            raise StoreUnavailableError("the outcome is unknown")
        return stored

    def _commit(self, write: Write, after: Stored) -> None:
        if not (self.breaks and write.epoch is not None and write.key == A):
            LaggingStore._commit(self, write, after)
            return
        loop = asyncio.get_running_loop()
        self.breaks, self.back_at_s = False, loop.time() + 0.9
        self._revision = after.revision
        self._truth[write.key] = after
        self._late.append((write.verb, after))
        loop.call_later(self.lag_s, self._deliver, after.revision)


@in_virtual_time
async def test_a_grant_that_may_have_been_stored_is_kept_until_that_is_known() -> None:
    store = Unresolved()
    bench = Bench(store=store, capacity=Footprint(3000, 10**12, 10**12))
    async with bench.shop("a", cpu="1"):
        await bench.settle(10)
        store.breaks = True
        await bench.edit(A, cpu="2")
        await bench.box("b", cpu="2")
        await bench.settle(60)
        assert store.back_at_s > 0
        assert bench.status(A)["allocation"]["cpu"] == "2"
        assert stored_sum(bench).cpu_millicores == 2000
        assert not bench.ready(B)


@dataclass(slots=True)
class Unrouted(Bench):
    """What the host's routes are is refused a few times."""

    refusals: int = 3

    def setup(self) -> Setup:
        async def routes() -> tuple[str, ...]:
            self.refusals -= 1
            if self.refusals >= 0:
                raise RetryableError("cannot list networks: an error", reason="EngineError")
            return ()

        return replace(Bench.setup(self), routes=routes)


@in_virtual_time
async def test_a_namespace_whose_subnet_cannot_be_chosen_yet_tries_again_soon() -> None:
    async with Unrouted().running() as bench:
        await bench.namespace()
        await bench.settle(0.01)
        assert bench.condition(space_key(), "Synced")["reason"] == "EngineError"
        await bench.settle(15)
        assert bench.ready(space_key())
