"""What a plan and a report say of a record, as conditions tell it. Pure."""

from typing import Final

from controlplane.conditions import Fact, Reason, find, truth
from controlplane.plan import Plan, Report, Wait
from controlplane.records import Stored
from controlplane.store.shape import PROPAGATION_FINALIZERS

DESTRUCTIVE: Final = ("Remove", "Drop", "Replace", "Delete")
"""Steps whose names begin so can lose something: the record is read again before."""
TELL_WAIT_S: Final = 0.1
"""A wait that is looked at again sooner is not written while the record says that it progresses:
each of many Apps would else pay a commit between its start and its being Ready."""


def ready_fact(report: Report, wait: Wait | None) -> Fact:
    """Ready as observed; while it isn't, what is waited for says more than what is seen."""
    if wait is not None and not report.ready:
        return Fact("False", wait.reason, wait.message)
    return Fact(truth(report.ready), report.reason, report.message)


def doing(plan: Plan[object]) -> str:
    """The kinds of its steps. Example: `EnsureImage, RunContainer`."""
    return ", ".join(dict.fromkeys(type(step).__name__ for step in plan.steps))


def is_destructive(step: object) -> bool:
    """Whether it can lose something."""
    return type(step).__name__.startswith(DESTRUCTIVE)


def asked_for(stored: Stored) -> tuple[int, frozenset[str]]:
    """Changes with what is asked of it: with an edit, and with what is to become of the rest while
    it is being deleted, which is no edit of it."""
    finalizers = frozenset(stored.meta.get("finalizers") or ())
    return stored.generation, finalizers.intersection(PROPAGATION_FINALIZERS.values())


def soon_over(wait: Wait, stored: Stored) -> bool:
    """True if the record says already that it progresses, and what it waits for may come about
    before that were written otherwise: a server that was started a moment ago."""
    if wait.recheck_after_s is None or wait.recheck_after_s >= TELL_WAIT_S:
        return False
    conditions = (stored.obj.get("status") or {}).get("conditions") or ()
    synced = find(conditions, "Synced") or {}
    ready = find(conditions, "Ready") or {}
    return (
        synced.get("reason") == Reason.PROGRESSING
        and synced.get("observedGeneration") == stored.generation
        and ready.get("status") != "True"
    )
