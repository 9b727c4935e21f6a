"""Faults that a test plants in a fake driver: the next call of a verb fails."""

from collections import defaultdict, deque
from dataclasses import dataclass, field


@dataclass(slots=True)
class Faults:
    """Errors to raise, by verb, in the order planted; and how often each verb was called."""

    calls: "defaultdict[str, int]" = field(default_factory=lambda: defaultdict(int))
    _planted: "defaultdict[str, deque[Exception]]" = field(
        default_factory=lambda: defaultdict(deque)
    )

    def fail_next(self, verb: str, error: Exception) -> None:
        """The next call of `verb` that has no earlier fault waiting raises `error`."""
        self._planted[verb].append(error)

    def enter(self, verb: str) -> None:
        """Called by the fake at the start of each verb."""
        self.calls[verb] += 1
        if self._planted[verb]:
            raise self._planted[verb].popleft()

    def forget(self) -> None:
        """No fault is planted any more."""
        self._planted.clear()
