"""How much a namespace may hold. Records take no part of the budget, but all of them are kept, in
memory as well: without a bound, whoever may write ConfigMaps in one namespace fills the host.

Held against it is what users write; what the engine writes for their records is counted only, and
so are Quotas: with one, an administrator makes room.
"""

import asyncio
from functools import lru_cache
from typing import Final
from weakref import WeakValueDictionary

import orjson

from controlplane.events import KIND as EVENT
from controlplane.records import View
from resources.quantity import format_bytes, parse_bytes

QUOTA: Final = "Quota"
RECORDS: Final = 100_000
"""Of a namespace without a Quota that says otherwise: as many as the store was measured with in
all; small ones take 140 MiB of memory (docs/performance.md)."""
EVENTS: Final = 50_000
"""Events are counted apart, for the engine writes them, too; kept for an hour, 14 a second."""
RECORD_BYTES: Final = 256 * 2**20
"""Of a namespace without a Quota that says otherwise: twice what so many small ones take."""
OWNERSHIP_BYTES: Final = 4 * 2**10
"""What a record's managedFields may always take: who makes it smaller, or lets it go, leaves a mark
there."""
NEAR: Final = 1_024
"""More creates than are under way at once: the API works on 256 requests in each process."""


def bounded(kind: str, namespace: str) -> bool:
    """What belongs to no namespace is no tenant's."""
    return bool(namespace) and kind != QUOTA


def records_held(view: View, namespace: str) -> int:
    """What a Quota's `records` is held against: all but Events."""
    held = view.held(namespace).records
    return sum(held.values()) - held.get(EVENT, 0)


def crowded(view: View, kind: str, namespace: str, coming: int = 1) -> str:
    """Why the namespace takes no more of a kind, as Kubernetes says it; empty if it does."""
    if kind == EVENT:
        events = view.held(namespace).records.get(EVENT, 0)
        return _over("events", events + coming, EVENTS, "", coming)
    limit, quota = _least(view, namespace, "records", RECORDS)
    return _over("records", records_held(view, namespace) + coming, limit, quota, coming)


def too_heavy(view: View, namespace: str) -> str:
    """Why nothing may grow in the namespace; empty if it may. What is under way is not counted."""
    limit, quota = _least(view, namespace, "recordBytes", RECORD_BYTES)
    used = view.held(namespace).bytes
    if used < limit:
        return ""
    return (
        f"exceeded quota: {quota or 'default'}, used: recordBytes={format_bytes(used)}, "
        f"limited: recordBytes={format_bytes(limit)}"
    )


def owned_by_more(after: bytes, before: bytes) -> bool:
    """Whether a record grows by who owns its fields: its managedFields, then and now."""
    return len(after) > max(len(before), OWNERSHIP_BYTES)


def _over(what: str, wanted: int, limit: int, quota: str, coming: int) -> str:
    if wanted <= limit:
        return ""
    return (
        f"exceeded quota: {quota or 'default'}, requested: {what}={coming}, "
        f"used: {what}={wanted - coming}, limited: {what}={limit}"
    )


def _least(view: View, namespace: str, field: str, default: int) -> tuple[int, str]:
    """The limit, and the Quota it comes from: with several, each of them holds."""
    found = [
        (limit, stored.key.name)
        for stored in view.list(QUOTA, namespace)
        if (limit := _limit(stored.body, field)) is not None
    ]
    return min(found, default=(default, ""))


@lru_cache(maxsize=1024)  # each create in the namespace asks
def _limit(quota: bytes, field: str) -> int | None:
    value = (orjson.loads(quota).get("spec") or {}).get(field)
    return None if value is None else parse_bytes(value)


class Lines:
    """Who creates in a namespace that is nearly full stands in line: each is held against what
    those before it have made. Another process may still add what it has under way."""

    def __init__(self) -> None:
        self._lines: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def of(self, namespace: str) -> asyncio.Lock:
        """The namespace's own; gone when nobody holds it."""
        return self._lines.setdefault(namespace, asyncio.Lock())
