"""What the engine does for records that nothing outside stands for: enough to test the API alone.

Takes the finalizers off what is being deleted, empties namespaces, and deletes what lost its
owner. Not the engine: no reconciler runs, and nothing ever becomes Ready.
"""

from dataclasses import dataclass

from controlplane.engine.cache import Cache
from controlplane.errors import ConflictError, NotFoundError
from controlplane.records import Stored
from controlplane.store.records import Actor, Records
from resources.kinds import KINDS
from resources.meta import FINALIZER


@dataclass(frozen=True, slots=True)
class NoPods:
    """The Pods of an agent that runs nothing. Implements streams.PodViews."""

    view: Cache

    def require(self) -> None:
        """It is never away."""


_ACTOR = Actor("system:engine", "bunker")
_OURS = {FINALIZER, "foregroundDeletion", "orphan"}


async def tidy(records: Records, cache: Cache) -> None:
    """Follow every change until cancelled."""
    async for _ in cache.watch(None, cache.revision):
        await _pass(records, cache)


async def _pass(records: Records, cache: Cache) -> None:
    every = [stored for model in KINDS for stored in cache.list(model.info.kind)]
    uids = {stored.uid for stored in every}
    for stored in every:
        try:
            await _settle(records, cache, stored, uids)
        except (ConflictError, NotFoundError):
            continue


async def _settle(records: Records, cache: Cache, stored: Stored, uids: set[str]) -> None:
    if stored.deleting:
        if stored.key.kind == "Namespace" and await _emptied(records, cache, stored) > 0:
            return
        await _release(records, stored)
    elif stored.owner_uids and not uids & set(stored.owner_uids):
        await records.delete(stored, actor=_ACTOR)


async def _emptied(records: Records, cache: Cache, namespace: Stored) -> int:
    inside = [
        stored
        for model in KINDS
        if model.info.namespaced
        for stored in cache.list(model.info.kind, namespace.key.name)
    ]
    for stored in inside:
        if not stored.deleting:
            await records.delete(stored, actor=_ACTOR)
    return len(inside)


async def _release(records: Records, stored: Stored) -> None:
    obj = await records.read(stored)
    held = [f for f in obj["metadata"].get("finalizers") or () if f not in _OURS]
    if held != obj["metadata"].get("finalizers"):
        obj["metadata"]["finalizers"] = held
        await records.update(stored, obj, actor=_ACTOR)
