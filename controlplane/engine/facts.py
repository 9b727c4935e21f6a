"""What a plan and a report say of a record, as conditions tell it. Pure."""

from typing import Final

from controlplane.conditions import Fact, truth
from controlplane.plan import Plan, Report, Wait

DESTRUCTIVE: Final = ("Remove", "Drop", "Replace", "Delete")
"""Steps whose names begin so can lose something: the record is read again before."""


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
