"""Leadership, fencing and passes on real PostgreSQL; the outside world is a dict."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from prometheus_client import CollectorRegistry

from controlplane.budget import Ledger
from controlplane.clock import SystemClock
from controlplane.engine.cache import Cache
from controlplane.engine.controller import Tuning
from controlplane.engine.leader import Leader, this_process
from controlplane.engine.manager import Agent, Mandate
from controlplane.engine.port import Limits
from controlplane.engine.term import Setup
from controlplane.errors import StaleEpochError
from controlplane.metrics import Metrics
from controlplane.ports import PortPool
from controlplane.records import Key
from controlplane.store.connect import Database
from controlplane.store.leases import Holder, Leases
from controlplane.store.records import Actor, Records
from controlplane.store.service import PostgresStore
from controlplane.subnets import SubnetPool
from resources.meta import Footprint
from tests.postgres import make_records
from tests.support.toys import INFOS, MODELS, BoxReconciler, PlainReconciler, World

pytestmark = pytest.mark.postgres

USER = Actor("tester", "kubectl")
A = Key("Box", "shop", "a")
SEED = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
BOX = {
    "apiVersion": "bunker.cloud/v1",
    "kind": "Box",
    "metadata": {"name": "a", "namespace": "shop"},
    "spec": {"cpu": "1", "secret": True},
}


@dataclass
class One:
    """One agent and what it is told."""

    store: PostgresStore
    cache: Cache
    world: World
    holder: Holder
    alive: Callable[[Holder], bool] = lambda _holder: True
    mandate: Mandate = field(default_factory=Mandate)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def records(self) -> Records:
        return make_records(self.store, self.cache, INFOS)

    async def run(self) -> None:
        clock = SystemClock()
        plain = PlainReconciler(self.world)
        boxes = BoxReconciler(self.world)
        setup = Setup(
            view=self.cache,
            records=self.records,
            models=MODELS,
            reconcilers={"Namespace": plain, "Depot": plain, "Box": boxes},
            ledger=Ledger(),
            subnets=SubnetPool("10.201.0.0/16"),
            ports=PortPool(),
            metrics=Metrics(CollectorRegistry(), ["Namespace", "Depot", "Box"]),
            clock=clock,
            seeds=(SEED,),
            read_limits=lambda _view: Limits(Footprint(4000), Footprint(), {}),
            tuning=Tuning(workers=4),
            drain_s=5.0,
        )
        leader = Leader(Leases(self.store.database), self.holder, clock, alive=self.alive)
        await Agent(setup, leader, self.mandate).run(self.stopping)

    def ready(self) -> bool:
        stored = self.cache.get(A)
        conditions = (stored.obj.get("status") or {}).get("conditions") if stored else None
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions or ())


async def until(claim: Callable[[], bool], *, within_s: float = 15.0) -> None:
    async with asyncio.timeout(within_s):
        while not claim():  # noqa: ASYNC110  # what is waited for is the state of the world
            await asyncio.sleep(0.02)


def leads(one: One) -> bool:
    return one.mandate.leading


async def test_record_is_made_edited_and_deleted(store: PostgresStore, cache: Cache) -> None:
    one = One(store, cache, World(), this_process())
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(one.run())
        await until(lambda: leads(one) and cache.get(Key("Namespace", "", "shop")) is not None)
        await one.records.create("Box", BOX, actor=USER)
        await until(one.ready)
        assert [thing.size for name, thing in one.world.things.items() if "box" in name] == [1]
        stored = cache.get(A)
        assert stored is not None
        obj = {**stored.obj, "spec": {**stored.obj["spec"], "size": 2}}
        await one.records.update(stored, obj, actor=USER)
        await until(lambda: any(thing.size == 2 for thing in one.world.things.values()))
        await until(one.ready)
        await asyncio.sleep(0.2)
        stored = cache.get(A)
        assert stored is not None
        await one.records.delete(stored, actor=USER)
        await until(lambda: cache.get(A) is None)
        assert not [name for name in one.world.things if "box" in name]
        one.stopping.set()


async def test_successor_takes_over_and_the_old_epoch_cannot_write(
    database: Database, store: PostgresStore, cache: Cache
) -> None:
    other_cache = Cache()
    async with PostgresStore(database, other_cache).running() as other_store:
        me = this_process()
        gone = replace(me, pid=os.getpid() + 100_000)
        first = One(store, cache, World(), gone)
        second = One(other_store, other_cache, World(), me, alive=lambda _holder: False)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(first.run())
            await until(
                lambda: leads(first) and cache.get(Key("Namespace", "", "shop")) is not None
            )
            old = first.mandate.epoch()
            following = tasks.create_task(second.run())
            await until(lambda: leads(second), within_s=10.0)
            assert second.mandate.epoch() > old
            with pytest.raises(StaleEpochError):
                await first.records.create("Box", BOX, actor=USER, epoch=old)
            await until(lambda: not leads(first), within_s=10.0)
            await second.records.create("Box", BOX, actor=USER)
            await until(second.ready)
            assert not [name for name in first.world.things if "box" in name]
            running.cancel()
            second.stopping.set()
            await following
