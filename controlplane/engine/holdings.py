"""What each namespace holds, kept up to date change by change: every create asks."""

from collections.abc import Mapping
from typing import Final

from controlplane.records import Held, Key

_NONE: Final[Mapping[str, int]] = {}


class Holdings:
    """Records by kind, and bytes of all of them, by namespace."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[str, int]] = {}
        self._bytes: dict[str, int] = {}

    def of(self, namespace: str) -> Held:
        """Now: what it tells goes on with the records."""
        return Held(self._counts.get(namespace, _NONE), self._bytes.get(namespace, 0))

    def change(self, key: Key, records: int, size_bytes: int) -> None:
        """So many more of that kind, and so many more bytes, in that namespace."""
        if records:
            counts = self._counts.setdefault(key.namespace, {})
            _add(counts, key.kind, records)
            if not counts:
                del self._counts[key.namespace]
        _add(self._bytes, key.namespace, size_bytes)


def _add(totals: dict[str, int], name: str, more: int) -> None:
    """What comes to nothing is not kept."""
    if total := totals.get(name, 0) + more:
        totals[name] = total
    else:
        totals.pop(name, None)
