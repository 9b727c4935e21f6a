"""Record steps: child records and generated Secrets, made by the engine under its epoch.

A reconciler plans them as data and never sees the store. Who owns what is decided here: a child
that belongs to another record is never touched, an unowned one is adopted only on an equal claim.
"""

import asyncio
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from controlplane import events
from controlplane.engine import secretdata
from controlplane.engine.port import AGENT, RecordsPort
from controlplane.engine.recorder import Recorder
from controlplane.engine.resolve import SECRET, parse
from controlplane.engine.values import read_current
from controlplane.errors import AlreadyExistsError, ConflictError, RetryableError, TerminalError
from controlplane.plan import (
    EnsureChild,
    EnsureSecret,
    Generated,
    OrphanChild,
    RecordStep,
    RemoveChild,
)
from controlplane.records import Key, Stored, View
from resources.meta import Record

CLAIM_LABEL: Final = "bunker.cloud/claim"
"""On a Secret that goes with retained data: whose it is."""
MAX_LABEL_CHARS: Final = 63
"""Of a label's value, in Kubernetes: with more of them, no edit of the Secret would be taken."""


@dataclass(frozen=True, slots=True)
class Children:
    """Carries out the record steps of one owner's plan. Each is idempotent."""

    view: View
    records: RecordsPort
    models: Mapping[str, type[Record]]
    epoch: Callable[[], int]
    recorder: Recorder
    generate: Callable[[Generated], str] = secretdata.generate

    async def carry_out(self, owner: Stored, step: RecordStep) -> None:
        """Raises ConflictError (again at once), TerminalError (somebody else's), or the store's
        own errors."""
        match step:
            case EnsureChild():
                await self._ensure_child(owner, step)
            case EnsureSecret():
                await self._ensure_secret(owner, step)
            case OrphanChild(kind=kind, name=name):
                await self._orphan(owner, self._key(owner, kind, name))
            case RemoveChild(kind=kind, name=name):
                await self._remove(owner, self._key(owner, kind, name))

    # --- children ---

    async def _ensure_child(self, owner: Stored, step: EnsureChild) -> None:
        key = self._key(owner, step.kind, step.name)
        stored = self._live(key)
        if stored is None:
            await self._create(key, {**self._new(owner, key), "spec": dict(step.spec)})
            return
        adopted = self._adoptable(owner, stored, self._claims_equal(stored, step), step=step)
        spec = {**(stored.obj.get("spec") or {}), **step.spec}
        await self._update(owner, stored, stored.obj, {"spec": spec}, adopted=adopted)

    async def _orphan(self, owner: Stored, key: Key) -> None:
        stored = self.view.get(key)
        if stored is None or owner.uid not in stored.owner_uids:
            return
        # its metadata alone: a Secret that can't be opened must not hold its owner's deletion up
        await self.records.update(
            stored,
            without_owner(stored.obj, owner.uid),
            actor=AGENT,
            subresource="metadata",
            epoch=self.epoch(),
        )

    async def _remove(self, owner: Stored, key: Key) -> None:
        stored = self.view.get(key)
        if stored is None or stored.deleting:
            return
        if owner.uid not in stored.owner_uids:
            raise TerminalError(
                f"cannot remove {key}: it does not belong to {owner.key}", reason="NotOwned"
            )
        await self.records.delete(stored, actor=AGENT, epoch=self.epoch())

    # --- secrets ---

    async def _ensure_secret(self, owner: Stored, step: EnsureSecret) -> None:
        key = self._key(owner, SECRET, step.name)
        stored = self._live(key)
        if stored is None:
            data = await self._completed({}, step)
            obj = {**self._new(owner, key), "type": step.type, "data": secretdata.encoded(data)}
            if step.claim:
                obj["metadata"]["labels"] = {CLAIM_LABEL: claim_label(step.claim)}
            await self._create(key, obj)
            return
        # an earlier release wrote the whole claim there, however long
        label = stored.labels.get(CLAIM_LABEL)
        claimed = bool(step.claim) and label in (step.claim, claim_label(step.claim))
        adopted = self._adoptable(owner, stored, claimed)
        opened = await read_current(self.view, self.records, stored)
        before = secretdata.decoded(opened.get("data") or {})
        kept = secretdata.kept(before, step.keys, step.renew_on)
        data = await self._completed(kept, step)
        if data == before and not adopted:
            return
        parts = {"data": secretdata.encoded(data)}
        await self._update(owner, stored, _labelled(opened, step.claim), parts, adopted=adopted)

    async def _completed(self, before: Mapping[str, str], step: EnsureSecret) -> dict[str, str]:
        try:
            if not secretdata.slow(before, step.keys):
                return secretdata.completed(before, step.keys, self.generate)
            return await asyncio.to_thread(secretdata.completed, before, step.keys, self.generate)
        except ValueError as exc:
            # somebody edited it meanwhile: its owner observes that, and makes it anew
            raise RetryableError(
                f"cannot complete Secret '{step.name}': {exc}", reason="SecretInvalid"
            ) from exc

    # --- shared ---

    def _key(self, owner: Stored, kind: str, name: str) -> Key:
        return Key(kind, owner.key.namespace if self.models[kind].info.namespaced else "", name)

    def _live(self, key: Key) -> Stored | None:
        stored = self.view.get(key)
        if stored is not None and stored.deleting:
            raise RetryableError(
                f"cannot ensure {key}: the old one is still being deleted",
                reason="ChildDeleting",
                retry_after_s=1.0,
            )
        return stored

    def _new(self, owner: Stored, key: Key) -> dict[str, Any]:
        metadata: dict[str, Any] = {"name": key.name, "ownerReferences": [reference(owner)]}
        if key.namespace:
            metadata["namespace"] = key.namespace
        info = self.models[key.kind].info
        return {"apiVersion": info.api_version, "kind": key.kind, "metadata": metadata}

    def _adoptable(
        self, owner: Stored, stored: Stored, claimed: bool, *, step: EnsureChild | None = None
    ) -> bool:
        """False: it is ours. True: it is nobody's, and ours to take. Else raises, and tells how the
        child of such a `step` is handed on."""
        if owner.uid in stored.owner_uids:
            return False
        if not stored.owner_uids and claimed:
            return True
        fixes = ["rename this record"]
        if step is not None and not stored.owner_uids:
            fixes[:0] = self._handing_on(stored, step)
        # what holds data is lost with its record, and there may be no other copy
        if not self.models[stored.key.kind].info.holds_data:
            fixes.append("remove it")
        raise TerminalError(
            f"cannot use {stored.key}: it belongs to {_holder(stored)}; {', or '.join(fixes)}",
            reason="NotOwned",
        )

    def _claims_equal(self, stored: Stored, step: EnsureChild) -> bool:
        """Its spec is the wanted one in every field that makes it the same claim; what a person
        left out of it is the default."""
        if not step.adopt_if_equal:
            return False
        found = self._spec(stored)
        return all(_at(found, path) == _at(step.spec, path) for path in step.adopt_if_equal)

    def _handing_on(self, stored: Stored, step: EnsureChild) -> list[str]:
        """What to set for the step to have it. What it says now is told to nobody: it may be
        another tenant's."""
        found = self._spec(stored)
        wrong = [
            f"its {name} to '{value}'"
            for path in step.adopt_if_equal
            for name, value in _leaves(_at(step.spec, path), f"spec.{path}")
            if _at({"spec": found}, name) != value
        ]
        return [f"set {' and '.join(wrong)} to hand it on"] if wrong else []

    def _spec(self, stored: Stored) -> Mapping[str, Any]:
        found = parse(self.models[stored.key.kind], stored).model_dump(mode="json", by_alias=True)
        return found.get("spec") or {}

    async def _create(self, key: Key, obj: Mapping[str, Any]) -> None:
        try:
            await self.records.create(key.kind, obj, actor=AGENT, epoch=self.epoch())
        except AlreadyExistsError as exc:
            raise ConflictError(f"cannot create {key}: it was just created") from exc

    async def _update(
        self,
        owner: Stored,
        stored: Stored,
        before: Mapping[str, Any],
        parts: Mapping[str, Any],
        *,
        adopted: bool,
    ) -> None:
        meta = dict(before["metadata"])
        if adopted:
            meta["ownerReferences"] = [reference(owner)]
        obj = {**before, **parts, "metadata": meta}
        if obj == before:
            return
        await self.records.update(stored, obj, actor=AGENT, epoch=self.epoch())
        if adopted:
            message = f"adopted {stored.key.kind} '{stored.key.name}' with its content"
            self.recorder.tell(events.happened(owner, "Normal", "Adopted", message))


def claim_label(claim: str) -> str:
    """The claim as the value of a label: itself, or its beginning and its hash."""
    if len(claim) <= MAX_LABEL_CHARS:
        return claim
    return f"{claim[:54].rstrip('-.')}-{hashlib.sha256(claim.encode()).hexdigest()[:8]}"


def _labelled(obj: Mapping[str, Any], claim: str) -> Mapping[str, Any]:
    """The Secret with a label that its edits may have, where an earlier release wrote another."""
    labels = obj["metadata"].get("labels") or {}
    if not claim or labels.get(CLAIM_LABEL) != claim:
        return obj
    return {
        **obj,
        "metadata": {**obj["metadata"], "labels": {**labels, CLAIM_LABEL: claim_label(claim)}},
    }


def reference(owner: Stored) -> dict[str, Any]:
    """The controlling ownerReference to `owner`."""
    return {
        "apiVersion": str(owner.obj.get("apiVersion", "")),
        "kind": owner.key.kind,
        "name": owner.key.name,
        "uid": owner.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def without_owner(obj: Mapping[str, Any], uid: str) -> dict[str, Any]:
    """The object without its ownerReference to `uid`."""
    left = [ref for ref in obj["metadata"].get("ownerReferences") or () if ref["uid"] != uid]
    meta = {key: value for key, value in obj["metadata"].items() if key != "ownerReferences"}
    return {**obj, "metadata": {**meta, "ownerReferences": left} if left else meta}


def _at(spec: Mapping[str, Any] | None, path: str) -> Any:
    value: Any = spec
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Dotted paths of all that is in it, and what they lead to."""
    if not isinstance(value, Mapping):
        yield path, value
        return
    for name, each in value.items():
        yield from _leaves(each, f"{path}.{name}")


def _holder(stored: Stored) -> str:
    refs = stored.meta.get("ownerReferences") or ()
    return ", ".join(f"{ref['kind']} '{ref['name']}'" for ref in refs) or "no record of this claim"
