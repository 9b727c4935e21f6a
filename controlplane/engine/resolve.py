"""From stored records to what a reconciler sees: typed models, references, children, namespace.

Reads the watch cache only, decides nothing. Everything a record depends on is written into the
reverse index before it is read, so that a change in between wakes the record again.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import orjson
from pydantic import ValidationError

from controlplane.conditions import Reason, is_true, message_of
from controlplane.engine.index import Dependents
from controlplane.engine.referring import PLATFORM, Referring
from controlplane.errors import TerminalError
from controlplane.plan import Binding, ChildRef, Dependent, Owned, Reconciler, Resolved, Want
from controlplane.records import Key, Stored, View
from resources.meta import PLATFORM_NAMESPACE, STORED, Allocation, KindInfo, Record, Spec

ALLOCATIONS: Final = 1024
"""Kept parsed; each is read several times in a pass. 10,000 idle records took 205 MiB with 8,192 of
them, 167 with these, 162 with 256 (scripts/bench records), whose passes read theirs anew."""
NAMESPACE: Final = "Namespace"
SECRET: Final = "Secret"  # noqa: S105  # the name of a kind
CONFIG_MAP: Final = "ConfigMap"
ENGINE_STATUS: Final = ("conditions", "allocation", "observedGeneration")
"""The fields of every status that the engine itself writes."""

AnyReconciler = Reconciler[Any, Any, Any]


def parse(model: type[Record], stored: Stored) -> Record:
    """The typed record.

    A status that this version doesn't understand (an older one wrote it) is left out: it will be
    observed anew. Raises TerminalError for a bad spec.
    """
    obj = stored.obj
    try:
        return model.model_validate(obj, context=STORED)
    except ValidationError:
        status = {key: obj.get("status", {}).get(key) for key in ENGINE_STATUS}
        kept = {key: value for key, value in status.items() if value is not None}
        bare = {key: value for key, value in obj.items() if key != "status"}
    try:
        return model.model_validate({**bare, "status": kept} if kept else bare, context=STORED)
    except ValidationError as exc:
        if stored.deleting and (record := _to_remove(model, obj)) is not None:
            return record
        first = exc.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise TerminalError(
            f"cannot read {stored.key}: {where}: {first['msg']}; edit it to mend it",
            reason=Reason.INVALID_RECORD,
        ) from exc


def _to_remove(model: type[Record], obj: Mapping[str, Any]) -> Record | None:
    """What is to be removed, and needs no mending for that: without fields that don't matter then,
    and that a later version may not take any more."""
    spec = {k: v for k, v in (obj.get("spec") or {}).items() if k not in model.info.bulk}
    try:
        return model.model_validate({**obj, "spec": spec}, context=STORED)
    except ValidationError:
        return None


async def parsed(model: type[Record], stored: Stored) -> Record:
    """As `parse`; on a thread where that takes long, so that others get their turns meanwhile."""
    if len(stored.body) < model.info.slow_bytes:
        return parse(model, stored)
    return await asyncio.to_thread(parse, model, stored)


def allocation_of(stored: Stored) -> Allocation | None:
    """What the store says is committed to the record."""
    found = (stored.obj.get("status") or {}).get("allocation")
    if found is None:
        return None
    if isinstance(found, dict) and found.get("spec") is not None:
        # not kept: each edit makes another, and a Zone's is near a megabyte
        return _read(found)
    return _allocation(orjson.dumps(found))


def former(model: type[Record], stored: Stored) -> Record | None:
    """The record by the spec that its allocation was committed for: an earlier one while an edit
    waits to be admitted, else its own, where that is as large: an earlier release kept none, and a
    new one may ask for more than was given. None if there is none, or nothing is to be done by it.
    """
    held = allocation_of(stored)
    if held is None:
        return None
    obj = stored.obj if held.spec is None else {**stored.obj, "spec": held.spec}
    try:
        record = model.model_validate(obj, context=STORED)
    except ValidationError:
        return None
    if held.spec is None and not record.footprint.fits(held.footprint):
        return None
    spec = getattr(record, "spec", None)
    return None if isinstance(spec, Spec) and spec.paused else record


@lru_cache(maxsize=ALLOCATIONS)
def _allocation(wire: bytes) -> Allocation | None:
    """Read several times in each pass, and the same for as long as a record doesn't change."""
    return _read(orjson.loads(wire))


def _read(wire: object) -> Allocation | None:
    try:
        return Allocation.model_validate(wire)
    except ValidationError:
        return None


def content_hmac(stored: Stored | None) -> str | None:
    """Changes whenever a Secret's or ConfigMap's content does; None if there is none."""
    if stored is None:
        return None
    if stored.key.kind == SECRET:
        return str(stored.obj.get("contentHmac", ""))
    data = {key: stored.obj.get(key) or {} for key in ("data", "binaryData")}
    return hashlib.sha256(orjson.dumps(data, option=orjson.OPT_SORT_KEYS)).hexdigest()


def secret_name(status: Mapping[str, Any]) -> str | None:
    """The Secret that binds to a record, by the Service Binding convention or our secretRef."""
    ref = status.get("secretRef") or {}
    binding = status.get("binding") or {}
    name = ref.get("name") or binding.get("secretName") or binding.get("name")
    return None if name is None else str(name)


def forget_parsed(stored: Stored) -> None:
    """The cache keeps thousands of records: as bytes, not as the dictionaries they parse to."""
    stored.__dict__.pop("obj", None)


class Resolver:
    """Builds the Want of a pass."""

    def __init__(
        self, view: View, models: Mapping[str, type[Record]], dependents: Dependents
    ) -> None:
        self._view = view
        self._models = models
        self._dependents = dependents
        self._networks: dict[str, tuple[int, str]] = {}
        """By uid of a namespace: at which revision of it, and the name."""
        self._referring = Referring(view, models)

    def info(self, kind: str) -> KindInfo:
        return self._models[kind].info

    def want(
        self, record: Record, reconciler: AnyReconciler, allocation: Allocation | None
    ) -> Want[Record]:
        """All that the engine knows for one pass over `record`."""
        meta = record.metadata
        key = Key(record.info.kind, meta.namespace, meta.name)
        uid, network, ready = self._namespace(meta.namespace)
        references = record.references
        reads = reconciler.reads(record)
        children = {
            (child.kind, child.name): self.child_key(meta.namespace, child)
            for child in reconciler.children(record, uid)
        }
        refs = {ref.path: Key(ref.kind, meta.namespace, ref.name) for ref in references}
        services = {name: Key(PLATFORM, PLATFORM_NAMESPACE, name) for name in record.services}
        sources = self._referring.sources(key) if record.info.sees_dependents else ()
        targets = {*refs.values(), *children.values(), *(self._read_key(key, r) for r in reads)}
        targets |= {*services.values()}
        targets |= {Key(NAMESPACE, "", each.key.namespace) for each in sources}
        if meta.namespace:
            targets.add(Key(NAMESPACE, "", meta.namespace))
        named = (*refs.values(), *services.values())
        bound = {self._binding_key(target) for target in named} - {None}
        self._dependents.set(key, targets | {each for each in bound if each is not None})
        held = allocation or Allocation()
        return Want(
            record=record,
            namespace_uid=uid,
            network=network,
            network_ready=ready,
            refs={ref.path: self._resolve(refs[ref.path]) for ref in references},
            services={name: self._resolve(each) for name, each in services.items()},
            dependents=tuple(self._dependent(each) for each in sources),
            secrets={r: content_hmac(self._view.get(self._read_key(key, r))) for r in reads},
            children=self._children(children, meta.uid),
            ports=held.ports[: len(record.host_ports)],
            subnet=held.subnet,
            held=held.footprint,
        )

    def named_by(self, stored: Stored) -> tuple[Key, ...]:
        """Records that see their dependents, and have `stored` among them."""
        return self._referring.targets(stored)

    def child_key(self, namespace: str, child: ChildRef) -> Key:
        """Where a child of a record in `namespace` lives: a cluster-scoped one in none."""
        scope = namespace if self.info(child.kind).namespaced else ""
        return Key(child.kind, scope, child.name)

    def cycle(self, key: Key) -> tuple[Key, ...]:
        """The chain of references that leads from `key` back to it; empty if none does."""
        path: list[Key] = [key]
        seen: set[Key] = set()
        return tuple(self._walk(key, key, path, seen))

    def _walk(self, start: Key, here: Key, path: list[Key], seen: set[Key]) -> list[Key]:
        stored = self._view.get(here)
        if stored is None or here in seen or here.kind not in self._models:
            return []
        seen.add(here)
        try:
            references = parse(self._models[here.kind], stored).references
        except TerminalError:
            return []
        for ref in references:
            target = Key(ref.kind, here.namespace, ref.name)
            if target == start:
                return [*path, target]
            if found := self._walk(start, target, [*path, target], seen):
                return found
        return []

    def _namespace(self, namespace: str) -> tuple[str, str, bool]:
        """(uid, Docker name of the network, ready) of a namespace."""
        if not namespace:
            return "", "", True
        stored = self._view.get(Key(NAMESPACE, "", namespace))
        if stored is None:
            return "", "", False
        revision, network = self._networks.get(stored.uid, (0, ""))
        if revision != stored.revision:
            network = parse(self._models[NAMESPACE], stored).owned_name
            self._networks[stored.uid] = stored.revision, network
        ready = is_true(stored.obj.get("status") or {}) and not stored.deleting
        return stored.uid, network, ready

    def _resolve(self, key: Key) -> Resolved:
        stored = self._view.get(key)
        if stored is None:
            text = f"{key.kind} '{key.name}' does not exist in namespace '{key.namespace}'"
            if key.kind == PLATFORM:
                text += "; an administrator adds it with manifests/platform"
            return Resolved(key.kind, key.name, None, False, text)
        status = stored.obj.get("status") or {}
        ready = is_true(status) and not stored.deleting
        message = ""
        if not ready:
            why = "it is being deleted" if stored.deleting else message_of(status)
            message = f"{key.kind} '{key.name}' is not ready: {why or 'it was not observed yet'}"
        return Resolved(
            key.kind,
            key.name,
            stored.uid,
            ready,
            message,
            self._binding(key, status),
            stored.obj.get("spec") or {},
            status,
        )

    def _dependent(self, stored: Stored) -> Dependent:
        key = stored.key
        _, network, ready = self._namespace(key.namespace)
        return Dependent(
            kind=key.kind,
            namespace=key.namespace,
            name=key.name,
            uid=stored.uid,
            created=str(stored.meta.get("creationTimestamp") or ""),
            spec=stored.obj.get("spec") or {},
            status=stored.obj.get("status") or {},
            deleting=stored.deleting,
            network=network,
            network_ready=ready,
        )

    def _binding(self, key: Key, status: Mapping[str, Any]) -> Binding | None:
        name = secret_name(status)
        if name is None:
            return None
        digest = content_hmac(self._view.get(Key(SECRET, key.namespace, name)))
        return None if digest is None else Binding(name, digest)

    def _binding_key(self, target: Key) -> Key | None:
        stored = self._view.get(target)
        name = None if stored is None else secret_name(stored.obj.get("status") or {})
        return None if name is None else Key(SECRET, target.namespace, name)

    def _read_key(self, key: Key, read: str) -> Key:
        kind, _, name = read.partition("/")
        return Key(kind, key.namespace, name)

    def _children(
        self, keys: Mapping[tuple[str, str], Key], owner_uid: str
    ) -> dict[tuple[str, str], Owned]:
        found: dict[tuple[str, str], Owned] = {}
        for child, key in keys.items():
            stored = self._view.get(key)
            if stored is not None:
                found[child] = _owned(stored, owner_uid)
        return found


def _owned(stored: Stored, owner_uid: str) -> Owned:
    status = stored.obj.get("status") or {}
    data = stored.key.kind in (SECRET, CONFIG_MAP)
    return Owned(
        kind=stored.key.kind,
        name=stored.key.name,
        uid=stored.uid,
        ready=data or is_true(status),
        spec=stored.obj.get("spec") or {},
        status=status,
        content_hmac=(content_hmac(stored) or "") if data else "",
        secret_keys=tuple(stored.obj.get("secretKeys") or ()),
        owned=owner_uid in stored.owner_uids,
        deleting=stored.deleting,
        created=str(stored.meta.get("creationTimestamp") or ""),
    )
