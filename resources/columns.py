"""Columns of `kubectl get`; those that several kinds have say the same of each."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Column:
    """A printer column of `kubectl get`.

    `path` is a JSONPath such as `.spec.engine` or
    `.status.conditions[?(@.type=="Ready")].status`; `type` is string, integer, date or quantity;
    priority > 0 shows with `-o wide` only. An integer column whose path leads to a map or a list
    shows how many entries it has.
    """

    name: str
    path: str
    type: str = "string"
    priority: int = 0
    description: str = ""


AGE: Final = Column("Age", ".metadata.creationTimestamp", "date")
"""The column every kind has."""

REASON: Final = Column(
    "Reason",
    '.status.conditions[?(@.type=="Ready")].reason',
    description="Why it is or isn't ready",
)
CPU: Final = Column("CPU", ".status.allocation.cpu", priority=1, description="CPU it holds")
MEMORY: Final = Column(
    "Memory", ".status.allocation.memory", priority=1, description="Memory it holds"
)
PUBLISHED: Final = Column(
    "Published", ".status.published", priority=1, description="Address on the host"
)


def ready(means: str) -> Column:
    """Whether it is Ready, and what that means for this kind."""
    return Column("Ready", '.status.conditions[?(@.type=="Ready")].status', description=means)
