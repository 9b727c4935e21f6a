"""Snapshots of paged lists: what makes all pages of one list be of one revision.

Bounded in number and age. They are this process's own: a page asked of another process, or too
late, is 410 Expired, and the client lists again.
"""

import secrets
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import Final

from controlplane.records import Stored

_SNAPSHOTS: Final = 64
"""Paged lists under way at once; each is only references to records that mostly still live."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a paged list saw when it began."""

    question: tuple[str, ...]
    revision: int
    found: tuple[Stored, ...]
    until: float
    reader: str
    """Whose list it is."""


class Snapshots:
    """The paged lists under way in this process."""

    def __init__(self) -> None:
        self._by_id: OrderedDict[str, Snapshot] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_id)

    def keep(self, snapshot: Snapshot) -> str:
        """Remember a snapshot; the oldest of the reader with the most gives way, so that nobody
        ends the lists of others."""
        token = secrets.token_urlsafe(9)
        self._by_id[token] = snapshot
        if len(self._by_id) > _SNAPSHOTS:
            # of several with as many, the first counted: whose oldest is the oldest
            ((most, _),) = Counter(each.reader for each in self._by_id.values()).most_common(1)
            del self._by_id[next(t for t, each in self._by_id.items() if each.reader == most)]
        return token

    def find(self, token: str, now: float) -> Snapshot | None:
        """A snapshot that is still good."""
        self.let_go(now)
        return self._by_id.get(token)

    def let_go(self, now: float) -> None:
        """Forget what is past its time: a snapshot holds records as they were, also those that
        have been changed or deleted since."""
        for token, snapshot in [*self._by_id.items()]:
            if snapshot.until >= now:
                return  # they are in the order of their time
            del self._by_id[token]
