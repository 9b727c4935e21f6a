"""Records: the one way to write records, for the API and the engine alike, and to read them whole.

Applies Kubernetes' rules (shape.py), seals Secrets (sealing.py), keeps ownership of fields, turns
no-op writes into none, and hands the rest to the group-commit writer. It never retries a lost
race: callers whose client gave no resourceVersion read again and retry.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Literal
from uuid import uuid4

from controlplane.clock import Clock, rfc3339
from controlplane.errors import (
    AlreadyExistsError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    SecretLostError,
    StoreUnavailableError,
)
from controlplane.fields import Owner, after_update, dump, ownership, parse
from controlplane.records import Key, Sealer, Store, Stored, Verb, View, Write
from controlplane.store import crowding, sealing, shape
from controlplane.topology import DEFAULT, Topology
from resources.meta import KindInfo

Propagation = Literal["Background", "Foreground", "Orphan"]

_NAME_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"
"""Kubernetes' own: no vowels, so no words by accident."""
_GENERATED_PREFIX_MAX: Final = 58
_GENERATE_ATTEMPTS: Final = 8


@dataclass(frozen=True, slots=True)
class Actor:
    """Who writes: the authenticated name, and the field manager that owns what it sets."""

    name: str
    manager: str


@dataclass(frozen=True, slots=True)
class Records:
    """See the module. `topology` says how a kind's lists merge, for ownership."""

    store: Store
    view: View
    sealer: Sealer
    clock: Clock
    kinds: Mapping[str, KindInfo]
    topology: Callable[[str], Topology] = lambda _kind: DEFAULT
    lines: crowding.Lines = field(default_factory=crowding.Lines)

    async def create(
        self,
        kind: str,
        obj: Mapping[str, Any],
        *,
        actor: Actor,
        managed_fields: bytes | None = None,
        epoch: int | None = None,
        dry_run: bool = False,
    ) -> Stored:
        """Store a new record; metadata.generateName makes a free name.

        Raises AlreadyExistsError, NotFoundError (no such namespace) or ForbiddenError (it is
        being deleted, or full). A dry run returns the would-be record at revision 0.
        """
        info = self.kinds[kind]
        namespace = obj["metadata"].get("namespace") or "" if info.namespaced else ""
        await self._check_namespace(kind, namespace)
        make = partial(
            self._create, Key(kind, namespace, ""), obj, actor, managed_fields, epoch, dry_run
        )
        if epoch is not None or not crowding.bounded(kind, namespace):
            return await make()
        _refuse(crowding.too_heavy(self.view, namespace))
        if not crowding.crowded(self.view, kind, namespace, crowding.NEAR):
            return await make()
        async with self.lines.of(namespace):
            await self.catch_up(timeout_s=5.0)
            _refuse(crowding.crowded(self.view, kind, namespace))
            return await make()

    async def _create(
        self,
        unnamed: Key,
        obj: Mapping[str, Any],
        actor: Actor,
        managed_fields: bytes | None,
        epoch: int | None,
        dry_run: bool,
    ) -> Stored:
        for attempt in range(_GENERATE_ATTEMPTS):
            name = obj["metadata"].get("name") or _generated(obj["metadata"]["generateName"])
            key = unnamed._replace(name=name)
            write = await self._new(key, obj, actor, managed_fields, epoch, dry_run=dry_run)
            try:
                if dry_run:
                    return self._would_create(write)
                return await self.store.write(write)
            except AlreadyExistsError:
                if obj["metadata"].get("name") or attempt == _GENERATE_ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def update(
        self,
        base: Stored,
        obj: Mapping[str, Any],
        *,
        actor: Actor,
        subresource: str = "",
        managed_fields: bytes | None = None,
        epoch: int | None = None,
        dry_run: bool = False,
    ) -> Stored:
        """Replace `base` by `obj`; returns `base` itself, and writes nothing, when neither the
        object nor its ownership changes. Dropping the last finalizer of a record that is being
        deleted deletes it. Subresource "metadata" opens no Secret: it takes `obj` as stored.

        Raises ConflictError, NotFoundError, InvalidFieldError, or ForbiddenError (it grows in a
        namespace that is full).
        """
        info = self.kinds[base.key.kind]
        given = obj["metadata"].get("resourceVersion")
        if given and given != str(base.revision):
            raise _modified(base.key)
        before = base.obj if subresource == "metadata" else await self._whole(base)
        if base.key.kind == sealing.SECRET:
            obj = sealing.merged(obj)
        after = shape.updated(info, before, obj, subresource)
        managed = managed_fields
        if managed is None:
            managed = self._owned(base, before, after, actor, subresource, epoch)
        body = await self._encode(base.key.kind, base.uid, after, base, dry_run=dry_run)
        if body == base.body and _same_ownership(managed, base.managed_fields):
            return base
        if epoch is None and crowding.bounded(base.key.kind, base.key.namespace):
            self._refuse_growth(base, after, body, managed)
        if not dry_run:  # by any way that a spec is edited: /scale is one
            whole = shape.with_former_spec(before, after)
            body = body if whole is after else shape.encode(whole)
        verb: Verb = "delete" if shape.finished(after) else "update"
        write = self._next(base, verb, body, managed, after, actor, epoch)
        return _unwritten(write, base.revision) if dry_run else await self.store.write(write)

    async def delete(
        self,
        base: Stored,
        *,
        actor: Actor,
        propagation: Propagation = "Background",
        epoch: int | None = None,
        dry_run: bool = False,
        uid: str | None = None,
        revision: int | None = None,
    ) -> Stored | None:
        """Delete `base`, or mark it as being deleted while finalizers hold it (returned then);
        where it is already, only `propagation` may still be another.

        `uid` and `revision` are a client's preconditions. Raises ConflictError, NotFoundError.
        """
        if uid not in (None, base.uid) or revision not in (None, base.revision):
            raise ConflictError(f"cannot delete {base.key}: the precondition does not hold")
        if base.deleting:
            marked = shape.propagating(base.obj, propagation)
            if marked is None:
                return base
        else:
            now, info = rfc3339(self.clock.now()), self.kinds[base.key.kind]
            marked = shape.deleting(info, base.obj, now=now, propagation=propagation)
        if marked is None:
            write = self._next(
                base, "delete", base.body, base.managed_fields, base.obj, actor, epoch
            )
        else:
            body = shape.encode(marked)
            write = self._next(base, "update", body, base.managed_fields, marked, actor, epoch)
        if dry_run:
            return None if marked is None else _unwritten(write, base.revision)
        after = await self.store.write(write)
        return None if marked is None else after

    async def read(self, stored: Stored) -> dict[str, Any]:
        """The wire object, the caller's own: with resourceVersion and managedFields, and a
        Secret's values in clear. Raises SecretsUnavailableError, SecretLostError."""
        obj = shape.decode(stored)
        if stored.key.kind == sealing.SECRET:
            return await sealing.opened(self.sealer, obj)
        return obj

    async def catch_up(self, timeout_s: float) -> None:
        """Wait until the view has what the store has now: read your, and anyone's, writes.

        Raises StoreUnavailableError, also when the view doesn't get there in time.
        """
        revision = await self.store.revision()
        try:
            await self.view.wait_for(revision, timeout_s=timeout_s)
        except TimeoutError as exc:
            raise StoreUnavailableError(
                "cannot read: the cache is behind the store; try again"
            ) from exc

    async def _check_namespace(self, kind: str, namespace: str) -> None:
        """Early, from the view, for a good message; the writer checks again at commit."""
        if not namespace:
            return
        home = self.view.get(Key(shape.NAMESPACE, "", namespace))
        if home is None:
            await self.catch_up(timeout_s=5.0)
            home = self.view.get(Key(shape.NAMESPACE, "", namespace))
        if home is None:
            raise NotFoundError(f'namespaces "{namespace}" not found')
        if home.deleting:
            raise ForbiddenError(
                f"cannot create {kind} in namespace '{namespace}': it is being terminated",
                reason="NamespaceTerminating",
            )

    def _refuse_growth(
        self, base: Stored, after: Mapping[str, Any], body: bytes, managed: bytes
    ) -> None:
        """Raises ForbiddenError where the namespace is full, of what the user adds alone: not of
        a digit more of the generation, and not of the spec kept from before (with_former_spec)."""
        digits = len(str(after["metadata"].get("generation", 0))) - len(str(base.generation))
        owned = crowding.owned_by_more(managed, base.managed_fields)
        if owned or len(body) - digits > len(base.body):
            _refuse(crowding.too_heavy(self.view, base.key.namespace))

    async def _new(
        self,
        key: Key,
        obj: Mapping[str, Any],
        actor: Actor,
        managed_fields: bytes | None,
        epoch: int | None,
        *,
        dry_run: bool,
    ) -> Write:
        uid, now = str(uuid4()), rfc3339(self.clock.now())
        info = self.kinds[key.kind]
        if key.kind == sealing.SECRET:
            obj = sealing.merged(obj)
        made = shape.created(info, obj, name=key.name, uid=uid, now=now)
        if managed_fields is None:
            managed_fields = self._ownership(b"[]", None, made, actor, "")
        return Write(
            verb="create",
            key=key,
            uid=uid,
            generation=made["metadata"].get("generation", 0),
            body=await self._encode(key.kind, uid, made, None, dry_run=dry_run),
            managed_fields=managed_fields,
            expected_revision=None,
            actor=actor.name,
            manager=actor.manager,
            epoch=epoch,
            within=Key(shape.NAMESPACE, "", key.namespace) if key.namespace else None,
        )

    def _next(
        self,
        base: Stored,
        verb: Verb,
        body: bytes,
        managed_fields: bytes,
        after: Mapping[str, Any],
        actor: Actor,
        epoch: int | None,
    ) -> Write:
        return Write(
            verb=verb,
            key=base.key,
            uid=base.uid,
            generation=after["metadata"].get("generation", 0),
            body=body,
            managed_fields=managed_fields,
            expected_revision=base.revision,
            actor=actor.name,
            manager=actor.manager,
            epoch=epoch,
            deleting="deletionTimestamp" in after["metadata"],
        )

    def _would_create(self, write: Write) -> Stored:
        if self.view.get(write.key) is not None:
            raise AlreadyExistsError(f"cannot create {write.key}: it already exists")
        return _unwritten(write, 0)

    async def _whole(self, stored: Stored) -> Mapping[str, Any]:
        if stored.key.kind != sealing.SECRET:
            return stored.obj
        try:
            return await sealing.opened(self.sealer, stored.obj)
        except SecretLostError:  # whoever has its values may set them again
            return sealing.without_values(stored.obj)

    async def _encode(
        self, kind: str, uid: str, obj: Mapping[str, Any], base: Stored | None, *, dry_run: bool
    ) -> bytes:
        if kind == sealing.SECRET and "sealed" not in obj:  # of its metadata alone: as it was
            old = base.obj if base is not None else None
            obj = await sealing.sealed(self.sealer, uid, obj, old, ephemeral=dry_run)
        return shape.encode(obj)

    def _owned(
        self,
        base: Stored,
        before: Mapping[str, Any],
        after: Mapping[str, Any],
        actor: Actor,
        subresource: str,
        epoch: int | None,
    ) -> bytes:
        if subresource in ("status", "engine") and epoch is not None:
            return self._controller_status(base, after, actor)
        subresource = "" if subresource == "metadata" else subresource
        return self._ownership(base.managed_fields, before, after, actor, subresource)

    def _ownership(
        self,
        managed: bytes,
        before: Mapping[str, Any] | None,
        after: Mapping[str, Any],
        actor: Actor,
        subresource: str,
    ) -> bytes:
        return after_update(
            managed,
            before,
            after,
            manager=actor.manager,
            api_version=after["apiVersion"],
            time=rfc3339(self.clock.now()),
            subresource=subresource,
            topology=self.topology(after["kind"]),
        )

    def _controller_status(self, base: Stored, after: Mapping[str, Any], actor: Actor) -> bytes:
        """A controller owns the whole status by one constant entry: its writes never move it."""
        owners = parse(base.managed_fields)
        paths = frozenset({("f:status",)})
        mine = Owner(
            actor.manager,
            "Update",
            after["apiVersion"],
            "status",
            rfc3339(self.clock.now()),
            paths,
        )
        if any(owner.identity == mine.identity and owner.paths == paths for owner in owners):
            return base.managed_fields
        return dump((*(o for o in owners if o.identity != mine.identity), mine))


def _refuse(why: str) -> None:
    if why:
        raise ForbiddenError(why, reason="QuotaExceeded")


def _generated(prefix: str) -> str:
    suffix = "".join(secrets.choice(_NAME_ALPHABET) for _ in range(5))
    return prefix[:_GENERATED_PREFIX_MAX] + suffix


def _unwritten(write: Write, revision: int) -> Stored:
    """What a dry run answers."""
    return Stored(
        write.key, write.uid, revision, write.generation, write.body, write.managed_fields
    )


def _same_ownership(new: bytes, old: bytes) -> bool:
    return new == old or ownership(parse(new)) == ownership(parse(old))


def _modified(key: Key) -> ConflictError:
    return ConflictError(
        f"cannot update {key}: the object has been modified; please apply your changes to the "
        "latest version and try again"
    )
