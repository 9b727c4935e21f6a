"""The whole agent with the real kinds on fake drivers, in virtual time."""

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, ClassVar

from prometheus_client import CollectorRegistry

from controlplane.budget import Ledger
from controlplane.clock import Clock
from controlplane.engine.controller import Tuning
from controlplane.engine.leader import Leadership
from controlplane.engine.term import Setup, Term
from controlplane.engine.usage import Used
from controlplane.engine.values import StoredValues
from controlplane.errors import ConflictError
from controlplane.metrics import Metrics
from controlplane.ports import DEFAULT_POOL, PortPool
from controlplane.records import Key, Stored
from controlplane.seam import Seam, through
from controlplane.store.leases import Lease
from controlplane.store.records import Records
from controlplane.subnets import SubnetPool
from drivers.containers import ContainerState
from drivers.fake.containers import FakeContainers
from drivers.fake.mail import FakeMail, FakeMailServer
from reconcilers.agent import sweepers
from reconcilers.outside import wakes
from reconcilers.registry import RECONCILERS, Drivers, behind
from resources.kinds import KIND_INFOS, MODELS
from tests.support.fakes import Fakes
from tests.support.faults import Open
from tests.support.keys import quick
from tests.support.memory import PlainSealer
from tests.support.running import FOREVER_S, HOLDER, USER, Running
from tests.support.virtual import LoopClock

HOST = {
    "apiVersion": "bunker.cloud/v1",
    "kind": "Host",
    "metadata": {"name": "host"},
    "spec": {
        "capacity": {"cpu": "4", "memory": "8Gi", "disk": "100Gi"},
        "reserved": {"cpu": "500m", "memory": "1Gi", "disk": "0"},
    },
}
NAMESPACES = [
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    for name in ("default", "shop")
]


@dataclass(slots=True)
class Platform(Running, Fakes):
    """Real reconcilers, real engine, fake everything else."""

    any_source: ClassVar[bool] = True
    mail: FakeMail = field(default_factory=lambda: FakeMail(anywhere=FakeMailServer()))
    sealer: PlainSealer = field(default_factory=PlainSealer)
    epoch: int = 0
    seed: int = 0
    term: Term | None = None
    seam: Seam = field(default_factory=Open)
    """What every call of the engine and its reconcilers passes."""
    clock: Clock = field(default_factory=LoopClock)
    subnets: str = "10.201.0.0/16"
    ports: range = DEFAULT_POOL
    metrics: Metrics = field(default_factory=lambda: Metrics(CollectorRegistry(), RECONCILERS))
    """Of all its processes together."""
    aliases: dict[str, str] = field(default_factory=dict)
    """Words in what it comes to that are this run's alone, and what stands for them."""

    @property
    def records(self) -> Records:
        return Records(self.store, self.store.cache, self.sealer, self.clock, KIND_INFOS)

    def new_term(self, *, seam: Seam | None = None, until_s: float = FOREVER_S) -> Term:
        """A process that leads from now on; `seam`: what its calls pass, if not the platform's."""
        self.epoch += 1
        self.store.epoch = self.epoch
        lease = Lease("agent", HOLDER, self.epoch, FOREVER_S, FOREVER_S)
        leadership = Leadership(lease, self.clock, until_s)
        setup = self._setup(self.seam if seam is None else seam, leadership)
        self.term = Term(setup, leadership)
        return self.term

    def _setup(self, seam: Seam, leadership: Leadership) -> Setup:
        cache, ledger = self.store.cache, Ledger()

        def guard() -> int:
            leadership.guard()
            return leadership.epoch

        drivers = behind(self._acting(ledger, guard, seam), seam)
        return Setup(
            view=cache,
            records=through(self.records, "store", seam),
            models=MODELS,
            reconcilers={kind: build(drivers) for kind, build in RECONCILERS.items()},
            ledger=ledger,
            subnets=SubnetPool(self.subnets),
            ports=PortPool(self.ports),
            metrics=self.metrics,
            clock=self.clock,
            routes=drivers.containers.observe_routes,
            sweepers=sweepers(drivers, cache, self.clock),
            wake_sources=(wakes(drivers.containers.events),),
            seeds=(HOST, *NAMESPACES),
            tuning=Tuning(workers=4),
            rng=random.Random(self.seed),
            generate=quick,
        )

    def _acting(self, ledger: Ledger, guard: Callable[[], int], seam: Seam) -> Drivers:
        """What one process acts with, as long as `guard` lets it; `seam` for what is below."""
        del seam
        containers = FakeContainers(self.engine, guard=guard)
        return replace(self._drivers(ledger), containers=containers)

    @property
    def drivers(self) -> Drivers:
        """The fakes, before any seam."""
        return self._drivers(Ledger())

    def _drivers(self, ledger: Ledger) -> Drivers:
        values = StoredValues(self.store.cache, self.records)
        return self.around(values, Used(ledger, self.store.cache), self.clock)

    # --- what a user does ---

    async def apply(self, kind: str, name: str, /, within: str = "shop", **spec: Any) -> Key:
        """Make or edit a record, in the namespace `within` if its kind has one."""
        info = KIND_INFOS[kind]
        namespace = {"namespace": within} if info.namespaced else {}
        key = Key(kind, namespace.get("namespace", ""), name)
        found = self.store.cache.get(key)
        if found is not None:
            obj = {**found.obj, "spec": {**found.obj["spec"], **spec}}
            await self.records.update(found, obj, actor=USER)
            return key
        meta: Mapping[str, str] = {"name": name, **namespace}
        obj = {"apiVersion": info.api_version, "kind": kind, "metadata": meta, "spec": spec}
        await self.records.create(kind, obj, actor=USER)
        return key

    async def delete(self, key: Key, propagation: Any = "Background") -> None:
        while (found := self.find(key)) is not None:
            try:
                await self.records.delete(found, actor=USER, propagation=propagation)
            except ConflictError:
                await asyncio.sleep(0.1)
                continue
            return

    async def edit(self, found: Stored, obj: Mapping[str, Any]) -> None:
        """Somebody writes the whole object anew."""
        await self.records.update(found, obj, actor=USER)

    # --- what there is ---

    def now(self) -> datetime:
        """The time it is for all of them."""
        return self.clock.now()

    def states(self) -> list[ContainerState]:
        """Every container there is."""
        return [container.state for container in self.engine.containers.values()]

    def of(self, key: Key) -> list[ContainerState]:
        """Its containers."""
        uid = self.get(key).uid
        states = self.states()
        return [each for each in states if each.owner is not None and each.owner.uid == uid]

    async def settle(self, seconds: float = 10.0) -> None:
        await asyncio.sleep(seconds)
