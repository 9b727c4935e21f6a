"""Garbage collection: dependents of what is gone, contents of namespaces that go, old events.

Kubernetes' semantics (background, foreground, orphan), by uid, with one difference that keeps
data: what holds data is never deleted for its owner's sake, it is left to nobody. Everything is
read live before it is deleted; a job that fails is tried again.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from controlplane import events
from controlplane.clock import Clock, parse_time
from controlplane.engine.children import CLAIM_LABEL, without_owner
from controlplane.engine.limits import BUDGET_KINDS
from controlplane.engine.port import AGENT, RecordsPort
from controlplane.engine.queue import Priority, Queue
from controlplane.engine.resolve import NAMESPACE, forget_parsed
from controlplane.engine.slices import in_slices
from controlplane.errors import ConflictError, ControlPlaneError, NotFoundError, StaleEpochError
from controlplane.records import Change, Key, Stored, View
from resources.meta import FINALIZER, KindInfo

FOREGROUND: Final = "foregroundDeletion"
ORPHAN: Final = "orphan"
DEPENDENTS: Final = "dependents-of-uid"
PROPAGATE: Final = "propagate"
CONTENTS: Final = "contents-of-namespace"
SCAN: Final = Key("scan", "", "everything")
EXPIRE: Final = Key("expire", "", "events")
"""Job names: the queue holds keys, and these are keys of jobs, not of records."""
SCAN_S: Final = 600.0
"""A full scan finds what changes told nobody: records restored, owners gone while it was down."""
GROUP: Final = 64
"""How many of thousands (old events, all of a namespace) are deleted at once: few commits for the
store, and another job waits no longer than for one of them."""
AGAIN_S: Final = 0.05
AGAIN_DOUBLINGS: Final = 10
"""A lost race is over at once; one that seems to be lost again and again is no race: 51 s."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Garbage:
    """Jobs come from changes and from a scan; `worker` does them one at a time."""

    view: View
    records: RecordsPort
    infos: Mapping[str, KindInfo]
    epoch: Callable[[], int]
    clock: Clock
    jobs: Queue
    lost: Callable[[], None]
    rest: dict[Key, list[Stored]] = field(default_factory=dict)
    """What a job has found and not yet deleted."""

    # --- what makes work ---

    def take(self, change: Change) -> None:
        """Listen to a change."""
        after = change.after
        if change.verb == "delete":
            self.jobs.add(Key(DEPENDENTS, "", after.uid), Priority.DEPENDENCY)
            self._tell_owners(after)
            if after.key.namespace:
                self._consider_namespace(after.key.namespace)
            return
        if after.deleting:
            self._consider(after)
        before = change.before
        if before is None or b'"ownerReferences"' not in before.body:
            return  # most had no owner, and need not be read for it
        if before.owner_uids != after.owner_uids:
            self._tell_owners(before)

    def _consider(self, stored: Stored) -> None:
        if stored.key.kind == NAMESPACE:
            self.jobs.add(Key(CONTENTS, "", stored.key.name), Priority.DEPENDENCY)
        if {FOREGROUND, ORPHAN} & set(stored.meta.get("finalizers") or ()):
            self.jobs.add(_job(stored.key), Priority.DEPENDENCY)

    def _tell_owners(self, dependent: Stored) -> None:
        """One may be waiting in the foreground for it to go, or to be its dependent no more."""
        for ref in dependent.meta.get("ownerReferences") or ():
            owner = self._owner(ref, dependent)
            if owner is not None and FOREGROUND in (owner.meta.get("finalizers") or ()):
                self.jobs.add(_job(owner.key), Priority.DEPENDENCY)

    def _consider_namespace(self, name: str) -> None:
        home = self.view.get(Key(NAMESPACE, "", name))
        if home is None or home.deleting:
            self.jobs.add(Key(CONTENTS, "", name), Priority.DEPENDENCY)

    # --- the worker ---

    async def worker(self) -> None:
        """Do jobs until the queue is closed."""
        self.jobs.add(SCAN, Priority.RESYNC)
        while (item := await self.jobs.get()) is not None:
            try:
                await self._do(item.key)
                self.jobs.forget(item.key)
            except StaleEpochError:
                self.lost()
            except (ConflictError, NotFoundError):
                at_most_s = AGAIN_S * 2 ** min(self.jobs.failures(item.key), AGAIN_DOUBLINGS)
                self.jobs.retry(item.key, Priority.DEPENDENCY, at_most_s=at_most_s)
            except ControlPlaneError as exc:
                _log.info("garbage_kept", job=str(item.key), error=str(exc))
                self.jobs.retry(item.key, Priority.DEPENDENCY)
            except Exception:  # noqa: BLE001  # one bad record must not stop the collection
                _log.exception("garbage_failed", job=str(item.key))
                self.jobs.retry(item.key, Priority.DEPENDENCY, at_least_s=10.0)
            finally:
                self.jobs.done(item.key)

    async def _do(self, job: Key) -> None:
        if job == SCAN:
            await self._scan()
        elif job == EXPIRE:
            await self._go_on(job)
        elif job.kind == DEPENDENTS:
            await self._collect(job.name)
        elif job.kind == CONTENTS:
            await self._empty(job)
        else:
            await self._propagate(Key(job.kind.removeprefix(PROPAGATE), job.namespace, job.name))

    async def _go_on(self, job: Key) -> None:
        """Delete the next group of what a job has found; the job then goes behind what else is due.

        What a group fails for is raised when all of it has ended, a lost race last. It is not
        tried again: the job goes on with the rest, and what is left over is found anew.
        """
        found = self.rest.pop(job, [])
        if not found:
            return
        if len(found) > GROUP:
            self.rest[job] = found[GROUP:]
        # as they are now: a namespace that goes is told to all that is in it, which writes to them
        there = (self.view.get(stored.key) for stored in found[:GROUP])
        uids = {stored.uid for stored in found[:GROUP]}
        deletions = [
            self.records.delete(now, actor=AGENT, epoch=self.epoch())
            for now in there
            if now is not None and now.uid in uids and not now.deleting
            if job != EXPIRE or self._expired(now)
        ]
        ends = await asyncio.gather(*deletions, return_exceptions=True)
        failed = [each for each in ends if isinstance(each, BaseException)]
        if len(failed) < len(ends):
            self.jobs.forget(job)  # it gets on: the lost races of the others are no reason to wait
        if failed:
            raise min(failed, key=lambda exc: isinstance(exc, ConflictError | NotFoundError))
        self.jobs.add(job, Priority.RESYNC if job == EXPIRE else Priority.DEPENDENCY)

    # --- dependents of what is gone ---

    async def _collect(self, uid: str) -> None:
        dependents = self.view.owned_by(uid)
        if not dependents:
            return
        await self.records.catch_up(5.0)
        for stored in self.view.owned_by(uid):
            ref = next(r for r in stored.meta["ownerReferences"] if r["uid"] == uid)
            owner = self._owner(ref, stored)
            if owner is None:
                await self._let_go(stored, uid)

    async def _let_go(self, stored: Stored, uid: str) -> None:
        """Its owner is gone: keep data, keep what another owner still has, delete the rest."""
        others = [
            ref
            for ref in stored.meta["ownerReferences"]
            if ref["uid"] != uid and self._owner(ref, stored) is not None
        ]
        if others or self._holds_data(stored):
            await self._disown(stored, uid)
        elif not stored.deleting:
            await self.records.delete(stored, actor=AGENT, epoch=self.epoch())

    def _owner(self, ref: Mapping[str, Any], dependent: Stored) -> Stored | None:
        """The live owner behind a reference. That of a cluster-scoped dependent may be in any
        namespace: a Volume outlives the namespace of the record that uses it."""
        own = dependent.key.namespace
        # by its name in each of them: a look through all of its kind, for each of thousands of
        # dependents, takes seconds
        for namespace in (own, "") if own else self.view.namespaces(ref["kind"]):
            owner = self.view.get(Key(ref["kind"], namespace, ref["name"]))
            if owner is not None and owner.uid == ref["uid"]:
                return owner
        return None

    def _holds_data(self, stored: Stored) -> bool:
        return self.infos[stored.key.kind].holds_data or CLAIM_LABEL in stored.labels

    # --- foreground and orphan ---

    async def _propagate(self, key: Key) -> None:
        owner = self.view.get(key)
        if owner is None or not owner.deleting:
            return
        finalizers = owner.meta.get("finalizers") or ()
        if FINALIZER in finalizers:
            # its own teardown decides what is kept (it orphans retained data): never before it
            return
        if ORPHAN in finalizers:
            for stored in self.view.owned_by(owner.uid):
                await self._disown(stored, owner.uid)
            await self._drop(owner, ORPHAN)
        elif FOREGROUND in finalizers:
            await self._delete_dependents(owner)

    async def _delete_dependents(self, owner: Stored) -> None:
        await self.records.catch_up(5.0)
        blocked = False
        above = self._above(owner)
        for stored in self.view.owned_by(owner.uid):
            ref = next(r for r in stored.meta["ownerReferences"] if r["uid"] == owner.uid)
            if self._holds_data(stored) or self._stays(stored):
                await self._disown(stored, owner.uid)
                continue
            # in a circle each would wait for the next
            waits = bool(ref.get("blockOwnerDeletion")) and stored.uid not in above
            blocked = blocked or waits
            if not stored.deleting:
                await self.records.delete(
                    stored, actor=AGENT, propagation="Foreground", epoch=self.epoch()
                )
        if not blocked or not self.view.owned_by(owner.uid):
            await self._drop(owner, FOREGROUND)

    def _stays(self, dependent: Stored) -> bool:
        """True if another owner has it that isn't waiting for it to go."""
        owners = [self._owner(ref, dependent) for ref in dependent.meta["ownerReferences"]]
        return not dependent.deleting and any(
            not owner.deleting or FOREGROUND not in (owner.meta.get("finalizers") or ())
            for owner in owners
            if owner is not None
        )

    def _above(self, dependent: Stored) -> set[str]:
        """Uids of its owners, and of theirs."""
        found: set[str] = set()
        left = [dependent]
        while left:
            stored = left.pop()
            for ref in stored.meta.get("ownerReferences") or ():
                owner = self._owner(ref, stored)
                if owner is not None and owner.uid not in found:
                    found.add(owner.uid)
                    left.append(owner)
        return found

    async def _drop(self, owner: Stored, finalizer: str) -> None:
        live = self.view.get(owner.key)
        if live is None or live.uid != owner.uid:
            return
        left = [each for each in live.meta.get("finalizers") or () if each != finalizer]
        await self._describe(live, {"metadata": {**live.meta, "finalizers": left}})

    async def _disown(self, stored: Stored, uid: str) -> None:
        await self._describe(stored, without_owner(stored.obj, uid))

    async def _describe(self, stored: Stored, obj: Mapping[str, Any]) -> None:
        """Its metadata alone: a Secret that can't be opened must hold nothing up."""
        epoch = self.epoch()
        await self.records.update(stored, obj, actor=AGENT, subresource="metadata", epoch=epoch)

    # --- namespaces ---

    async def _empty(self, job: Key) -> None:
        """Delete what is in a namespace that goes, or has gone: first what refers to other
        records, then what it referred to, and plain data last (a teardown may need it), with the
        limits: what goes must not grow meanwhile."""
        namespace = job.name
        await self.records.catch_up(5.0)
        home = self.view.get(Key(NAMESPACE, "", namespace))
        if home is not None and not home.deleting:
            self.rest.pop(job, None)
            return
        if job in self.rest:
            await self._go_on(job)
            return
        for wave in (self._refers, self._reconciled, self._data):
            left = [s for kind in wave() for s in self.view.list(kind, namespace)]
            if fresh := await _not_deleting(left):
                self.rest[job] = fresh
                await self._go_on(job)
                return
            if any(self.view.get(stored.key) is not None for stored in left):
                return

    def _refers(self) -> list[str]:
        return [k for k, i in self.infos.items() if i.namespaced and i.reconciled and i.refs]

    def _reconciled(self) -> list[str]:
        last = self._data()
        return [k for k, i in self.infos.items() if i.namespaced and not i.refs and k not in last]

    def _data(self) -> list[str]:
        return [
            k
            for k, i in self.infos.items()
            if i.namespaced and (not i.reconciled or k in BUDGET_KINDS)
        ]

    def contents(self, namespace: str) -> int:
        """How many records a namespace still has, events left out."""
        kinds = (*self._refers(), *self._reconciled(), *self._data())
        return sum(len(self.view.list(k, namespace)) for k in kinds if k != events.KIND)

    # --- the scan ---

    async def _scan(self) -> None:
        self.jobs.add_after(SCAN, SCAN_S, Priority.RESYNC)
        old: list[Stored] = []
        for kind in self.infos:
            async for stored in in_slices(self.view.list(kind)):
                if kind != events.KIND:
                    self._look(stored)
                elif self._expired(stored):
                    old.append(stored)
                forget_parsed(stored)
        self.rest[EXPIRE] = old
        self.jobs.add(EXPIRE, Priority.RESYNC)

    def _look(self, stored: Stored) -> None:
        if stored.deleting:
            self._consider(stored)
        if stored.key.namespace:
            self._consider_namespace(stored.key.namespace)
        for uid in stored.owner_uids:
            self.jobs.add(Key(DEPENDENTS, "", uid), Priority.RESYNC)

    def _expired(self, stored: Stored) -> bool:
        # whoever may write events may write any text for a time, or a time that never comes
        now, told = self.clock.now(), parse_time(stored.obj.get("lastTimestamp"))
        if told is None or told > now:
            told = parse_time(stored.meta.get("creationTimestamp"))
        return told is not None and (now - told).total_seconds() > events.TTL_S


async def _not_deleting(found: Iterable[Stored]) -> list[Stored]:
    fresh: list[Stored] = []
    async for stored in in_slices(found):
        if not stored.deleting:
            fresh.append(stored)
        forget_parsed(stored)
    return fresh


def _job(key: Key) -> Key:
    return Key(PROPAGATE + key.kind, key.namespace, key.name)
