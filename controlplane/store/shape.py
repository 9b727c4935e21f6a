"""What a record's object becomes on create, update and delete: Kubernetes' rules, pure.

Server-owned fields, the generation rule, what each subresource may change, finalizers. The
object is plain JSON; schemas and defaults are the API's business.
"""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from controlplane.errors import ConflictError, InvalidFieldError
from controlplane.records import Stored
from resources.meta import FINALIZER, KindInfo

Obj = dict[str, Any]

NAMESPACE: Final = "Namespace"
_WITHOUT_GENERATION: Final = frozenset({"Event"})
_BESIDE_THE_BODY: Final = ("resourceVersion", "managedFields", "selfLink")
_SERVER_OWNED: Final = (
    *("uid", "creationTimestamp", "generation"),
    *("deletionTimestamp", "deletionGracePeriodSeconds"),
)
PROPAGATION_FINALIZERS: Final = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}


def encode(obj: Mapping[str, Any]) -> bytes:
    """Canonical JSON: metadata first, then by key; equal objects give equal bytes.

    Metadata first, so that what is kept beside the body can be spliced in without parsing it.
    """
    meta = {k: v for k, v in obj["metadata"].items() if k not in _BESIDE_THE_BODY}
    rest = {k: v for k, v in obj.items() if k != "metadata"}
    head = orjson.dumps(meta, option=orjson.OPT_SORT_KEYS)
    tail = orjson.dumps(rest, option=orjson.OPT_SORT_KEYS)
    return b'{"metadata":%b,%b' % (head, tail[1:])


def decode(stored: Stored) -> Obj:
    """The wire object, fresh: resourceVersion and managedFields spliced in."""
    obj: Obj = orjson.loads(stored.body)
    meta = obj["metadata"]
    if stored.revision:
        meta["resourceVersion"] = str(stored.revision)
    if stored.managed_fields != b"[]":
        meta["managedFields"] = orjson.loads(stored.managed_fields)
    return obj


def created(info: KindInfo, obj: Mapping[str, Any], *, name: str, uid: str, now: str) -> Obj:
    """The object of a create: identity given, generation 1, no status yet."""
    meta = {k: v for k, v in obj["metadata"].items() if k not in _SERVER_OWNED}
    meta |= {"name": name, "uid": uid, "creationTimestamp": now}
    if info.kind not in _WITHOUT_GENERATION:
        meta["generation"] = 1
    if not info.namespaced:
        meta.pop("namespace", None)
    made = {**obj, "metadata": meta}
    if info.has_status:
        made.pop("status", None)
    if info.kind == NAMESPACE:
        made["status"] = {"phase": "Active"}
        # from birth: what is in it must be gone before it is, even if no pass ever saw it
        meta["finalizers"] = [*dict.fromkeys([*(meta.get("finalizers") or ()), FINALIZER])]
        _label_namespace(meta)
    return made


def updated(
    info: KindInfo, base: Mapping[str, Any], obj: Mapping[str, Any], subresource: str
) -> Obj:
    """The object of an update: status alone through "status", status and finalizers through
    "engine" (a finalizer is never without the allocation that it frees), metadata alone through
    "metadata", everything but status otherwise.

    Raises ConflictError for another uid, InvalidFieldError for a finalizer added while deleting.
    """
    meta = base["metadata"]
    if (uid := obj["metadata"].get("uid")) and uid != meta["uid"]:
        raise ConflictError(f"cannot update {info.kind} '{meta['name']}': it has another uid")
    if subresource == "status":
        return _with_status(base, obj)
    if subresource == "engine":
        made = _with_status(base, obj)
        made["metadata"] = _with_finalizers(meta, obj["metadata"])
        _check_finalizers(info, meta, made["metadata"])
        return made
    if subresource == "metadata":
        obj = {**base, "metadata": obj["metadata"]}
    made = _with_status(obj, base) if info.has_status else {**obj}
    made["metadata"] = _merged_meta(base, obj)
    if info.kind == NAMESPACE:
        _label_namespace(made["metadata"])
    _check_finalizers(info, meta, made["metadata"])
    if "generation" in meta and _outside_meta(made) != _outside_meta(base):
        made["metadata"]["generation"] = meta["generation"] + 1
    return made


def with_former_spec(base: Mapping[str, Any], made: Obj) -> Obj:
    """`made` with the spec that its allocation was committed for, if this edit of `base` is the
    first since: what runs is healed by that one until the new one is admitted, and the engine's
    next commit drops it."""
    status = made.get("status") or {}
    allocation = status.get("allocation")
    if not allocation or "spec" in allocation or made.get("spec") == base.get("spec"):
        return made
    former = {**allocation, "spec": base.get("spec") or {}}
    return {**made, "status": {**status, "allocation": former}}


def deleting(info: KindInfo, base: Mapping[str, Any], *, now: str, propagation: str) -> Obj | None:
    """The object marked for deletion; None when nothing holds it and it can go at once."""
    meta = {**base["metadata"]}
    held = [*(meta.get("finalizers") or ())]
    held = [f for f in held if f not in PROPAGATION_FINALIZERS.values()]
    if (extra := PROPAGATION_FINALIZERS.get(propagation)) is not None:
        held.append(extra)
    if not held:
        return None
    meta |= {"finalizers": held, "deletionTimestamp": now, "deletionGracePeriodSeconds": 0}
    if "generation" in meta:
        meta["generation"] += 1
    made = {**base, "metadata": meta}
    if info.kind == NAMESPACE:
        made["status"] = {**(base.get("status") or {}), "phase": "Terminating"}
    return made


def propagating(base: Mapping[str, Any], propagation: str) -> Obj | None:
    """What is being deleted already, with another say on what it owns; None: it has none. As in
    deletionFinalizersForGarbageCollection of apiserver/pkg/registry/generic/registry/store.go."""
    held = base["metadata"].get("finalizers") or ()
    extra = PROPAGATION_FINALIZERS.get(propagation)
    if extra is None or extra in held:
        return None
    others = [each for each in held if each not in PROPAGATION_FINALIZERS.values()]
    return {**base, "metadata": {**base["metadata"], "finalizers": [*others, extra]}}


def finished(obj: Mapping[str, Any]) -> bool:
    """Marked for deletion, and nothing holds it any more."""
    meta = obj["metadata"]
    return bool(meta.get("deletionTimestamp")) and not meta.get("finalizers")


def _with_status(obj: Mapping[str, Any], status_of: Mapping[str, Any]) -> Obj:
    made = {k: v for k, v in obj.items() if k != "status"}
    if "status" in status_of:
        made["status"] = status_of["status"]
    return made


def _with_finalizers(old: Mapping[str, Any], new: Mapping[str, Any]) -> Obj:
    meta = {k: v for k, v in old.items() if k != "finalizers"}
    return meta | ({"finalizers": new["finalizers"]} if new.get("finalizers") else {})


def _merged_meta(base: Mapping[str, Any], obj: Mapping[str, Any]) -> Obj:
    old = base["metadata"]
    meta = {k: v for k, v in obj["metadata"].items() if k not in _SERVER_OWNED}
    meta |= {k: old[k] for k in (*_SERVER_OWNED, "name", "namespace") if k in old}
    if "namespace" not in old:
        meta.pop("namespace", None)
    return meta


def _check_finalizers(info: KindInfo, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    if not old.get("deletionTimestamp"):
        return
    added = set(new.get("finalizers") or ()) - set(old.get("finalizers") or ())
    if added:
        raise InvalidFieldError(
            "metadata.finalizers",
            f"cannot update {info.kind} '{old['name']}': no new finalizers can be added if the "
            f"object is being deleted, found new finalizers {sorted(added)}",
        )


def _outside_meta(obj: Mapping[str, Any]) -> Obj:
    return {k: v for k, v in obj.items() if k not in {"metadata", "status"}}


def _label_namespace(meta: Obj) -> None:
    meta["labels"] = {**(meta.get("labels") or {}), "kubernetes.io/metadata.name": meta["name"]}
