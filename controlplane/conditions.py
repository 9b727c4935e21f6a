"""Conditions: one summariser derives Ready, Synced, Stalled and Admitted from what a pass found.

Pure. Kinds give reasons and messages, and at most two conditions of their own; nothing else in
the project writes a condition.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Literal

from controlplane.clock import parse_time
from resources.meta import Condition, ConditionType

Tristate = Literal["True", "False", "Unknown"]
MAX_MESSAGE: Final = 1024
"""Longer messages are cut: `kubectl get -o yaml` must stay readable, and rows small."""
EXTRA_CONDITIONS: Final = 2
"""How many conditions of its own a kind may have."""


class Reason(StrEnum):
    """Reasons the engine gives; drivers' errors bring their own CamelCase word."""

    RECONCILED = "Reconciled"
    PROGRESSING = "Progressing"
    PAUSED = "Paused"
    DELETING = "Deleting"
    NOT_STALLED = "NotStalled"
    ADMITTED = "Admitted"
    PENDING = "Pending"
    NOT_OBSERVED = "NotObserved"
    NO_PROGRESS = "NoProgress"
    TIMED_OUT = "TimedOut"
    INTERNAL_ERROR = "InternalError"
    INVALID_RECORD = "InvalidRecord"
    REFERENCE_NOT_FOUND = "ReferenceNotFound"
    REFERENCE_NOT_READY = "ReferenceNotReady"
    SERVICE_NOT_READY = "ServiceNotReady"
    REFERENCE_CYCLE = "ReferenceCycle"
    NAMESPACE_NOT_READY = "NamespaceNotReady"
    NAMESPACE_NOT_EMPTY = "NamespaceNotEmpty"
    DRIVER_UNAVAILABLE = "DriverUnavailable"


@dataclass(frozen=True, slots=True)
class Fact:
    """One condition as found; None in a Summary leaves the stored one as it was."""

    status: Tristate
    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """All that one pass has to say about a record."""

    synced: Fact
    stalled: Fact = field(default=Fact("False", Reason.NOT_STALLED))
    ready: Fact | None = None
    admitted: Fact | None = None
    extras: tuple[Condition, ...] | None = None


def truth(value: bool) -> Tristate:
    return "True" if value else "False"


def merge(
    old: Sequence[Mapping[str, Any]], summary: Summary, *, generation: int, now: str
) -> list[dict[str, Any]]:
    """The conditions to store: lastTransitionTime moves only when a status flips, and one that
    says the same keeps its exact form, so that an unchanged problem writes nothing."""
    # of two of a type, which somebody may write by the status subresource, the first, as `find`
    before = {item["type"]: item for item in reversed(old)}
    facts: dict[str, Fact | None] = {
        ConditionType.READY: summary.ready,
        ConditionType.SYNCED: summary.synced,
        ConditionType.STALLED: summary.stalled,
        ConditionType.ADMITTED: summary.admitted,
    }
    merged: list[dict[str, Any]] = []
    for kind, fact in facts.items():
        if fact is None and str(kind) in before:
            merged.append(dict(before[str(kind)]))
            continue
        known = fact or Fact("Unknown", Reason.NOT_OBSERVED, "nothing was observed yet")
        merged.append(_condition(str(kind), known, before, generation, now))
    return merged + _extras(summary.extras, before, generation, now)


def find(conditions: Iterable[Mapping[str, Any]], kind: str) -> Mapping[str, Any] | None:
    return next((item for item in conditions if item.get("type") == kind), None)


def is_true(status: Mapping[str, Any], kind: str = ConditionType.READY) -> bool:
    """True if a wire status has that condition with status True."""
    found = find(status.get("conditions") or (), kind)
    return found is not None and found.get("status") == "True"


def message_of(status: Mapping[str, Any], kind: str = ConditionType.READY) -> str:
    found = find(status.get("conditions") or (), kind)
    return "" if found is None else str(found.get("message") or found.get("reason") or "")


def refusal(status: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The condition that says why a wire status is not given what its record asks for."""
    found = find(status.get("conditions") or (), ConditionType.ADMITTED)
    return found if found is not None and found.get("status") == "False" else None


def _extras(
    extras: tuple[Condition, ...] | None,
    before: Mapping[str, Mapping[str, Any]],
    generation: int,
    now: str,
) -> list[dict[str, Any]]:
    if extras is None:
        own = [item for item in before.values() if item["type"] not in set(ConditionType)]
        return [dict(item) for item in reversed(own)]
    return [
        _condition(item.type, Fact(item.status, item.reason, item.message), before, generation, now)
        for item in extras[:EXTRA_CONDITIONS]
    ]


def _condition(
    kind: str, fact: Fact, before: Mapping[str, Mapping[str, Any]], generation: int, now: str
) -> dict[str, Any]:
    was = before.get(kind)
    kept = was is not None and was.get("status") == fact.status
    told = was.get("lastTransitionTime") if was is not None and kept else None
    return {
        "type": kind,
        "status": fact.status,
        "reason": str(fact.reason),
        "message": fact.message[:MAX_MESSAGE],
        "observedGeneration": generation,
        # whoever may write a status may leave the time out, or write any text for it
        "lastTransitionTime": now if parse_time(told) is None else told,
    }
