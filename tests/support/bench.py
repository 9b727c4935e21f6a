"""A whole engine on a store in memory and a world in a dict, in virtual time."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from prometheus_client import CollectorRegistry

from controlplane.budget import Ledger
from controlplane.engine.controller import Tuning
from controlplane.engine.leader import Leadership
from controlplane.engine.port import Limits, Outside, Wake
from controlplane.engine.referring import PLATFORM
from controlplane.engine.term import Setup, Term
from controlplane.errors import ConflictError
from controlplane.metrics import Metrics
from controlplane.ports import PortPool
from controlplane.records import Key, Stored
from controlplane.store.leases import Lease
from controlplane.store.records import Records
from controlplane.subnets import SubnetPool
from resources.meta import PLATFORM_NAMESPACE, Footprint
from tests.support.memory import PlainSealer
from tests.support.running import FOREVER_S, HOLDER, USER, Running
from tests.support.toys import (
    INFOS,
    MODELS,
    BoxReconciler,
    HubReconciler,
    PlainReconciler,
    Thing,
    World,
)
from tests.support.virtual import LoopClock

BIG = Footprint(1_000_000, 2**50, 2**50)


@dataclass(slots=True)
class WorldSweeper:
    """Implements engine.port.Sweeper on a World; `kinds` says whose things they are."""

    world: World

    async def list_owned(self) -> list[Outside]:
        found = []
        for thing in self.world.things.values():
            kind, namespace, name = _identity(thing)
            found.append(Outside(thing.uid, kind, namespace, name, "thing", thing.name))
        return found

    async def remove(self, item: Outside, /) -> None:
        self.world.things.pop(item.id, None)


def _identity(thing: Thing) -> tuple[str, str, str]:
    kind, *rest = thing.name.removesuffix(f"-{thing.uid[:8]}").split("-")
    if kind == "box":
        return "Box", rest[0], "-".join(rest[1:])
    return kind.capitalize(), "", "-".join(rest)


@dataclass(slots=True)
class Bench(Running):
    """Records, world and term of one engine; `restart` begins a new term on the same store."""

    world: World = field(default_factory=World)
    capacity: Footprint | None = BIG
    quotas: dict[str, Footprint] = field(default_factory=dict)
    tuning: Tuning = field(default_factory=lambda: Tuning(workers=4))
    sealer: PlainSealer = field(default_factory=PlainSealer)
    epoch: int = 0
    ledger: Ledger = field(default_factory=Ledger)
    metrics: Metrics = field(default_factory=lambda: Metrics(CollectorRegistry(), [*MODELS]))
    seed: int = 0
    sweeping: bool = True
    leadership: Leadership | None = None
    term: Term | None = None

    @property
    def records(self) -> Records:
        return Records(self.store, self.store.cache, self.sealer, LoopClock(), INFOS)

    @asynccontextmanager
    async def shop(self, *boxes: str, **spec: Any) -> AsyncIterator["Bench"]:
        """A term, once the namespace `shop` and these boxes in it have settled."""
        async with self.running():
            await self.namespace()
            for name in boxes:
                await self.box(name, **spec)
            await self.settle()
            yield self

    @asynccontextmanager
    async def crashing(self) -> AsyncIterator["Bench"]:
        """A term, but cut off at the end of the block wherever it is, as by kill -9."""
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(self.new_term().run(asyncio.Event()))
            try:
                yield self
            finally:
                running.cancel()

    def new_term(self) -> Term:
        self.epoch += 1
        self.store.epoch = self.epoch
        self.ledger = Ledger()
        lease = Lease("agent", HOLDER, self.epoch, FOREVER_S, FOREVER_S)
        self.leadership = Leadership(lease, LoopClock(), FOREVER_S)
        self.term = Term(self.setup(), self.leadership)
        return self.term

    def setup(self) -> Setup:
        return Setup(
            view=self.store.cache,
            records=self.records,
            models=MODELS,
            reconcilers={
                "Namespace": PlainReconciler(self.world),
                "Depot": PlainReconciler(self.world),
                "Box": BoxReconciler(self.world),
                PLATFORM: HubReconciler(),
            },
            ledger=self.ledger,
            subnets=SubnetPool("10.201.0.0/16"),
            ports=PortPool(range(30000, 30010)),
            metrics=self.metrics,
            clock=LoopClock(),
            sweepers=(WorldSweeper(self.world),) if self.sweeping else (),
            read_limits=lambda _view: Limits(self.capacity, Footprint(), self.quotas),
            tuning=self.tuning,
            rng=random.Random(self.seed),
        )

    # --- what a user does ---

    async def namespace(self, name: str = "shop") -> Stored:
        obj = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        return await self.records.create("Namespace", obj, actor=USER)

    async def box(self, name: str, *, namespace: str = "shop", **spec: Any) -> Stored:
        obj = {
            "apiVersion": "bunker.cloud/v1",
            "kind": "Box",
            "metadata": {"name": name, "namespace": namespace},
            "spec": spec,
        }
        return await self.records.create("Box", obj, actor=USER)

    async def hub(self, name: str, *, namespace: str = PLATFORM_NAMESPACE) -> Stored:
        obj = {
            "apiVersion": "bunker.cloud/v1",
            "kind": PLATFORM,
            "metadata": {"name": name, "namespace": namespace},
            "spec": {},
        }
        return await self.records.create(PLATFORM, obj, actor=USER)

    async def edit(self, key: Key, **spec: Any) -> Stored:
        return await self.change(
            key, lambda obj: {**obj, "spec": {**(obj.get("spec") or {}), **spec}}
        )

    async def change(self, key: Key, how: Callable[[Mapping[str, Any]], Any]) -> Stored:
        while True:
            base = self.get(key)
            try:
                return await self.records.update(base, how(base.obj), actor=USER)
            except ConflictError:
                continue

    async def put_finalizers(self, key: Key, *finalizers: str) -> None:
        """Somebody writes them by hand: these alone."""
        names = list(finalizers)
        await self.change(
            key, lambda obj: {**obj, "metadata": {**obj["metadata"], "finalizers": names}}
        )

    async def delete(self, key: Key, propagation: Any = "Background") -> None:
        while True:
            try:
                await self.records.delete(self.get(key), actor=USER, propagation=propagation)
            except ConflictError:
                continue
            return

    # --- what there is ---

    def reasons(self) -> list[str]:
        """Reasons of all events, in the order of their names."""
        return [stored.obj["reason"] for stored in self.store.cache.list("Event")]

    def thing(self, key: Key) -> Thing | None:
        record = MODELS[key.kind].model_validate(self.get(key).obj)
        return self.world.things.get(record.owned_name)

    def break_thing(self, key: Key) -> None:
        """Kill it behind the engine's back."""
        thing = self.thing(key)
        assert thing is not None
        self.world.things[thing.name] = replace(thing, running=False)

    def runs(self, key: Key) -> bool:
        thing = self.thing(key)
        return thing is not None and thing.running

    def start_thing(self, key: Key, *, recheck_s: float = 0.0) -> None:
        """Let it serve, or be starting: it is then looked at again after `recheck_s`."""
        thing = self.thing(key)
        assert thing is not None
        self.world.things[thing.name] = replace(thing, recheck_s=recheck_s)

    async def wake(self, key: Key | None = None) -> None:
        """Something changed outside: it, or nobody knows what."""
        assert self.term is not None
        told = Wake() if key is None else Wake(key.kind, key.namespace, key.name)
        await self.term.wakes.outside(told)

    async def settle(self, seconds: float = 5.0) -> None:
        """Let so much virtual time pass."""
        await asyncio.sleep(seconds)


def box_key(name: str, namespace: str = "shop") -> Key:
    return Key("Box", namespace, name)


def space_key(name: str = "shop") -> Key:
    return Key("Namespace", "", name)
