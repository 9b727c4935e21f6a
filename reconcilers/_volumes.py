"""The sub-plan shared by kinds that keep data: a Volume record, and the Secret that goes with it.

Both outlive their owner when it says so, and are found again by the next record of the same claim.
Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from controlplane.conditions import refusal
from controlplane.plan import (
    EnsureChild,
    OrphanChild,
    Owned,
    RecordStep,
    RemoveChild,
    Wait,
    Want,
)
from controlplane.store.shape import PROPAGATION_FINALIZERS
from resources.meta import Record
from resources.quantity import format_bytes, parse_bytes

_ORPHAN: Final = PROPAGATION_FINALIZERS["Orphan"]


@dataclass(frozen=True, slots=True)
class Keeping:
    """The Volume that a record wants."""

    name: str
    """Of the Volume record: see volume_name."""
    engine: str
    """What writes the data: part of the claim, so that no other engine ever starts on it."""
    size_bytes: int
    secret_name: str | None
    major: str = ""
    username: str = ""
    database: str = ""
    """What the data was made for, as the engine has it; "": the engine has no such thing."""


def volume_name(record: Record, namespace_uid: str, engine: str) -> str:
    """The same for the next record of this name, not for another tenant's."""
    meta = record.metadata
    parts = (record.info.singular, meta.namespace, meta.name, engine, namespace_uid[:8])
    return "-".join(parts)


def volume_steps(want: Want[Any], keeping: Keeping) -> tuple[RecordStep, ...]:
    """The Volume as it should be; empty: it is."""
    volume = want.children.get(("Volume", keeping.name))
    spec = _volume_spec(want, keeping, volume)
    if volume is not None and volume.owned and _holds(volume.spec, spec):
        return ()
    return (EnsureChild("Volume", keeping.name, spec, adopt_if_equal=("claim",)),)


def mounted(volume: Owned | None, *, runs: bool) -> str | None:
    """Name of the engine's volume, once it is there. One that is being deleted under a server is
    kept by the engine for as long as it is in use, and that server goes on."""
    if volume is None or (not runs and (volume.deleting or not volume.ready)):
        return None
    name = volume.status.get("dockerName")
    return str(name) if name else None


def volume_wait(name: str, volume: Owned | None) -> Wait:
    """Why there is no volume yet."""
    if volume is not None and volume.deleting:
        message = f"Volume '{name}' is being deleted; a new one is made when it is gone"
        return Wait("VolumeDeleting", message, 1.0)
    if wait := no_room(volume):
        return wait
    return Wait("VolumePending", f"waiting for Volume '{name}': see its conditions if it lasts")


def no_room(volume: Owned | None) -> Wait | None:
    """Why its Volume is not given the disk that it is to have. Told of the record that wants it:
    a Volume is in no namespace, and not everybody may look at it."""
    refused = None if volume is None or not volume.owned else refusal(volume.status)
    if volume is None or refused is None:
        return None
    message = f"Volume '{volume.name}' has no room: {refused.get('message')}"
    return Wait(str(refused.get("reason")), message)


def keeps_data(record: Record, policy: str) -> bool:
    """Whether what a record holds outlives it: its spec says so, or who deletes it has asked for
    orphans, as `kubectl delete --cascade=orphan` does, and must lose nothing by that."""
    return policy == "Retain" or _ORPHAN in record.metadata.finalizers


def storage_of(volume: Owned | None) -> int | None:
    """Disk in bytes that its own Volume has, as a status tells it."""
    return None if volume is None or not volume.owned else held_bytes(volume)


def held_bytes(volume: Owned) -> int:
    """Disk in bytes that a Volume has, or is being given: less than it asks for where that was
    refused."""
    asked = parse_bytes(volume.spec.get("size", 0))
    granted = granted_bytes(volume)
    if refusal(volume.status) is None:
        return max(asked, granted or 0)
    if granted is not None:
        return granted
    # of data from elsewhere only its record says how much there may be
    return asked if volume.spec.get("dockerName") or volume.status.get("dockerName") else 0


def granted_bytes(volume: Owned) -> int | None:
    """Disk in bytes that a Volume was given: less than it asks for until that has been decided on,
    too. None: nothing yet."""
    held = volume.status.get("allocation")
    return None if held is None else parse_bytes(held.get("disk", 0))


def granted_of(volume: Owned | None, asked_bytes: int) -> int:
    """Disk in bytes that a server may be told of: no more than its Volume was given so far."""
    granted = None if volume is None else granted_bytes(volume)
    return asked_bytes if granted is None else min(asked_bytes, granted)


def release(
    want: Want[Any], names: tuple[tuple[str, str], ...], *, retain: bool
) -> tuple[RecordStep, ...]:
    """Children kept for the next record of this name, or destroyed with it.

    A Volume keeps what it has: no growth that waits for room outlives who asked for it.
    """
    owned = [
        child
        for child in (want.children.get(name) for name in names)
        if child is not None and child.owned and not child.deleting
    ]
    empty = any(_never_made(child) for child in owned)
    kept = [child for child in owned if retain and not (empty and _made_by(want.record, child))]
    cut = tuple(
        EnsureChild(child.kind, child.name, {"size": format_bytes(held_bytes(child))})
        for child in kept
        if child.kind == "Volume" and held_bytes(child) < parse_bytes(child.spec.get("size", 0))
    )
    left = tuple(
        OrphanChild(child.kind, child.name)
        if child in kept
        else RemoveChild(child.kind, child.name)
        for child in owned
    )
    return (*cut, *left)


def _made_by(record: Record, child: Owned) -> bool:
    """Not one that was there before, and was adopted: its keys may open what is kept elsewhere."""
    return child.created >= (record.metadata.creation_timestamp or "")


def _never_made(child: Owned) -> bool:
    """A Volume that was refused room from the start holds nothing, and kept it would make the next
    record of this name ask for as much, for ever. A Secret that was made with it opens nothing."""
    made = child.status.get("allocation") or child.status.get("dockerName")
    named = child.spec.get("dockerName")
    return child.kind == "Volume" and not (made or named) and refusal(child.status) is not None


def _volume_spec(want: Want[Any], keeping: Keeping, volume: Owned | None) -> dict[str, Any]:
    meta = want.record.metadata
    held = 0 if volume is None else held_bytes(volume)
    spec: dict[str, Any] = {
        "claim": {
            "namespace": meta.namespace,
            "namespaceUid": want.namespace_uid,
            "kind": want.record.info.kind,
            "name": meta.name,
            "engine": keeping.engine,
        },
        # an adopted or grown one never shrinks; what there was no room for did not grow
        "size": format_bytes(max(keeping.size_bytes, held)),
    }
    made_for = {
        "major": keeping.major,
        "username": keeping.username,
        "database": keeping.database,
    }
    spec |= {key: value for key, value in made_for.items() if value}
    if keeping.secret_name is not None:
        spec["secretRef"] = {"namespace": meta.namespace, "name": keeping.secret_name}
    return spec


def _holds(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a child's spec has all that is wanted; what else it says is its own business."""
    return all(
        _holds(found.get(key) or {}, value)
        if isinstance(value, Mapping)
        else found.get(key) == value
        for key, value in wanted.items()
    )
