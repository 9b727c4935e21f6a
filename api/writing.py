"""From what a client sent to what may be stored: identity, server-owned metadata, pruning,
defaults, validation, immutable fields and ownership.

Every write (create, update, each patch, apply, scale) goes through `draft_create` or
`draft_update`; storing is records.py's. Works on plain JSON; the models judge it.
"""

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any, Final

import orjson

from api import errors, moments
from api.body import canonical
from api.body import check as check_body
from api.context import Call
from api.core import core_conventions
from api.errors import Cause
from api.options import FieldValidation, WriteOptions
from api.owners import check_owners
from api.served import Served
from api.suggest import meant
from api.validation import Pruned, name_error, prune, validate
from controlplane import fields
from controlplane.clock import rfc3339
from resources.meta import FieldError, Record

_SERVER_OWNED: Final = (
    "uid",
    "creationTimestamp",
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
)
_SPLICED: Final = ("resourceVersion", "managedFields", "selfLink")
"""Metadata that is never in a stored body."""


@dataclass(frozen=True, slots=True)
class Draft:
    """An object ready to be stored, with its ownership."""

    obj: dict[str, Any]
    managed_fields: bytes


def check_identity(served: Served, obj: dict[str, Any], namespace: str | None, name: str) -> None:
    """Kind, version, namespace and name must be those of the path; absent ones are filled in.
    Raises StatusError 400."""
    info = served.info
    for field, want in (("apiVersion", info.api_version), ("kind", info.kind)):
        have = obj.setdefault(field, want)
        if have != want:
            raise errors.bad_request(
                f"{field} in the object ({_short(have)}) does not match the expected {field} "
                f"({want}); write {want}, or send it to its own path"
            )
    meta = obj.setdefault("metadata", {})
    if not isinstance(meta, dict):
        raise errors.bad_request("metadata must be an object")
    if namespace is None:
        meta.pop("namespace", None)
    elif meta.setdefault("namespace", namespace) in ("", None):
        meta["namespace"] = namespace
    elif meta["namespace"] != namespace:
        raise errors.bad_request(
            f"the namespace of the provided object ({_short(meta['namespace'])}) does not match "
            f"the namespace sent on the request ({namespace})"
        )
    if name and meta.setdefault("name", name) != name:
        raise errors.bad_request(
            f"the name of the object ({_short(meta['name'])}) does not match the name on the URL "
            f"({name})"
        )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else text[:80] + "…"


def _unknown(served: Served, path: str) -> str:
    near = meant(served.schema, path)
    return f'unknown field "{path}"' + (f' (did you mean "{near}"?)' if near else "")


def report_unknown(call: Call, served: Served, unknown: list[str], how: FieldValidation) -> None:
    """Strict refuses unknown fields with 400, Warn adds Warning headers, Ignore is silent."""
    if not unknown or how == "Ignore":
        return
    told = [_unknown(served, path) for path in unknown[:20]]
    if how == "Warn":
        call.warnings += told
        return
    info = served.info
    raise errors.bad_request(
        f'{info.kind} in version "{info.version}" cannot be handled as a {info.kind}: '
        f"strict decoding error: {', '.join(told)}",
        [Cause("FieldValueInvalid", text, path) for text, path in zip(told, unknown, strict=False)],
    )


@dataclass(frozen=True, slots=True)
class Judged:
    """An object of known fields and the model that accepted it."""

    obj: dict[str, Any]
    model: Record | None
    """None where only what is stored so already is not accepted."""
    cut: frozenset[str]
    """Sections (`spec`, `status`, ...) in which there was a field that nobody knows."""


def judged(
    call: Call,
    served: Served,
    obj: Mapping[str, Any],
    options: WriteOptions,
    base: "Base | None" = None,
) -> Judged:
    """Prune, default and validate. Raises StatusError 400 or 422.

    As Kubernetes ratchets: a write of metadata or status alone is not held to rules that came
    after the rest was stored; else no finalizer could be taken off such a record.
    """
    found = prune(served, obj)
    unknown = found.unknown
    if unknown and base is not None:
        known = {*_pruned(served, base).unknown}
        unknown = [path for path in unknown if path not in known]
    report_unknown(call, served, unknown, options.field_validation)
    model, wrong = validate(served, found.obj, stored=None if base is None else base.obj)
    if wrong and base is not None:
        wrong = _new_wrongs(served, base, found.obj, wrong)
    if wrong:
        meta = found.obj.get("metadata") or {}
        raise errors.invalid(served.info, str(meta.get("name") or ""), wrong)
    return Judged(found.obj, model, frozenset(_section(path) for path in found.unknown))


def _new_wrongs(
    served: Served, base: "Base", obj: Mapping[str, Any], wrong: list[FieldError]
) -> list[FieldError]:
    """Without those about what is stored so already, if all but metadata and status is."""
    before = _pruned(served, base).obj
    changed = {name for name in {*obj, *before} if obj.get(name) != before.get(name)}
    if changed - {"metadata", "status"}:
        return wrong
    judged_anew = {"metadata", *changed}
    return [each for each in wrong if _section(each.field) in judged_anew]


def _section(path: str) -> str:
    return re.split(r"[.[]", path)[0]


def _pruned(served: Served, base: "Base", *, keeps_unknown: bool = False) -> Pruned:
    """What is stored, as a write of it is judged."""
    try:
        return prune(served, base.obj, keeps_unknown=keeps_unknown)
    except errors.StatusError:  # a list longer than may be: then so is that of the write
        return Pruned({}, [])


def draft_create(call: Call, served: Served, sent: dict[str, Any], options: WriteOptions) -> Draft:
    """A new object. Ownership is that of an Update by its creator."""
    prepared = prepare_create(call, served, sent, options)
    managed = fields.after_update(
        b"[]",
        None,
        prepared,
        manager=options.actor.manager,
        api_version=served.info.api_version,
        time=rfc3339(call.ctx.clock.now()),
        topology=served.topology,
    )
    return drafted(call, prepared, managed)


def prepare_create(
    call: Call, served: Served, sent: dict[str, Any], options: WriteOptions
) -> dict[str, Any]:
    """A new object as it may be stored, without ownership."""
    target = call.target
    check_identity(served, sent, target.namespace, target.name)
    meta = sent["metadata"] = dict(sent["metadata"])
    if meta.get("resourceVersion"):
        raise errors.bad_request("resourceVersion should not be set on objects to be created")
    for name in (*_SERVER_OWNED, *_SPLICED):
        meta.pop(name, None)
    if served.info.has_status:
        sent.pop("status", None)
    obj = core_conventions(served, judged(call, served, sent, options).obj)
    _check_name(served, obj["metadata"])
    check_owners(call, served, None, obj["metadata"])
    return obj


def _check_name(served: Served, meta: Mapping[str, Any]) -> None:
    """A name, or a prefix that makes one with five random characters after it."""
    name, prefix = meta.get("name"), meta.get("generateName")
    if name:
        return
    if not prefix:
        why = "Required value: write metadata.name or metadata.generateName"
        raise errors.invalid(
            served.info, "", [FieldError("metadata.name", "FieldValueRequired", why)]
        )
    # Kubernetes cuts a long prefix rather than refuse it
    limit = 63 if served.info.dns_name else 253
    why_not = name_error(served, str(prefix)[: limit - 5] + "xxxxx")
    if why_not is not None:
        wrong = FieldError(
            "metadata.generateName", "FieldValueInvalid", f"Invalid value: {prefix!r}: {why_not}"
        )
        raise errors.invalid(served.info, str(prefix), [wrong])


def drafted(call: Call, obj: dict[str, Any], managed: bytes, base: "Base | None" = None) -> Draft:
    """Held, as a whole, to the limit of a body: patches grow objects, and each manager that
    applies adds to who owns them; clients must be able to send back what they read, but for its
    status.

    Raises StatusError 413, but not for what makes a record smaller.
    """
    limit = call.ctx.limits.body_bytes
    if base is not None and managed == base.managed_fields and obj == base.obj:
        return Draft(obj, managed)
    size = _size(obj, managed)
    if size > limit and (base is None or size > _size(base.obj, base.managed_fields)):
        raise errors.record_too_large(limit)
    return Draft(obj, managed)


def _size(obj: Mapping[str, Any], managed: bytes) -> int:
    """Without the spec that the store keeps from before an edit: it is as large as the record and
    none of the client's, and would leave one that was admitted no second edit."""
    status = obj.get("status")
    allocation = status.get("allocation") if isinstance(status, Mapping) else None
    if isinstance(status, Mapping) and isinstance(allocation, Mapping):
        held = {name: value for name, value in allocation.items() if name != "spec"}
        obj = {**obj, "status": {**status, "allocation": held}}
    return len(canonical(obj)) + len(managed)


@dataclass(frozen=True, slots=True)
class Base:
    """What is stored now, in wire form without what is spliced in."""

    obj: dict[str, Any]
    managed_fields: bytes


def base_of(wire: Mapping[str, Any], managed_fields: bytes) -> Base:
    """From a wire object (as Records.read gives it)."""
    meta = {k: v for k, v in wire["metadata"].items() if k not in _SPLICED}
    return Base({**wire, "metadata": meta}, managed_fields)


def draft_update(
    call: Call, served: Served, base: Base, sent: dict[str, Any], options: WriteOptions
) -> Draft:
    """The object after an update or patch, with ownership moved to whoever changed what."""
    check_body(sent)  # a patch can nest deeper than any body
    managed = client_managed(call, sent, base)
    obj = prepare_update(call, served, base, sent, options)
    managed = fields.after_update(
        managed,
        _as_read_now(served, base, obj),
        obj,
        manager=options.actor.manager,
        api_version=served.info.api_version,
        time=rfc3339(call.ctx.clock.now()),
        subresource=call.target.subresource,
        topology=served.topology,
    )
    return drafted(call, obj, managed, base)


def _as_read_now(served: Served, base: Base, obj: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is stored, with the defaults that came after it where `obj` differs: to have them
    filled in is no change by whoever writes."""
    changed = {name for name in {*obj} - {"metadata"} if obj[name] != base.obj.get(name)}
    # what is not known any more stays in it: that goes with this write, and so do its owners
    now = _pruned(served, base, keeps_unknown=True).obj if changed else {}
    return {**base.obj, **{name: now[name] for name in changed if name in now}}


def client_managed(call: Call, sent: Mapping[str, Any], base: Base) -> bytes:
    """managedFields as the client wants them: clients may rewrite ownership (kubectl does, when
    it moves from client-side to server-side apply), but not through a subresource. None, as an
    empty list and one that can't be read is, keeps what is stored; one empty entry wipes it."""
    given = (sent.get("metadata") or {}).get("managedFields")
    if given is None:
        return base.managed_fields
    if not isinstance(given, list) or not all(isinstance(e, dict) for e in given):
        raise errors.bad_request("metadata.managedFields must be a list of objects")
    if not given or call.target.subresource:
        return base.managed_fields
    if given == [{}]:
        return fields.dump(())
    moments.check_owned(given, orjson.loads(base.managed_fields))
    owners = fields.parse(given)
    owned = fields.ownership(owners)
    if not owned or owned == fields.ownership(fields.parse(base.managed_fields)):
        return base.managed_fields
    return fields.dump(owners)


def prepare_update(
    call: Call, served: Served, base: Base, sent: dict[str, Any], options: WriteOptions
) -> dict[str, Any]:
    """The object after a write, as it may be stored, without ownership.

    The main endpoint leaves status alone, /status leaves everything else alone.
    """
    target = call.target
    check_identity(served, sent, target.namespace, target.name)
    sent = _only_this_endpoint(served, base, sent, target.subresource)
    meta = sent["metadata"] = dict(sent["metadata"])
    for name in _SPLICED:
        meta.pop(name, None)
    for name in _SERVER_OWNED:
        meta.pop(name, None)
        if name in base.obj["metadata"]:
            meta[name] = base.obj["metadata"][name]
    meta.pop("generateName", None)
    if "generateName" in base.obj["metadata"]:
        meta["generateName"] = base.obj["metadata"]["generateName"]
    pruned = judged(call, served, sent, options, base)
    if target.subresource == "status":
        _check_turns(served, base, pruned.obj)
    obj = core_conventions(served, {**pruned.obj, **_untouched(base, sent, pruned.cut)})
    if obj != base.obj:
        _check_changes(served, base, pruned.model, obj)
        check_owners(call, served, base.obj["metadata"], obj["metadata"])
    return obj


def _untouched(base: Base, sent: Mapping[str, Any], cut: Set[str]) -> dict[str, Any]:
    """What is sent just as it is stored. It stays so: filling in a default that came later would
    be an edit of the spec, which has a generation and is admitted, by a label. But for what has a
    field of another release: nobody can read it, and any write mends it."""
    stored, others = base.obj, {*sent} - {"metadata", *cut}
    return {name: stored[name] for name in others if name in stored and stored[name] == sent[name]}


def _check_turns(served: Served, base: Base, obj: Mapping[str, Any]) -> None:
    status, before = obj.get("status") or {}, base.obj.get("status") or {}
    if wrong := moments.wrong_turns(status, before):
        raise errors.invalid(served.info, obj["metadata"]["name"], wrong)


def _only_this_endpoint(
    served: Served, base: Base, sent: dict[str, Any], subresource: str
) -> dict[str, Any]:
    if subresource == "status":
        kept = dict(base.obj)
        before, status = kept.pop("status", None) or {}, sent.get("status")
        trusted = {name: before[name] for name in served.agents_own if name in before}
        if isinstance(status, Mapping):
            others = {name: each for name, each in status.items() if name not in served.agents_own}
            kept["status"] = {**others, **trusted}
        elif trusted or status is not None:
            kept["status"] = trusted or status
        return kept
    if not served.info.has_status:
        return sent
    kept = {name: value for name, value in sent.items() if name != "status"}
    if "status" in base.obj:
        kept["status"] = base.obj["status"]
    return kept


def _check_changes(
    served: Served, base: Base, model: Record | None, obj: Mapping[str, Any]
) -> None:
    """Immutable fields, and no new finalizers on what is being deleted."""
    name = obj["metadata"]["name"]
    before = base.obj["metadata"]
    if before.get("deletionTimestamp"):
        new = set(obj["metadata"].get("finalizers") or ()) - set(before.get("finalizers") or ())
        if new:
            why = f"Forbidden: no new finalizers can be added if the object is being deleted, \
found new finalizers {sorted(new)}"
            raise errors.invalid(
                served.info, name, [FieldError("metadata.finalizers", "FieldValueForbidden", why)]
            )
    if model is None:
        return  # what may be fixed is as it was
    old, _ = validate(served, base.obj, stored=base.obj)
    if old is None:  # perhaps for a field of another release
        old, _ = validate(served, _pruned(served, base).obj, stored=base.obj)
    if old is None:
        return  # stored by an older version: an update is how it gets valid
    wrong = model.check_update(old)
    if wrong:
        raise errors.invalid(served.info, name, wrong)
