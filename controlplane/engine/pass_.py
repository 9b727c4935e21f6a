"""One pass over one record: resolve, admit, observe, plan, apply, observe again, report.

Level-based: it looks at the record and the world, never at what woke it. Errors are raised;
controller.py alone turns them into conditions and requeues.
"""

from dataclasses import dataclass, field, replace
from typing import Final

from controlplane import events
from controlplane.budget import Refused
from controlplane.conditions import Fact, Reason, Summary, find
from controlplane.engine.admission import allocation, still_wanted
from controlplane.engine.facts import asked_for, doing, is_destructive, ready_fact, soon_over
from controlplane.engine.held import first_start
from controlplane.engine.parts import Parts
from controlplane.engine.queue import CAP_S
from controlplane.engine.resolve import NAMESPACE, AnyReconciler, allocation_of, former, parsed
from controlplane.engine.writer import Change
from controlplane.errors import ConflictError, UnderWayError
from controlplane.plan import (
    EnsureChild,
    EnsureSecret,
    OrphanChild,
    Outcome,
    Plan,
    RemoveChild,
    Report,
    Wait,
    Want,
)
from controlplane.records import Key, Stored
from resources.meta import FINALIZER, Allocation, Footprint, Record, Spec

MAX_ROUNDS: Final = 20
"""Plans carried out in one pass before others get a turn: a rolling change of 10 replicas is
about two rounds each."""
RECORD_STEPS: Final = (EnsureChild, EnsureSecret, OrphanChild, RemoveChild)
ADMITTED: Final = Fact("True", Reason.ADMITTED)
NOT_YET: Final = Fact("Unknown", Reason.PENDING, "asked for before the first step")


@dataclass(frozen=True, slots=True)
class Result:
    """How a pass ended, and when to look again (None: at the next resync)."""

    outcome: Outcome
    requeue_s: float | None = None
    steps: tuple[str, ...] = ()
    changed: bool = False
    gone: bool = False
    stuck: bool = False
    error: str = ""
    """What went wrong, as its condition says it."""
    at_most_s: float = CAP_S
    """When to try again at the latest, however often it has failed."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What one round found."""

    want: Want[Record]
    plan: Plan[object]
    report: Report


@dataclass(slots=True)
class Pass:
    """State of one pass; `base`, `report` and `steps` are read by the controller when it fails."""

    parts: Parts
    key: Key
    reconciler: AnyReconciler
    base: Stored | None = None
    report: Report | None = None
    admitted: Fact | None = None
    refused: Refused | None = None
    """What is asked for has no room; what was admitted before is kept up meanwhile."""
    expired: bool = False
    """Set by the controller on timeout: no further step begins."""
    asked: bool = False
    needs_room: bool = False
    steps: list[str] = field(default_factory=list)

    async def run(self) -> Result:
        """Raises errors.py types, TimeoutError once expired, and whatever a reconciler raises."""
        stored = self.parts.view.get(self.key)
        if stored is None:
            return Result("converged", gone=True)
        self.base = stored
        record = await parsed(self.parts.models[self.key.kind], stored)
        if record.deleting:
            return await self._tear_down(record, stored)
        if isinstance(spec := getattr(record, "spec", None), Spec) and spec.paused:
            return await self._rest(stored)
        started = allocation_of(stored)
        if started is None and (wait := self._first_start(record)):
            return await self._hold(stored, wait)
        granted = await self.parts.admission.ask(record, stored)
        self.asked = True
        if isinstance(granted, Refused):
            return await self._refuse(record, stored, granted)
        self.admitted = ADMITTED
        self.needs_room = record.footprint != Footprint()
        return await self._converge(record, stored, granted)

    @property
    def admitted_so_far(self) -> Fact | None:
        """Of a pass that fails: what it was granted is held from its first write on, and given
        back where there was none."""
        if self.admitted is not ADMITTED or not self.needs_room or self.base is None:
            return self.admitted
        return NOT_YET if allocation_of(self.base) is None else ADMITTED

    # --- the loop ---

    async def _converge(
        self, record: Record, base: Stored, granted: Allocation | None, hold: Wait | None = None
    ) -> Result:
        for _ in range(MAX_ROUNDS):
            look = await self._look(record, granted, hold)
            if not look.plan.steps:
                return await self._settle(record, look, granted)
            if self.parts.progress.stuck(self.key, base.generation, look.plan):
                return await self._no_progress(look)
            await self._commit(record, look, granted)
            try:
                for nth, step in enumerate(look.plan.steps):
                    if nth and (record.deleting or is_destructive(step)):
                        # those before it took their time: a server is stopped for a minute
                        await self._check_live()
                    await self._apply(step)
            except UnderWayError as exc:
                return await self._goes_on(look, exc)
            self.parts.progress.carried_out(self.key, base.generation, look.plan)
            self._check_unchanged(base)
        return Result("progressing", 0.0, tuple(self.steps), changed=True)

    async def _look(self, record: Record, granted: Allocation | None, hold: Wait | None) -> _Look:
        self._check_time()
        want = self.parts.resolver.want(record, self.reconciler, granted)
        seen = await self.reconciler.observe(want)
        # before the plan, which may raise: what was seen is told even then
        self.report = self.reconciler.status(want, seen)
        plan: Plan[object] = self.reconciler.plan(want, seen)
        return _Look(want, Plan(wait=hold) if hold is not None else plan, self.report)

    async def _commit(self, record: Record, look: _Look, granted: Allocation | None) -> None:
        """Before the first step: what may be held and the finalizer that frees it, in one write;
        and before anything is removed, a live look at the record."""
        assert self.base is not None
        if not record.deleting:
            change = Change(
                self._summary(look, Fact("False", Reason.PROGRESSING, doing(look.plan))),
                look.report.status,
                granted,
                hold=True,
                finished=False,
            )
            if self._worth_telling(look, granted):
                self.base = await self.parts.writer.write(self.base, change)
        if record.deleting or any(is_destructive(step) for step in look.plan.steps):
            await self._check_live()

    async def _apply(self, step: object) -> None:
        self._check_time()
        self.parts.guard()
        assert self.base is not None
        self.steps.append(type(step).__name__)
        if isinstance(step, RECORD_STEPS):
            await self.parts.children.carry_out(self.base, step)
        else:
            await self.reconciler.apply(step)
        self.parts.metrics.steps.labels(self.key.kind, type(step).__name__).inc()

    # --- how it ends ---

    async def _settle(self, record: Record, look: _Look, granted: Allocation | None) -> Result:
        """Nothing more to do now: converged, or waiting for something."""
        assert self.base is not None
        wait = look.plan.wait
        if wait is not None and not record.deleting and soon_over(wait, self.base):
            return Result("waiting", wait.recheck_after_s, tuple(self.steps))
        if look.plan.converged:
            self.parts.progress.forget(self.key)
        if record.deleting and look.plan.converged:
            return await self._let_go(look)
        held = self._held(record, look, granted)
        if held is None and not record.deleting and record.footprint != Footprint():
            self.admitted = NOT_YET
        change = Change(
            self._summary(look, self._synced(record, look)),
            look.report.status,
            held,
            hold=None if held is None or record.deleting else True,
        )
        changed = await self._write(change)
        told_s = None if wait is None else wait.recheck_after_s
        # what serves while it waits is looked at as often as if it did not
        again_s = look.report.recheck_after_s if told_s is None else told_s
        outcome: Outcome = "converged" if wait is None else "waiting"
        return Result(outcome, again_s, tuple(self.steps), changed=changed)

    def _synced(self, record: Record, look: _Look) -> Fact:
        """Whether what runs is what the record says, or why not."""
        wait = look.plan.wait
        if record.deleting:
            return Fact("False", Reason.DELETING, wait.message if wait else "")
        if self.refused is not None:
            return Fact("False", self.refused.reason, self.refused.message)
        if wait is not None and wait.recheck_after_s is None and look.report.ready:
            # it serves as it was before: nothing else would say what its new spec waits for
            return Fact("False", wait.reason, wait.message)
        return Fact("True", Reason.RECONCILED)

    def _held(self, record: Record, look: _Look, granted: Allocation | None) -> Allocation | None:
        """What is to stay committed: the smaller size once it is observed; nothing at all for
        what neither began nor needs anything."""
        if granted is None or record.deleting:
            return granted
        if self.refused is not None:
            return _less(record, look, granted)
        assert self.base is not None
        if allocation_of(self.base) is None and (
            not look.plan.converged or granted == Allocation()
        ):
            return None
        in_use = look.report.in_use
        if in_use is None:
            in_use = Footprint() if look.plan.converged else granted.footprint
        # what is wanted no more may still lead to something outside until it converged
        done = look.plan.converged
        ports = done or look.report.exchanged
        granted = still_wanted(record, granted, names=done, ports=ports)
        names = granted.names
        return allocation(record.footprint.at_least(in_use), granted.ports, granted.subnet, names)

    async def _let_go(self, look: _Look) -> Result:
        """Nothing is left outside: drop the finalizer and what was held, together."""
        assert self.base is not None
        if FINALIZER not in (self.base.meta.get("finalizers") or ()):
            if allocation_of(self.base) is None:
                return Result("converged", None, tuple(self.steps))
        elif (live := await self.parts.live(self.base)) is None:
            return Result("converged", gone=True)
        else:
            self.base = live
        change = Change(
            self._summary(look, Fact("False", Reason.DELETING, "nothing is left outside")),
            look.report.status,
            forget_allocation=True,
            hold=False,
        )
        await self._write(change)
        self.parts.admission.release(self.base.uid)
        return Result("converged", None, tuple(self.steps), changed=True)

    async def _goes_on(self, look: _Look, step: UnderWayError) -> Result:
        """A step takes longer than a worker waits, and no other can be made before it is over."""
        wait = Wait(step.reason, str(step), step.look_again_s)
        synced = Fact("False", Reason.PROGRESSING, wait.message)
        if self.refused is not None:
            synced = Fact("False", self.refused.reason, self.refused.message)
        summary = self._summary(replace(look, plan=Plan(wait=wait)), synced)
        changed = await self._write(Change(summary, look.report.status))
        # not the step itself: it would be told anew at each look
        return Result("waiting", step.look_again_s, tuple(self.steps[:-1]), changed=changed)

    async def _no_progress(self, look: _Look) -> Result:
        text = f"{doing(look.plan)}: done before, and needed again without having worked"
        self.parts.metrics.no_progress.labels(self.key.kind).inc()
        await self._write(
            Change(self._summary(look, Fact("False", Reason.NO_PROGRESS, text)), look.report.status)
        )
        return Result("retry", None, tuple(self.steps), changed=True, stuck=True)

    # --- before it begins ---

    def _first_start(self, record: Record) -> Wait | None:
        want = self.parts.resolver.want(record, self.reconciler, None)
        return first_start(self.parts.resolver, self.key, want)

    async def _tear_down(self, record: Record, stored: Stored) -> Result:
        self.parts.admission.stop_waiting(stored.uid)
        hold = None
        if self.key.kind == NAMESPACE and (count := self.parts.contents(self.key.name)):
            hold = Wait(Reason.NAMESPACE_NOT_EMPTY, f"{count} records in it are not gone yet")
        return await self._converge(record, stored, allocation_of(stored), hold)

    async def _rest(self, stored: Stored) -> Result:
        """Paused: nothing is looked at and nothing is touched."""
        self.parts.admission.stop_waiting(stored.uid)
        text = "spec.paused is true: nothing is done until it is false"
        fresh = allocation_of(stored) is None
        ready = Fact("False", Reason.PAUSED, text) if fresh else None
        admitted = Fact("Unknown", Reason.PAUSED, text) if fresh else None
        synced = Fact("False", Reason.PAUSED, text)
        changed = await self._write(Change(Summary(synced, ready=ready, admitted=admitted)))
        return Result("waiting", changed=changed)

    async def _hold(self, stored: Stored, wait: Wait) -> Result:
        """Its first start has to wait for other records; it takes no room meanwhile."""
        self.parts.admission.stop_waiting(stored.uid)
        summary = Summary(
            Fact("True", Reason.PENDING, wait.message),
            ready=Fact("False", wait.reason, wait.message),
            admitted=NOT_YET,
        )
        changed = await self._write(Change(summary))
        return Result("waiting", wait.recheck_after_s, changed=changed)

    async def _refuse(self, record: Record, stored: Stored, refused: Refused) -> Result:
        """No room. What runs goes on at the size it has, and is healed by the spec that it was
        admitted with; without one it is looked at but not touched."""
        self.refused = refused
        synced = self.admitted = Fact("False", refused.reason, refused.message)
        before = allocation_of(stored)
        older = former(self.parts.models[self.key.kind], stored)
        if before is not None and older is not None:
            result = await self._converge(older, stored, before)
        else:
            if before is None:
                ready = Fact("False", refused.reason, refused.message)
                change = Change(Summary(synced, ready=ready, admitted=self.admitted))
            else:
                look = await self._look(record, before, None)
                change = Change(self._summary(look, synced), look.report.status)
            result = Result("waiting", changed=await self._write(change))
        self._tell_refusal(stored, refused)
        if result.outcome not in ("waiting", "converged"):
            return result
        again_s = [each for each in (result.requeue_s, refused.retry_after_s) if each is not None]
        return replace(result, outcome="waiting", requeue_s=min(again_s, default=None))

    def _tell_refusal(self, stored: Stored, refused: Refused) -> None:
        """Once for each that is new."""
        conditions = (stored.obj.get("status") or {}).get("conditions") or ()
        was = find(conditions, "Admitted") or {}
        if (was.get("reason"), was.get("message")) != (refused.reason, refused.message):
            told = events.happened(stored, "Warning", refused.reason, f"waited: {refused.message}")
            self.parts.recorder.tell(told)

    # --- shared ---

    async def _write(self, change: Change) -> bool:
        assert self.base is not None
        before = self.base
        self.base = await self.parts.writer.write(before, change)
        return self.base is not before

    def _summary(self, look: _Look, synced: Fact) -> Summary:
        return Summary(
            synced,
            ready=ready_fact(look.report, look.plan.wait),
            admitted=self.admitted,
            extras=look.report.conditions,
        )

    def _worth_telling(self, look: _Look, granted: Allocation | None) -> bool:
        """True if the store must know before the steps: the finalizer, the allocation, a new
        generation, or that it serves no more. A healed drift is told once, afterwards."""
        assert self.base is not None
        status = self.base.obj.get("status") or {}
        was = find(status.get("conditions") or (), "Ready")
        return (
            FINALIZER not in (self.base.meta.get("finalizers") or ())
            or allocation_of(self.base) != granted
            or status.get("observedGeneration") != self.base.generation
            or (not look.report.ready and was is not None and was.get("status") == "True")
        )

    async def _check_live(self) -> None:
        """Before something is lost: by the store itself, as a view may be behind."""
        assert self.base is not None
        live = await self.parts.live(self.base)
        if live is None or asked_for(live) != asked_for(self.base):
            raise ConflictError(f"cannot go on with {self.key}: it has changed meanwhile")

    def _check_unchanged(self, base: Stored) -> None:
        """An edit meanwhile: what is planned on would be stale."""
        now = self.parts.view.get(self.key)
        if now is None or now.uid != base.uid or now.generation != base.generation:
            raise ConflictError(f"cannot go on with {self.key}: it has changed meanwhile")

    def _check_time(self) -> None:
        if self.expired:
            raise TimeoutError


def _less(record: Record, look: _Look, held: Allocation) -> Allocation:
    """Of what waits to grow: what its last admitted edit gave up goes back once that is observed;
    the spec that it is healed by stays. Never more: that may ask for more in a new release."""
    size = record.footprint.at_least(look.report.in_use or Footprint())
    if not look.plan.converged or not size.fits(held.footprint):
        return held
    held = still_wanted(record, held)
    return allocation(size, held.ports, held.subnet, held.names, held.spec)
