"""What makes a key due: changes of records, dependencies, events of drivers.

Turns changes into keys and drops the rest. A record's own status writes wake nobody but those
that depend on what they say. Nothing here is needed for correctness, only for speed: resync
would find it all later.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson
import structlog

from controlplane.clock import Clock
from controlplane.conditions import find, refusal
from controlplane.engine.breaker import Breakers
from controlplane.engine.index import Dependents
from controlplane.engine.port import Wake, WakeSource
from controlplane.engine.prepared import Prepared, prepared_here
from controlplane.engine.queue import Priority, Queue
from controlplane.engine.resolve import NAMESPACE, content_hmac, forget_parsed, secret_name
from controlplane.engine.slices import in_slices
from controlplane.errors import CompactedError, ControlPlaneError, SlowReaderError
from controlplane.records import Change, Key, Stored, View
from resources.meta import FINALIZER

_log = structlog.get_logger(__name__)

RELIST_S = 1.0
"""Between two tries to open a stream that broke."""


class Wakes:
    """Feeds the queues of all kinds."""

    def __init__(
        self,
        view: View,
        queues: Mapping[str, Queue],
        dependents: Dependents,
        named_by: Callable[[Stored], Iterable[Key]],
        breakers: Breakers,
        clock: Clock,
        *,
        prepared: Prepared | None = None,
        listeners: tuple[Callable[[Change], None], ...] = (),
        missed: Callable[[], None] = lambda: None,
        events: str = "Event",
    ) -> None:
        self._view = view
        self._queues = queues
        self._dependents = dependents
        self._named_by = named_by
        """Which records that see their dependents a record names."""
        self._breakers = breakers
        self._clock = clock
        self._prepared = prepared or Prepared({}, prepared_here)
        self._listeners = listeners
        self._missed = missed
        """Called when changes were that `listeners` will never be told."""
        self._events = events

    # --- everything ---

    async def everything(self, priority: Priority) -> None:
        """Wake every record; those with an edit not seen yet go first."""
        for kind in self._queues:
            await self.kind(kind, priority)

    async def kind(self, kind: str, priority: Priority) -> None:
        """Wake every record of a kind."""
        async for stored in in_slices(self._view.list(kind)):
            status = orjson.loads(stored.body).get("status") or {}
            edited = status.get("observedGeneration") != stored.generation
            self._queues[kind].add(stored.key, Priority.USER if edited else priority)

    def key(self, key: Key, priority: Priority) -> None:
        queue = self._queues.get(key.kind)
        if queue is not None:
            queue.add(key, priority)

    # --- changes of records ---

    async def follow(self, since: int) -> None:
        """Take every change after `since`, for ever; after a gap, take everything."""
        while True:
            try:
                watcher = self._view.watch(None, since)
                async for change in watcher:
                    await self._prepared.ensure(change.after.key.kind)
                    self.take(change)
            except (SlowReaderError, CompactedError) as exc:
                _log.info("changes_missed", error=str(exc))
            since = self._view.revision
            self._missed()
            await self.everything(Priority.RESYNC)
            await self._clock.sleep(RELIST_S)

    def take(self, change: Change) -> None:
        key = change.after.key
        if key.kind == self._events:
            return
        edit, relevant = is_edit(change), is_relevant(change)
        if edit:
            self.key(key, Priority.USER)
        if relevant:
            self._wake_dependents(change.after)
        if edit or relevant:
            self._wake_named(change)
        if change.verb == "delete":
            self._dependents.drop(key)
            self._wake_emptied(key.namespace)
        for listener in self._listeners:
            listener(change)
        forget_parsed(change.after)
        if change.before is not None:
            forget_parsed(change.before)

    def _wake_dependents(self, target: Stored) -> None:
        """Those that named it in their last pass, and its owners."""
        for dependent in self._dependents.of(target.key):
            self.key(dependent, Priority.DEPENDENCY)
        for ref in target.meta.get("ownerReferences") or ():
            for namespace in {target.key.namespace, ""}:
                owner = self._view.get(Key(ref["kind"], namespace, ref["name"]))
                if owner is not None and owner.uid == ref["uid"]:
                    self.key(owner.key, Priority.DEPENDENCY)

    def _wake_named(self, change: Change) -> None:
        """What sees its dependents, and is or was one's target."""
        for stored in (change.after, change.before):
            if stored is not None:
                for target in self._named_by(stored):
                    self.key(target, Priority.DEPENDENCY)

    def _wake_emptied(self, namespace: str) -> None:
        home = self._view.get(Key(NAMESPACE, "", namespace))
        if home is not None and home.deleting:
            self.key(home.key, Priority.DEPENDENCY)

    # --- events of drivers ---

    async def listen(self, source: WakeSource) -> None:
        """Take one driver's wakes, for ever; a stream that breaks is opened again."""
        while True:
            try:
                async for wake in source():
                    await self.outside(wake)
            except ControlPlaneError as exc:
                _log.info("wake_stream_broke", error=str(exc))
            await self._clock.sleep(RELIST_S)

    async def outside(self, wake: Wake) -> None:
        """Something changed outside, perhaps by our own hand: looking again is always right."""
        if wake.kind:
            self.key(Key(wake.kind, wake.namespace, wake.name), Priority.DRIFT)
            return
        self._breakers.reopened_stream()
        await self.everything(Priority.DRIFT)


def is_edit(change: Change) -> bool:
    """True unless the change is one that the engine itself makes: status, and our finalizer."""
    before, after = change.before, change.after
    if before is None or change.synthetic or change.verb != "update" or before.uid != after.uid:
        return True
    return _intent(before.obj) != _intent(after.obj) or (
        FINALIZER in _finalizers(before) and FINALIZER not in _finalizers(after)
    )


def is_relevant(change: Change) -> bool:
    """True if those that depend on the record may find something else now."""
    before, after = change.before, change.after
    if before is None or change.synthetic or change.verb != "update" or before.uid != after.uid:
        return True
    return facts(before) != facts(after)


def facts(stored: Stored) -> tuple[Any, ...]:
    """All that another record may see of this one."""
    status = stored.obj.get("status") or {}
    ready = find(status.get("conditions") or (), "Ready") or {}
    refused = refusal(status) or {}
    own = {key: value for key, value in status.items()
           if key not in ("conditions", "observedGeneration", "allocation")}  # fmt: skip
    allocation = status.get("allocation") or {}
    names = allocation.get("names") or ()
    routed = [each for each in names if each.get("scope") == "host"]
    return (
        stored.uid,
        stored.generation,
        stored.deleting,
        stored.owner_uids,
        ready.get("status"),
        ready.get("message"),
        # of what serves as it was before, while what it asks for has no room
        refused.get("message"),
        secret_name(status),
        own,
        # of a service it works on, which is reached under that from now on
        [each for each in names if each.get("of")],
        # of what the ingress routes to: by which names, and by which spec
        (routed, "spec" in allocation) if routed else (),
        content_hmac(stored) if "status" not in stored.obj else "",
    )


def _finalizers(stored: Stored) -> tuple[str, ...]:
    return tuple(stored.meta.get("finalizers") or ())


def _intent(obj: Mapping[str, Any]) -> dict[str, Any]:
    """What others write: everything but status and our own finalizer."""
    meta = dict(obj["metadata"])
    meta["finalizers"] = [each for each in meta.get("finalizers") or () if each != FINALIZER]
    return {**{key: value for key, value in obj.items() if key != "status"}, "metadata": meta}
