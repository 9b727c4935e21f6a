"""Notices plans that lead nowhere: done in full, and planned again unchanged.

Guards against two writers correcting each other for ever, and is the backoff of what dies each
time it is started. Remembers one plan for each key that has not converged yet.
"""

from dataclasses import dataclass

from controlplane.plan import Plan
from controlplane.records import Key


@dataclass(frozen=True, slots=True)
class _Done:
    generation: int
    plan: Plan[object]


class Progress:
    """The plan that each key last carried out in full, since it last converged."""

    def __init__(self) -> None:
        self._done: dict[Key, _Done] = {}

    def stuck(self, key: Key, generation: int, plan: Plan[object]) -> bool:
        """True once if `plan` was just carried out and is planned again; the next try is free
        to carry it out again (after its backoff)."""
        if self._done.get(key) != _Done(generation, plan):
            return False
        del self._done[key]
        return True

    def carried_out(self, key: Key, generation: int, plan: Plan[object]) -> None:
        self._done[key] = _Done(generation, plan)

    def forget(self, key: Key) -> None:
        """It converged, or it is gone."""
        self._done.pop(key, None)
