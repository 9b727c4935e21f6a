"""The watch cache: what is, at a revision, and what follows. Implements records.View.

Fed by the store's tail; everything here runs on the loop's thread between two awaits, so a
reader always sees one revision. Records and changes are shared, never copied: a thousand
watchers of one event hold a thousand references to it. No I/O, and no knowledge of any kind.
"""

import asyncio
import heapq
from bisect import insort
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import count, islice
from typing import Final

import orjson

from controlplane.engine.holdings import Holdings
from controlplane.errors import CompactedError, SlowReaderError
from controlplane.records import Change, Held, Key, Stored, Verb
from controlplane.stretch import Stretch

RING_CHANGES: Final = 16_384
RING_BYTES: Final = 16 * 2**20
"""What the ring may hold on to; with it, 1,000 busy records cost what 10,000 idle ones do."""
MEMO_CHANGES: Final = 512
"""The newest changes keep their encodings: every live watcher has passed older ones."""
STRETCH_CHANGES: Final = 100
"""Handed out in a row before others get their turn: 15 ms where each wakes what depends on it."""
PENDING_CHANGES: Final = 4096
PENDING_BYTES: Final = 32 * 2**20
"""How far behind a watcher may be before it is cut off."""


class Cache:
    """Current records by kind, their owners, a ring of recent changes, and watchers."""

    def __init__(
        self, *, ring_changes: int = RING_CHANGES, pending_changes: int = PENDING_CHANGES
    ) -> None:
        self._shelves: dict[tuple[str, str], _Shelf] = {}
        self._namespaces: dict[str, list[str]] = {}
        self._owned: dict[str, dict[Key, Stored]] = {}
        self._holdings = Holdings()
        self._ring = _Ring(ring_changes)
        self._watchers: dict[str | None, dict[int, Watcher]] = {}
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []
        self._serial = count()
        self._pending_changes = pending_changes
        self._revision = 0
        self._size = 0

    @property
    def revision(self) -> int:
        """Everything up to here is in; nothing after it is."""
        return self._revision

    def __len__(self) -> int:
        return self._size

    def get(self, key: Key, /) -> Stored | None:
        """The record of that name, if there is one."""
        shelf = self._shelves.get((key.kind, key.namespace))
        return shelf.records.get(key.name) if shelf else None

    def list(self, kind: str, namespace: str | None = None, /) -> Sequence[Stored]:
        """Sorted by (namespace, name); None lists all namespaces."""
        found: list[Stored] = []
        for name in self._namespaces.get(kind, ()) if namespace is None else (namespace,):
            if (shelf := self._shelves.get((kind, name))) is not None:
                found.extend(shelf.sorted())
        return found

    def held(self, namespace: str, /) -> Held:
        """How much a namespace holds now: what it tells goes on with the records."""
        return self._holdings.of(namespace)

    def namespaces(self, kind: str, /) -> Sequence[str]:
        """Those that have a record of this kind, sorted; "" where it is cluster-scoped."""
        return tuple(self._namespaces.get(kind, ()))

    def owned_by(self, uid: str, /) -> Sequence[Stored]:
        """Records with an ownerReference to `uid`, sorted by key."""
        owned = self._owned.get(uid)
        return [owned[key] for key in sorted(owned)] if owned else []

    def watch(self, kinds: frozenset[str] | None, since: int, /) -> "Watcher":
        """Every change of these kinds after `since`, then live; see records.View.watch."""
        if since < self._ring.start:
            raise CompactedError(
                f"cannot watch from revision {since}: the oldest is {self._ring.start}"
            )
        serial = next(self._serial)
        watcher = Watcher(self, serial, kinds, since, self._pending_changes)
        watcher.preload(self._ring.since(since))
        for kind in kinds if kinds is not None else (None,):
            self._watchers.setdefault(kind, {})[serial] = watcher
        return watcher

    def forget(self, watcher: "Watcher") -> None:
        """Stop delivering to it. Idempotent."""
        for kind in watcher.kinds if watcher.kinds is not None else (None,):
            found = self._watchers.get(kind)
            if found is not None and found.pop(watcher.serial, None) is not None and not found:
                del self._watchers[kind]

    @property
    def watchers(self) -> int:
        """How many watches are open."""
        return len({serial for found in self._watchers.values() for serial in found})

    async def wait_for(self, revision: int, /, *, timeout_s: float) -> None:
        """Return once `revision` is in; raises TimeoutError."""
        if revision <= self._revision:
            return
        reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiters, (revision, next(self._serial), reached))
        async with asyncio.timeout(timeout_s):
            await reached

    def apply(self, changes: Sequence[tuple[Verb, Stored]], /) -> None:
        """Take changes that continue exactly at `revision` (store.feed.Sink)."""
        watched = bool(self._watchers)
        for verb, stored in changes:
            assert stored.revision == self._revision + 1, "a revision is missing"
            change = Change(stored.revision, verb, stored, self._take(verb, stored), {})
            self._revision = stored.revision
            self._ring.add(change)
            if watched:
                self._tell(change)
        self._wake_waiters()

    def reset(self, snapshot: Iterable[Stored], revision: int, /) -> None:
        """Become this snapshot, telling watchers what differs (store.feed.Sink).

        Changes between are unknown, so what is told is marked synthetic: each record that
        differs as it is now, then a delete of each that is gone. Older positions can't be
        resumed any more.
        """
        latest = {stored.key: stored for stored in snapshot}
        changes = [c for stored in latest.values() for c in self._differences(stored)]
        changes.sort(key=lambda change: change[1].revision)
        changes += [
            ("delete", _at(stored, revision))
            for shelf in self._shelves.values()
            for stored in shelf.records.values()
            if stored.key not in latest
        ]
        self._ring.clear(revision)
        for watcher in {each for found in self._watchers.values() for each in found.values()}:
            watcher.begin_no_later_than(revision)
        for verb, stored in changes:
            before = self._take(verb, stored)
            self._tell(Change(stored.revision, verb, stored, before, {}, synthetic=True))
        self._revision = revision
        self._wake_waiters()

    def _differences(self, stored: Stored) -> Sequence[tuple[Verb, Stored]]:
        had = self.get(stored.key)
        if had is None:
            return [("create", stored)]
        if had.uid != stored.uid:
            return [("delete", _at(had, stored.revision)), ("create", stored)]
        # not by revision alone: of a restored backup it may mean another change
        return [] if had == stored else [("update", stored)]

    def _take(self, verb: Verb, stored: Stored) -> Stored | None:
        """Into the indexes; returns what was there before."""
        key = stored.key
        shelf = self._shelf(key)
        before = shelf.records.get(key.name)
        grown = 0 if verb == "delete" else stored.size_bytes
        if before is not None:
            self._disown(before)
            grown -= before.size_bytes
        more = (verb != "delete") - (before is not None)
        self._size += more
        self._holdings.change(key, more, grown)
        if verb == "delete":
            shelf.remove(key.name)
            if not shelf.records:
                self._drop_shelf(key)
        else:
            shelf.put(stored)
            self._own(stored)
        return before

    def _shelf(self, key: Key) -> "_Shelf":
        shelf = self._shelves.get((key.kind, key.namespace))
        if shelf is None:
            shelf = self._shelves[key.kind, key.namespace] = _Shelf()
            insort(self._namespaces.setdefault(key.kind, []), key.namespace)
        return shelf

    def _drop_shelf(self, key: Key) -> None:
        del self._shelves[key.kind, key.namespace]
        self._namespaces[key.kind].remove(key.namespace)

    def _own(self, stored: Stored) -> None:
        for uid in _owner_uids(stored.body):
            self._owned.setdefault(uid, {})[stored.key] = stored

    def _disown(self, stored: Stored) -> None:
        for uid in _owner_uids(stored.body):
            owned = self._owned.get(uid, {})
            owned.pop(stored.key, None)
            if not owned:
                self._owned.pop(uid, None)

    def _tell(self, change: Change) -> None:
        for kind in (change.after.key.kind, None):
            for watcher in tuple(self._watchers.get(kind, {}).values()):
                watcher.deliver(change)

    def _wake_waiters(self) -> None:
        while self._waiters and self._waiters[0][0] <= self._revision:
            _, _, reached = heapq.heappop(self._waiters)
            if not reached.done():
                reached.set_result(None)


class Watcher:
    """One subscription (records.Subscription): references to changes not yet handed out."""

    def __init__(
        self, cache: Cache, serial: int, kinds: frozenset[str] | None, since: int, limit: int
    ) -> None:
        self.serial = serial
        self.kinds = kinds
        self._cache = cache
        self._since = since
        self._limit = limit
        self._pending: deque[Change] = deque()
        self._limit_bytes, self._pending_bytes = PENDING_BYTES, 0
        self._relisted_at = since
        """Where the cache stood before the relist whose changes wait: what it missed lies after
        there, whatever revisions the differences are at."""
        self._wake: asyncio.Future[None] | None = None
        self._open = True
        self._slow = False
        self._stretch = Stretch(STRETCH_CHANGES)
        self._handed_bytes = 0
        """Size of the change handed out last, until it is known to have been worked on."""

    def __aiter__(self) -> AsyncIterator[Change]:
        return self

    async def __anext__(self) -> Change:
        # while changes wait nothing below lets others in, and often nothing that is done of them
        size, self._handed_bytes = self._handed_bytes, 0
        await self._stretch.worked_on(size)
        while not self._pending:
            if self._slow:
                limits = f"{self._limit} changes or {self._limit_bytes >> 20} MiB behind"
                raise SlowReaderError(f"cannot watch on: more than {limits}")
            if not self._open:
                raise StopAsyncIteration
            self._wake = asyncio.get_running_loop().create_future()
            try:
                await self._wake
            finally:
                self._wake = None
        change = self._pending.popleft()
        self._pending_bytes -= change.after.size_bytes
        self._handed_bytes = len(change.after.body)
        return change

    @property
    def position(self) -> int:
        """Every matching change up to this revision has been handed out."""
        if self._pending:
            first = self._pending[0]
            return self._relisted_at if first.synthetic else first.revision - 1
        return max(self._since, self._cache.revision)

    def preload(self, changes: Iterable[Change]) -> None:
        """Queue what the ring remembers; it may be longer than the limit for live changes."""
        kinds = self.kinds
        self._pending.extend(c for c in changes if kinds is None or c.after.key.kind in kinds)
        self._pending_bytes = sum(each.after.size_bytes for each in self._pending)
        self._make_room()

    def begin_no_later_than(self, revision: int) -> None:
        """What comes after a relist is new, also where that went back to an earlier revision (a
        restored backup)."""
        self._since = min(self._since, revision)

    def deliver(self, change: Change) -> None:
        """Queue a live change, or cut the watcher off when it is too far behind."""
        if change.revision <= self._since and not change.synthetic:
            return
        if change.synthetic:
            # a relist tells all differences at once: whoever drops one may miss a delete
            self._make_room(change.after.size_bytes)
            if not (self._pending and self._pending[-1].synthetic):
                self._relisted_at = max(self._since, self._cache.revision)
        if len(self._pending) >= self._limit or self._pending_bytes >= self._limit_bytes:
            self._slow = True
            self._pending.clear()
            self._pending_bytes = 0
            self.close()
            return
        self._pending.append(change)
        self._pending_bytes += change.after.size_bytes
        self._notify()

    def _make_room(self, more_bytes: int = 0) -> None:
        """For what waits already and one more, as that is no live change."""
        self._limit = max(self._limit, 2 * len(self._pending) + 2)
        self._limit_bytes = max(self._limit_bytes, 2 * (self._pending_bytes + more_bytes))

    def close(self) -> None:
        """End it: the reader gets what is queued and then the end."""
        self._open = False
        self._cache.forget(self)
        self._notify()

    def _notify(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)


class _Shelf:
    """Records of one kind in one namespace; their names are put in order when somebody lists.

    A list costs a step a record anyway, and sorting what is nearly sorted no more than that.
    """

    __slots__ = ("_names", "_ordered", "records")

    def __init__(self) -> None:
        self.records: dict[str, Stored] = {}
        self._names: list[str] = []
        self._ordered = True

    def put(self, stored: Stored) -> None:
        name = stored.key.name
        if name not in self.records:
            self._names.append(name)
            self._ordered = False
        self.records[name] = stored

    def remove(self, name: str) -> None:
        if self.records.pop(name, None) is not None:
            self._ordered = False

    def sorted(self) -> Iterable[Stored]:
        if not self._ordered:
            # a name that was removed and came back is in there twice
            names = sorted(self._names)
            pairs = zip(names, [*names[1:], None], strict=True)
            self._names = [name for name, after in pairs if name != after and name in self.records]
            self._ordered = True
        return map(self.records.__getitem__, self._names)


class _Ring:
    """The newest changes, bounded in number and in the bytes they keep alive."""

    def __init__(self, limit: int) -> None:
        self._changes: deque[Change] = deque()
        self._limit = limit
        self._bytes = 0
        self.start = 0
        """Changes after this revision are all here."""

    def add(self, change: Change) -> None:
        self._changes.append(change)
        self._bytes += change.after.size_bytes
        while len(self._changes) > self._limit or self._bytes > RING_BYTES:
            old = self._changes.popleft()
            self._bytes -= old.after.size_bytes
            self.start = old.revision
        if len(self._changes) > MEMO_CHANGES:
            self._changes[-MEMO_CHANGES - 1].memo.clear()

    def since(self, revision: int) -> Iterable[Change]:
        """Revisions are gapless, so the place is arithmetic."""
        return islice(self._changes, max(0, revision - self.start), None)

    def clear(self, revision: int) -> None:
        self._changes.clear()
        self._bytes = 0
        self.start = revision


def _owner_uids(body: bytes) -> tuple[str, ...]:
    """Owners, parsed only where there are some: the parse is not kept, a cached one would be."""
    if b'"ownerReferences"' not in body:
        return ()
    meta = orjson.loads(body)["metadata"]
    return tuple(ref["uid"] for ref in meta.get("ownerReferences") or ())


def _at(stored: Stored, revision: int) -> Stored:
    """The last state of a deleted record, at the revision of its deletion."""
    return Stored(
        stored.key, stored.uid, revision, stored.generation, stored.body, stored.managed_fields
    )
