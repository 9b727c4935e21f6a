"""Promises that hold at every moment, looked at after every effect outside and every commit."""

from collections import defaultdict
from typing import Any

from controlplane.records import Key, Stored, Write
from resources.kinds import KIND_INFOS
from resources.meta import FINALIZER, Allocation, Footprint
from tests.support.platform import Platform


def broken(platform: Platform) -> list[str]:
    """What is outside is held by a finalizer and charged to the budget, at any moment."""
    found: list[str] = []
    limits: defaultdict[Key, Footprint] = defaultdict(Footprint)
    for state in platform.states():
        owner = state.owner
        if owner is not None:
            size = state.limits
            limits[Key(owner.kind, owner.namespace, owner.name)] += Footprint(
                size.cpu_millicores, size.memory_bytes
            )
    for key, used in limits.items():
        stored = platform.find(key)
        if stored is not None:
            found += _promised(stored, used)
    return found


def _promised(stored: Stored, used: Footprint) -> list[str]:
    found = []
    if FINALIZER not in (stored.meta.get("finalizers") or ()):
        found.append(f"{stored.key} has containers, and no finalizer that frees them")
    status: dict[str, Any] = stored.obj.get("status") or {}
    held = Allocation.model_validate(status.get("allocation") or {}).footprint
    if not used.fits(Footprint(held.cpu_millicores, held.memory_bytes)):
        found.append(f"{stored.key} uses {used} and is charged {held}")
    return found


def emptied(platform: Platform, write: Write) -> list[str]:
    """A namespace goes last."""
    if write.verb != "delete" or write.key.kind != "Namespace":
        return []
    return [
        f"{write.key} went before {stored.key}"
        for kind, info in KIND_INFOS.items()
        if info.namespaced and kind != "Event"
        for stored in platform.store.cache.list(kind, write.key.name)
    ]
