"""Objects that are derived, not stored: their versions, and who watches them.

A watch cache like that of records, but fed from here: what differs from before becomes a change.
Versions start at the time in microseconds, so that one of an earlier process is always too old
(410, list again) and never means something else.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from controlplane.clock import Clock
from controlplane.engine.cache import Cache
from controlplane.records import Key, Stored, Verb

_RING_CHANGES = 4096
_MICROSECONDS = 1_000_000


@dataclass(slots=True)
class Board:
    """What is shown, at a revision. Belongs to the event loop's thread."""

    clock: Clock
    view: Cache = field(default_factory=lambda: Cache(ring_changes=_RING_CHANGES))

    def __post_init__(self) -> None:
        self.view.reset((), int(self.clock.now().timestamp() * _MICROSECONDS))

    def show(self, before: Iterable[Key], now: Mapping[Key, Stored]) -> None:
        """Let `now` be what there is in place of the keys `before`; other keys stay.

        Equal bodies change nothing. Revisions of `now` are given here.
        """
        changes: list[tuple[Verb, Stored]] = []
        for key in sorted({*before, *now}):
            changes += _differences(self.view.get(key), now.get(key))
        start = self.view.revision + 1
        self.view.apply(
            [
                (verb, replace(stored, revision=start + index))
                for index, (verb, stored) in enumerate(changes)
            ]
        )


def _differences(had: Stored | None, has: Stored | None) -> list[tuple[Verb, Stored]]:
    if had is not None and has is not None and had.uid == has.uid:
        return [] if had.body == has.body else [("update", has)]
    found: list[tuple[Verb, Stored]] = []
    if had is not None:
        found.append(("delete", had))
    if has is not None:
        found.append(("create", has))
    return found
