"""One term of leadership: all that runs while this process leads, and its orderly end.

Built anew for each term from the store alone, so that nothing a former term believed is left.
"""

import asyncio
import random
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Final

import orjson
import structlog

from controlplane.budget import Ledger
from controlplane.clock import Clock
from controlplane.engine.admission import Admission, holds_or_waits
from controlplane.engine.breaker import Breakers
from controlplane.engine.children import Children
from controlplane.engine.chores import keep_doing
from controlplane.engine.controller import Controller, Tuning
from controlplane.engine.garbage import Garbage
from controlplane.engine.index import Dependents
from controlplane.engine.leader import Leadership
from controlplane.engine.limits import BUDGET_KINDS, HOST_NAME, read_limits
from controlplane.engine.parts import Parts
from controlplane.engine.port import AGENT, Chore, Limits, RecordsPort, Routes, Sweeper, WakeSource
from controlplane.engine.prepared import Prepare, Prepared, prepared_here
from controlplane.engine.progress import Progress
from controlplane.engine.queue import Priority, Queue
from controlplane.engine.recorder import Recorder
from controlplane.engine.referring import PLATFORM
from controlplane.engine.resolve import AnyReconciler, Resolver, forget_parsed, parsed
from controlplane.engine.room import Departures, Room
from controlplane.engine.secretdata import generate
from controlplane.engine.slices import in_slices
from controlplane.engine.sweep import Sweep
from controlplane.engine.wakes import Wakes
from controlplane.engine.writer import Writer
from controlplane.errors import AlreadyExistsError, RetryableError, TerminalError
from controlplane.events import happened
from controlplane.metrics import TOLD, Metrics, told_as
from controlplane.names import NameBook
from controlplane.plan import Generated
from controlplane.ports import PortPool
from controlplane.records import Change, Key, Stored, View
from controlplane.subnets import SubnetPool
from resources.host import Host
from resources.meta import Record

Loop = Callable[[], Coroutine[Any, Any, None]]
"""Something to run, and to run again should it end."""
COUNT_S: Final = 30.0
"""Between two counts of records by condition, for the metrics."""
RESTART_S: Final = 1.0

_log = structlog.get_logger(__name__)


async def no_routes() -> tuple[str, ...]:
    return ()


@dataclass(frozen=True, slots=True)
class Setup:
    """What the composition root hands in. Only what is above `routes` has no default."""

    view: View
    records: RecordsPort
    models: Mapping[str, type[Record]]
    """Every kind (resources.kinds.MODELS)."""
    reconcilers: Mapping[str, AnyReconciler]
    """One for each kind with info.reconciled."""
    ledger: Ledger
    """Also what the Host and Quota reconcilers tell (engine.usage)."""
    subnets: SubnetPool
    ports: PortPool
    metrics: Metrics
    clock: Clock
    routes: Routes = no_routes
    """CIDRs the host already uses (Containers.observe_routes)."""
    sweepers: Sequence[Sweeper] = ()
    chores: Sequence[Chore] = ()
    wake_sources: Sequence[WakeSource] = ()
    """Opened once each; e.g. Containers.events with OwnerChanged turned into Wake."""
    seeds: Sequence[Mapping[str, Any]] = ()
    """Objects made at the start of a term where they are absent, e.g. the Host."""
    read_limits: Callable[[View], Limits] = read_limits
    budget_kinds: frozenset[str] = BUDGET_KINDS
    tuning: Tuning = field(default_factory=Tuning)
    drain_s: float = 20.0
    """How long running passes may take to end when the process stops."""
    rng: random.Random = field(default_factory=random.Random)
    prepare: Prepare = prepared_here
    """Makes a model ready for its first record; on a thread, as it may take 0.1 s."""
    generate: Callable[[Generated], str] = generate
    """Makes the values of generated Secrets."""


class Term:
    """Everything between becoming the leader and being it no more."""

    def __init__(self, setup: Setup, leadership: Leadership) -> None:
        self._setup = setup
        self._leadership = leadership
        clock, view, records = setup.clock, setup.view, setup.records
        self.queues = {kind: Queue(clock, setup.rng) for kind in setup.reconcilers}
        self.breakers = Breakers(clock, setup.rng)
        dependents = Dependents()
        names = NameBook()
        self.room = Room(
            setup.ledger,
            names,
            view,
            clock,
            setup.metrics,
            read_limits=setup.read_limits,
            budget_kinds=setup.budget_kinds,
            wake=self._wake,
        )
        self.admission = Admission(
            view, setup.ledger, setup.subnets, setup.ports, names, setup.routes, self.room.changed
        )
        self.recorder = Recorder(records, view, clock, self._epoch)
        infos = {kind: model.info for kind, model in setup.models.items()}
        self.garbage = Garbage(
            view, records, infos, self._epoch, clock, Queue(clock, setup.rng), leadership.lost
        )
        self.sweep = Sweep(
            view,
            records,
            setup.sweepers,
            clock,
            leadership.guard,
            setup.metrics,
            born=self._born,
            clean=self.admission.release,
            refused=self._sweep_refused,
        )
        self._departures = Departures(self.admission, swept=bool(setup.sweepers))
        resolver = Resolver(view, setup.models, dependents)
        read = {kind: setup.models[kind] for kind in setup.reconcilers}
        self._prepared = Prepared(read, setup.prepare)
        self.wakes = Wakes(
            view,
            self.queues,
            dependents,
            resolver.named_by,
            self.breakers,
            clock,
            prepared=self._prepared,
            listeners=(self.room.take, self.garbage.take, self._departed),
            missed=self._missed,
        )
        self._parts = Parts(
            view=view,
            records=records,
            models=setup.models,
            resolver=resolver,
            admission=self.admission,
            writer=Writer(records, clock, self._epoch),
            children=Children(
                view, records, setup.models, self._epoch, self.recorder, setup.generate
            ),
            recorder=self.recorder,
            progress=Progress(),
            metrics=setup.metrics,
            clock=clock,
            guard=leadership.guard,
            contents=self.garbage.contents,
        )
        self._since = 0
        """The revision that the ledgers were read at."""
        self.controllers = [self._controller(kind) for kind in setup.reconcilers]

    async def run(self, stopping: asyncio.Event) -> None:
        """Until `stopping` is set or the leadership is over; then no key is taken any more, and
        passes end: by themselves while it leads, before their next step when it doesn't."""
        if not await self._begin():
            return
        async with asyncio.TaskGroup() as tasks:
            loops = [tasks.create_task(_kept_up(loop), name="loop") for loop in self._loops()]
            workers = [tasks.create_task(work(), name="worker") for work in self._workers()]
            await self.wakes.everything(Priority.RESYNC)
            await either(stopping.wait(), self._leadership.over())
            for queue in (*self.queues.values(), self.garbage.jobs):
                queue.close()
            await self._drain(workers, stopping)
            for task in (*workers, *loops):
                task.cancel()
        if self._leadership.remaining_s > 0.0:
            await self.recorder.flush()

    @property
    def idle(self) -> bool:
        """Nothing is due or being worked on; timers may be set."""
        return all(q.idle for q in (*self.queues.values(), self.garbage.jobs))

    async def _drain(
        self, workers: Collection[asyncio.Task[None]], stopping: asyncio.Event
    ) -> None:
        """Give passes under way time to end."""
        if not stopping.is_set():
            # an agent that stays must not work on a key while an old call of its own still runs
            patience_s = self._setup.tuning.timeout_s
            await either(asyncio.wait(workers, timeout=patience_s), stopping.wait())
        if stopping.is_set():
            await asyncio.wait(workers, timeout=self._setup.drain_s)

    # --- the start ---

    async def _begin(self) -> bool:
        """Read what is so; False if the leadership ended before the store answered."""
        while self._leadership.remaining_s > 0.0:
            try:
                await self._setup.records.catch_up(5.0)
                await self._seed()
            except RetryableError as exc:
                _log.info("term_not_begun", error=str(exc))
                await self._setup.clock.sleep(RESTART_S)
                continue
            # from before the read: what changes while it goes on is taken again afterwards
            self._since = self._setup.view.revision
            self.room.read_limits()
            await self.admission.load(self._held())
            self.room.loaded()
            return True
        return False

    async def _seed(self) -> None:
        for obj in self._setup.seeds:
            if self._setup.view.get(_key(obj)) is not None:
                continue
            try:
                await self._setup.records.create(obj["kind"], obj, actor=AGENT, epoch=self._epoch())
            except AlreadyExistsError:
                continue

    def _born(self) -> datetime | None:
        """When the first of the seeds was made: with the store."""
        found = (self._setup.view.get(_key(obj)) for obj in self._setup.seeds)
        stamps = [str(stored.meta["creationTimestamp"]) for stored in found if stored is not None]
        return datetime.fromisoformat(min(stamps)) if stamps else None

    async def _held(self) -> AsyncIterator[tuple[Record | None, Stored]]:
        named = bool(self._setup.view.list(PLATFORM))
        for kind in self._setup.reconcilers:
            records = self._setup.view.list(kind)
            if records:
                await self._prepared.ensure(kind)
            async for stored in in_slices(records):
                if holds_or_waits(stored):
                    yield await self._typed(stored), stored
                if named:  # else the first pass of a server would read them all in one go
                    self._parts.resolver.named_by(stored)
                forget_parsed(stored)

    async def _typed(self, stored: Stored) -> Record | None:
        try:
            return await parsed(self._setup.models[stored.key.kind], stored)
        except TerminalError:
            return None

    # --- what runs ---

    def _loops(self) -> list[Loop]:
        loops: list[Loop] = [queue.run for queue in self.queues.values()]
        loops += [self.garbage.jobs.run, self.room.run, self.room.tell, self.recorder.run]
        loops += [lambda: self.wakes.follow(self._since), self._count]
        if self._setup.sweepers:
            loops.append(self.sweep.run)
        clock, records, guard = self._setup.clock, self._setup.records, self._leadership.guard
        loops += [partial(keep_doing, each, clock, records, guard) for each in self._setup.chores]
        for source in self._setup.wake_sources:
            loops.append(_listener(self.wakes, source))
        return loops

    def _workers(self) -> list[Loop]:
        each = self._setup.tuning.workers
        found: list[Loop] = []
        for controller in self.controllers:
            found += [controller.worker] * each
        return [*found, self.garbage.worker]

    async def _count(self) -> None:
        told = -1
        while True:
            if told != (told := self._setup.view.revision):
                await self._tell_counts()
            await self._setup.clock.sleep(COUNT_S)

    async def _tell_counts(self) -> None:
        for kind in self.queues:
            counts = dict.fromkeys(TOLD, 0)
            async for stored in in_slices(self._setup.view.list(kind)):
                status = orjson.loads(stored.body).get("status") or {}
                for item in status.get("conditions") or ():
                    for condition in told_as(item):
                        counts[condition] = counts.get(condition, 0) + 1
            for condition, number in counts.items():
                self._setup.metrics.records.labels(kind, condition).set(number)

    def _controller(self, kind: str) -> Controller:
        return Controller(
            self._parts,
            kind,
            self._setup.reconcilers[kind],
            self.queues[kind],
            self.breakers,
            self._setup.rng,
            self._setup.tuning,
            lost=self._leadership.lost,
            wake_keys=self._wake_keys,
        )

    # --- small connections ---

    def _epoch(self) -> int:
        return self._leadership.epoch

    def _wake(self, key: Key, priority: Priority) -> None:
        self.wakes.key(key, priority)

    async def _wake_keys(self, keys: tuple[Key, ...]) -> None:
        """Their failures so far count no more."""
        view = self._setup.view
        async for stored in in_slices(found for key in keys if (found := view.get(key))):
            self.queues[stored.key.kind].forget(stored.key)
            self.wakes.key(stored.key, Priority.DEPENDENCY)

    def _departed(self, change: Change) -> None:
        if change.verb != "delete":
            return
        self.sweep.gone(change.after.uid)
        if self._departures.take(change):
            self.sweep.look_soon()

    def _sweep_refused(self, why: str) -> None:
        """Told of the machine: what is outside has no record of its own to tell it of."""
        if host := self._setup.view.get(Key(Host.info.kind, "", HOST_NAME)):
            self.recorder.tell(happened(host, "Warning", "SweepRefused", why))

    def _missed(self) -> None:
        """Changes were: what they would have told is read from what is there."""
        self.room.read_limits()
        view = self._setup.view
        live = {stored.uid for kind in self._setup.reconcilers for stored in view.list(kind)}
        for uid in self._departures.missed(live):
            self.sweep.gone(uid)
            self.sweep.look_soon()


async def either(*waits: Awaitable[object]) -> None:
    """Return once one of them has; the others are cancelled."""
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(_awaited(wait)) for wait in waits]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()


async def _awaited(wait: Awaitable[object]) -> None:
    await wait


async def _kept_up(loop: Loop) -> None:
    """Run an endless loop; a bug in one costs a second, not the platform."""
    while True:
        try:
            await loop()
        except Exception:  # noqa: BLE001  # logged in full, and begun again
            _log.exception("loop_restarted")
        await asyncio.sleep(RESTART_S)


def _key(obj: Mapping[str, Any]) -> Key:
    meta = obj["metadata"]
    return Key(obj["kind"], meta.get("namespace", ""), meta["name"])


def _listener(wakes: Wakes, source: WakeSource) -> Loop:
    return lambda: wakes.listen(source)
