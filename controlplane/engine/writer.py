"""What the engine writes into a record of its own accord: finalizer, allocation and status.

One function from (stored, what was found) to the new object, and one write if that differs.
Every write carries the leader's epoch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from controlplane import conditions
from controlplane.clock import Clock, rfc3339
from controlplane.conditions import Summary
from controlplane.engine.port import AGENT, Actor, RecordsPort
from controlplane.engine.resolve import ENGINE_STATUS
from controlplane.records import Stored
from resources.meta import FINALIZER, Allocation, Status

SUBRESOURCE: Final = "engine"
"""Finalizers and status, together and nothing else: one write, so that what is allocated is
never without the finalizer that frees it."""


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be so after the write; None leaves a part as it is."""

    summary: Summary
    status: Status | None = None
    """The kind's own part of the status."""
    allocation: Allocation | None = None
    forget_allocation: bool = False
    hold: bool | None = None
    """True: our finalizer is to be there; False: it is to be gone."""
    finished: bool = True
    """The pass is over: status.observedGeneration moves."""


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes records back, under the epoch, only when something changed."""

    records: RecordsPort
    clock: Clock
    epoch: Callable[[], int]
    actor: Actor = AGENT

    async def write(self, base: Stored, change: Change) -> Stored:
        """Commit `change` onto `base`; returns `base` itself if nothing differs.

        Raises ConflictError, StoreUnavailableError, StaleEpochError.
        """
        obj = applied(base, change, now=rfc3339(self.clock.now()))
        if obj == base.obj:
            return base
        return await self.records.update(
            base,
            obj,
            actor=self.actor,
            subresource=SUBRESOURCE,
            epoch=self.epoch(),
        )


def applied(base: Stored, change: Change, *, now: str) -> dict[str, Any]:
    """The object as it is to be. Pure."""
    old = base.obj
    old_status: Mapping[str, Any] = old.get("status") or {}
    kept = {key: old_status[key] for key in ENGINE_STATUS if key in old_status}
    own = {key: value for key, value in old_status.items() if key not in ENGINE_STATUS}
    status: dict[str, Any] = own if change.status is None else wire(change.status)
    status["conditions"] = conditions.merge(
        kept.get("conditions") or (), change.summary, generation=base.generation, now=now
    )
    if change.finished:
        status["observedGeneration"] = base.generation
    elif "observedGeneration" in kept:
        status["observedGeneration"] = kept["observedGeneration"]
    if change.allocation is not None:
        status["allocation"] = wire_allocation(change.allocation)
    elif "allocation" in kept and not change.forget_allocation:
        status["allocation"] = kept["allocation"]
    return {**old, "metadata": _metadata(old["metadata"], change.hold), "status": status}


def wire(status: Status) -> dict[str, Any]:
    """The kind's own part, as JSON."""
    found: dict[str, Any] = status.model_dump(
        mode="json",
        exclude_none=True,
        by_alias=True,
        exclude={"conditions", "allocation", "observed_generation"},
    )
    return found


def wire_allocation(allocation: Allocation) -> dict[str, Any]:
    found: dict[str, Any] = allocation.model_dump(mode="json", exclude_none=True, by_alias=True)
    for few in ("ports", "names"):
        if not found.get(few):
            found.pop(few, None)
    return found


def _metadata(meta: Mapping[str, Any], hold: bool | None) -> dict[str, Any]:
    finalizers = list(meta.get("finalizers") or ())
    if hold is None or (FINALIZER in finalizers) == hold:
        return dict(meta)
    if hold:
        return {**meta, "finalizers": [*finalizers, FINALIZER]}
    left = [each for each in finalizers if each != FINALIZER]
    changed = {key: value for key, value in meta.items() if key != "finalizers"}
    return {**changed, "finalizers": left} if left else changed
