"""What a finished pass has to tell: events, only of what happened, and the time to Ready. Pure."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from controlplane import events
from controlplane.conditions import Reason, find
from controlplane.engine.pass_ import Result
from controlplane.events import Happening
from controlplane.records import Stored
from resources.meta import ConditionType


@dataclass(frozen=True, slots=True)
class Story:
    """A record before and after one pass."""

    before: Stored | None
    after: Stored | None
    result: Result

    def condition(self, stored: Stored | None, kind: str) -> dict[str, Any]:
        if stored is None:
            return {}
        conditions = (stored.obj.get("status") or {}).get("conditions") or ()
        return dict(find(conditions, kind) or {})

    def ready_after_s(self, now: datetime) -> float | None:
        """Seconds from creation to Ready, if this pass was the first to find it so."""
        if self.after is None or self.after is self.before:
            return None
        was = self.condition(self.before, ConditionType.READY)
        ready = self.condition(self.after, ConditionType.READY)
        status = {} if self.before is None else self.before.obj.get("status") or {}
        first = status.get("observedGeneration") in (None, 0, 1) and was.get("status") != "True"
        created = self.after.meta.get("creationTimestamp")
        if not first or ready.get("status") != "True" or not created:
            return None
        return max(0.0, (now - datetime.fromisoformat(created)).total_seconds())


def told(story: Story) -> list[Happening]:
    """Past tense; nothing for a pass that changed nothing."""
    after = story.after
    if after is None or (after is story.before and not story.result.steps):
        return []
    found: list[Happening] = []
    if story.result.steps and story.result.outcome in ("converged", "waiting", "progressing"):
        counts = Counter(story.result.steps)
        steps = ", ".join(f"{name} x{n}" if n > 1 else name for name, n in counts.items())
        found.append(events.happened(after, "Normal", "Applied", f"carried out {steps}"))
    found += _failure(story, after)
    found += _readiness(story, after)
    return found


def _failure(story: Story, after: Stored) -> list[Happening]:
    """A new problem; the same one again is told by its condition."""
    synced = story.condition(after, ConditionType.SYNCED)
    was = story.condition(story.before, ConditionType.SYNCED)
    same = (was.get("reason"), was.get("message")) == (synced.get("reason"), synced.get("message"))
    failed = story.result.outcome in ("retry", "terminal", "error")
    if not failed or same or synced.get("reason") == Reason.PROGRESSING:
        return []
    reason, message = str(synced.get("reason")), str(synced.get("message"))
    return [events.happened(after, "Warning", reason, message)]


def _readiness(story: Story, after: Stored) -> list[Happening]:
    ready = story.condition(after, ConditionType.READY)
    was = story.condition(story.before, ConditionType.READY).get("status")
    if ready.get("status") == "True" and was != "True":
        return [events.happened(after, "Normal", "BecameReady", str(ready.get("message")))]
    if ready.get("status") == "False" and was == "True":
        text = f"{ready.get('reason')}: {ready.get('message')}"
        return [events.happened(after, "Warning", "BecameUnready", text)]
    return []
