"""The workers of one kind: take a key, run one pass, and turn how it ended into conditions, a
requeue, metrics, one log line and events. The only place where an error becomes policy.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final

import structlog
from structlog.contextvars import bound_contextvars

from controlplane.conditions import Reason, find
from controlplane.engine.breaker import Breakers, Held
from controlplane.engine.failure import Failure, classify
from controlplane.engine.outcome import Story, told
from controlplane.engine.parts import Parts
from controlplane.engine.pass_ import Pass, Result
from controlplane.engine.queue import CAP_S, Item, Priority, Queue
from controlplane.engine.resolve import AnyReconciler, forget_parsed
from controlplane.engine.writer import Change
from controlplane.errors import (
    ConflictError,
    DriverUnavailableError,
    StaleEpochError,
    StoreUnavailableError,
)
from controlplane.records import Key, Stored

MIN_RECHECK_S: Final = 0.005
"""A recheck asked for sooner would be a busy loop."""
CONFLICT_S: Final = 0.05
"""After a second conflict in a row the cache is given this x 2^n to catch up."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Tuning:
    """Times in seconds."""

    workers: int = 16
    """Keys of one kind worked on at once; drivers bound their own calls further."""
    timeout_s: float = 300.0
    """A pass that takes longer begins no further step."""
    resync_s: float = 600.0
    """Every record is looked at this often even if nothing happens, +-20 %."""


class Controller:
    """All passes of one kind. `lost` is called when a write proves that another process leads."""

    def __init__(
        self,
        parts: Parts,
        kind: str,
        reconciler: AnyReconciler,
        queue: Queue,
        breakers: Breakers,
        rng: random.Random,
        tuning: Tuning,
        *,
        lost: Callable[[], None],
        wake_keys: Callable[[tuple[Key, ...]], Awaitable[None]],
    ) -> None:
        self.kind = kind
        self.queue = queue
        self._parts = parts
        self._reconciler = reconciler
        self._breakers = breakers
        self._rng = rng
        self._tuning = tuning
        self._lost = lost
        self._wake_keys = wake_keys
        self._log = structlog.get_logger(__name__).bind()
        self._conflicts: dict[Key, int] = {}
        self._unsure: set[Key] = set()
        """Whose last write may have been committed without the view showing it yet."""
        self._running: dict[Key, Pass] = {}

    async def worker(self) -> None:
        """Work until the queue is closed. Survives whatever a reconciler raises."""
        while (item := await self.queue.get()) is not None:
            try:
                await self.process(item)
            finally:
                self.queue.done(item.key)
            # a pass that finds nothing to do may never wait for anything, and a thousand of them
            # in a row would keep the loop from everything else
            await asyncio.sleep(0)

    @property
    def overdue(self) -> tuple[str, ...]:
        """Records whose pass has timed out and whose last call has not ended yet."""
        return tuple(sorted(str(key) for key, run in self._running.items() if run.expired))

    async def process(self, item: Item) -> None:
        """One pass over one key, and what follows from it."""
        began_s = self._parts.clock.monotonic()
        before = self._parts.view.get(item.key)
        run = Pass(self._parts, item.key, self._reconciler)
        self._running[item.key] = run
        # nothing is cancelled: the key stays locked until its last call has really ended
        timer = asyncio.get_running_loop().call_later(self._tuning.timeout_s, _expire, run)
        context = {
            "kind": self.kind,
            "name": f"{item.key.namespace}/{item.key.name}".lstrip("/"),
            "generation": 0 if before is None else before.generation,
            "reconcile_id": f"{self._rng.getrandbits(32):08x}",
        }
        with bound_contextvars(**context):
            try:
                result = await self._run(run, edited=item.priority is Priority.USER)
            finally:
                timer.cancel()
                del self._running[item.key]
            self._requeue(item, result, run.base)
            self._measure(item, result, self._parts.clock.monotonic() - began_s)
        self._tell(Story(before, run.base, result))
        for stored in (before, run.base):
            if stored is not None:
                forget_parsed(stored)

    async def _run(self, run: Pass, *, edited: bool) -> Result:
        held = self._held(run.key, edited=edited)
        if held is not None:
            return await self._held_back(run, held)
        known = True
        try:
            await self._make_sure(run.key)
            result = await run.run()
        except StaleEpochError:
            self._lost()
            return Result("conflict")
        except Exception as exc:  # noqa: BLE001  # the worker survives every bug in a kind
            # a write whose reply was lost may have been committed: keep what was granted
            known = not isinstance(exc, StoreUnavailableError)
            result = await self._failed(run, classify(exc))
        if run.report is not None and result.outcome in ("converged", "progressing", "waiting"):
            await self._wake_keys(self._breakers.succeeded(run.key))
        else:
            self._breakers.abandoned(run.key)
        if run.base is not None:
            if not run.asked:
                # it failed before it could ask: whoever is behind it must not wait for it
                self._parts.admission.stop_waiting(run.base.uid)
            self._settle(run.base, known=known)
        if not known:
            self._unsure.add(run.key)
        return result

    def _held(self, key: Key, *, edited: bool) -> Held | None:
        # what is gone asks no driver, and must not wait to be forgotten
        there = self._parts.view.get(key) is not None
        return self._breakers.admit(key, edited=edited) if there else None

    async def _make_sure(self, key: Key) -> None:
        """What a pass begins from is what the store has, if its last write may have been made."""
        if key in self._unsure:
            await self._parts.records.catch_up(self._parts.catch_up_s)
            self._unsure.discard(key)

    def _settle(self, base: Stored, *, known: bool) -> None:
        """Hold what the store says, if that is known; nothing for what went meanwhile, unless a
        sweep has yet to find that nothing of it is outside."""
        admission = self._parts.admission
        now = self._parts.view.get(base.key)
        if (now is None or now.uid != base.uid) and not admission.ledger.holds(base.uid):
            admission.release(base.uid)
        elif known:
            admission.sync(base)

    async def _held_back(self, run: Pass, held: Held) -> Result:
        """A driver is away: say so, touch nothing, keep no room that others could use."""
        run.base = self._parts.view.get(run.key)
        at_most_s = held.retry_after_s if held.probes else CAP_S
        if run.base is not None:
            self._parts.admission.stop_waiting(run.base.uid)
            if _says_unavailable(run.base):
                result = Result("retry", held.retry_after_s, error=held.message)
                return replace(result, at_most_s=at_most_s)
        problem = DriverUnavailableError(
            held.driver, held.message, retry_after_s=held.retry_after_s
        )
        result = await self._failed(run, classify(problem), counted=False)
        return replace(result, at_most_s=at_most_s)

    async def _failed(self, run: Pass, failure: Failure, *, counted: bool = True) -> Result:
        """Say so in the conditions, and choose when to try again."""
        failed = Result(
            failure.outcome,
            failure.retry_after_s,
            tuple(run.steps),
            error=failure.message,
            at_most_s=failure.at_most_s,
        )
        if failure.driver and counted:
            probe_s = self._breakers.failed(failure.driver, run.key)
            if probe_s is not None:
                at_least_s = max(probe_s, failure.retry_after_s or 0.0)
                failed = replace(failed, requeue_s=at_least_s, at_most_s=probe_s)
        if failure.is_bug:
            _log.error("reconcile_failed", exc_info=failure.cause)
        if run.base is None or failure.silent:
            return failed
        self._parts.admission.failed(run.base.uid, failure.reason)
        summary = failure.summary(run.base, run.report, run.admitted_so_far)
        try:
            before = run.base
            status = None if run.report is None else run.report.status
            run.base = await self._parts.writer.write(before, Change(summary, status))
        except ConflictError:
            return Result("conflict", None, tuple(run.steps))
        except StaleEpochError:
            self._lost()
            return Result("conflict")
        except Exception as exc:  # noqa: BLE001  # the store is away: the next pass will say it
            _log.debug("status_not_written", error=str(exc))
            # even where only an edit helps: nobody was told yet that one is needed
            return replace(failed, outcome="retry")
        return replace(failed, changed=run.base is not before)

    # --- what follows ---

    def _requeue(self, item: Item, result: Result, base: Stored | None) -> None:
        key = item.key
        if result.outcome != "conflict":
            self._conflicts.pop(key, None)
        if result.gone:
            self.queue.drop(key)
            self._parts.progress.forget(key)
            self._breakers.gone(key)
            return
        match result.outcome:
            case "converged" | "waiting" | "progressing":
                if result.outcome == "converged":
                    self.queue.forget(key)
                self.queue.add_after(key, *self._next(result, item.priority))
            case "retry" | "error":
                at_least_s = result.requeue_s or 0.0
                self.queue.retry(
                    key, Priority.RESYNC, at_least_s=at_least_s, at_most_s=result.at_most_s
                )
            case "conflict":
                count = self._conflicts[key] = self._conflicts.get(key, 0) + 1
                delay_s = 0.0 if count == 1 else CONFLICT_S * 2 ** min(count, 8)
                self.queue.add_after(key, delay_s, item.priority)
            case "terminal":
                self._stall(item, result, base)

    def _stall(self, item: Item, result: Result, base: Stored | None) -> None:
        # counted, though no time brings it back: its own failed steps are events, too
        self.queue.failed(item.key)
        if base is not None and base.deleting:
            # nobody edits what is to go, and what is in its way may pass untold
            self.queue.add_after(item.key, *self._next(result, item.priority))

    def _next(self, result: Result, priority: Priority) -> tuple[float, Priority]:
        if result.outcome == "progressing":
            return 0.0, priority
        resync_s = self._tuning.resync_s * self._rng.uniform(0.8, 1.2)
        if result.requeue_s is None:
            return resync_s, Priority.RESYNC
        return min(max(result.requeue_s, MIN_RECHECK_S), resync_s), Priority.DEPENDENCY

    def _measure(self, item: Item, result: Result, took_s: float) -> None:
        metrics = self._parts.metrics
        metrics.reconciles.labels(self.kind, result.outcome).inc()
        metrics.duration.labels(self.kind).observe(took_s)
        metrics.wait.observe(item.waited_s)
        metrics.depth.labels(self.kind).set(self.queue.depth)
        why = {"error": result.error} if result.error else {}
        self._log.log(
            _level(result),
            "reconcile_done",
            outcome=result.outcome,
            steps=list(result.steps),
            duration_s=round(took_s, 4),
            **why,
        )

    def _tell(self, story: Story) -> None:
        for happening in told(story):
            self._parts.recorder.tell(happening)
        since_s = story.ready_after_s(self._parts.clock.now())
        if since_s is not None:
            self._parts.metrics.time_to_ready.labels(self.kind).observe(since_s)


def _expire(run: Pass) -> None:
    run.expired = True
    _log.warning("reconcile_timed_out", kind=run.key.kind, name=run.key.name)


def _says_unavailable(stored: Stored) -> bool:
    """Whether it says already that a driver is away: in its own words, which tell more."""
    synced = find((stored.obj.get("status") or {}).get("conditions") or (), "Synced") or {}
    reason, seen = synced.get("reason"), synced.get("observedGeneration")
    return reason == Reason.DRIVER_UNAVAILABLE and seen == stored.generation


def _level(result: Result) -> int:
    """DEBUG 10, INFO 20, WARNING 30: info only if something changed."""
    if result.outcome in ("retry", "terminal", "error"):
        return 30
    return 20 if result.changed or result.steps else 10
