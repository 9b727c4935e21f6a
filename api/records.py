"""The verbs of one record: get, create, update, and what they share with patches and deletes."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from aiohttp import web

from api import errors
from api.answers import answer_stored, check_answerable
from api.body import read_object
from api.context import Call
from api.options import WriteOptions, write_options
from api.reading import opened
from api.routes import Handler
from api.slow import judged_in_turns
from api.writing import Base, Draft, base_of, draft_create, draft_update
from controlplane.access import Attempt, allowed
from controlplane.errors import AlreadyExistsError, ConflictError, NotFoundError
from controlplane.records import Key, Stored

ATTEMPTS: Final = 5
"""Tries of a write whose client gave no resourceVersion, before a lost race is its own."""


def authorize(call: Call) -> None:
    """Raises StatusError 403 unless the caller may do this."""
    target = call.target
    info = target.served.info
    attempt = Attempt(
        verb=target.verb,
        group=info.group,
        resource=info.plural,
        subresource=target.subresource,
        namespace=target.namespace or "",
        name=target.name,
    )
    if allowed(call.user, attempt):
        return
    where = f' in the namespace "{target.namespace}"' if target.namespace else ""
    scope = where or " at the cluster scope"
    resource = f"{info.plural}/{target.subresource}" if target.subresource else info.plural
    raise errors.forbidden(
        info,
        target.name,
        f'User "{call.user.name}" cannot {target.verb} resource "{resource}" '
        f'in API group "{info.group}"{scope}',
    )


def key_of(call: Call) -> Key:
    """The key of the record this call names."""
    target = call.target
    return Key(target.served.info.kind, target.namespace or "", target.name)


async def await_version(call: Call, *, default_fresh: bool = True) -> None:
    """Have the cache as new as the client asked: unset is the store's newest, 0 is whatever
    there is, N is at least N. Raises StatusError 400, 504."""
    wanted = call.query.get("resourceVersion", "")
    if wanted == "":
        if default_fresh:
            await call.ctx.records.catch_up(call.ctx.limits.catch_up_s)
        return
    revision = parse_version(wanted)
    if revision > call.ctx.view.revision:
        await call.ctx.records.catch_up(call.ctx.limits.catch_up_s)
    if revision > call.ctx.view.revision:
        raise errors.too_large_resource_version(revision, call.ctx.view.revision)


def parse_version(text: str) -> int:
    """A resourceVersion of ours. Raises StatusError 400."""
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise errors.bad_request(f"invalid resource version {text[:32]!r}: it must be a number")
    return int(text)


async def current(call: Call) -> Stored:
    """The record as the store has it now. Raises StatusError 404."""
    await call.ctx.records.catch_up(call.ctx.limits.catch_up_s)
    stored = call.ctx.view.get(key_of(call))
    if stored is None:
        raise errors.not_found(call.target.served.info, call.target.name)
    return stored


async def get(call: Call) -> web.StreamResponse:
    """One record as it is."""
    await await_version(call)
    stored = call.ctx.view.get(key_of(call))
    if stored is None:
        raise errors.not_found(call.target.served.info, call.target.name)
    return await answer_stored(call, stored)


async def create(call: Call) -> web.StreamResponse:
    """A new record."""
    options = write_options(call)
    sent = await read_object(call)
    if isinstance(meta := sent.get("metadata"), dict) and meta.get("ownerReferences"):
        # an owner made by another process a moment ago counts
        await call.ctx.records.catch_up(call.ctx.limits.catch_up_s)
    served = call.target.served
    make = partial(draft_create, call, served, sent, options)
    draft = await judged_in_turns(served, call.body_bytes, make)
    return await store_new(call, draft, options)


async def store_new(call: Call, draft: Draft, options: WriteOptions) -> web.StreamResponse:
    """Store a new record and answer 201."""
    check_answerable(call)
    served = call.target.served
    try:
        stored = await call.ctx.records.create(
            served.info.kind,
            draft.obj,
            actor=options.actor,
            managed_fields=draft.managed_fields,
            dry_run=options.dry_run,
        )
    except AlreadyExistsError as exc:
        raise errors.already_exists(served.info, draft.obj["metadata"].get("name", "")) from exc
    except NotFoundError as exc:
        raise _no_namespace(call) from exc
    # of a dry run, revision 0: clients tell "would be created" by the absence of a version
    return await answer_stored(call, stored, status=201)


def _no_namespace(call: Call) -> errors.StatusError:
    name = call.target.namespace or ""
    return errors.StatusError(
        404,
        "NotFound",
        f'namespaces "{name}" not found',
        details={"name": name, "kind": "namespaces"},
    )


Change = Callable[[Base, Mapping[str, Any]], tuple[Draft, bool]]
"""From what is stored (and its wire form) to what shall be, and whether the client gave a
version: only then is a lost race the client's."""


async def change(call: Call, options: WriteOptions, make: Change) -> tuple[Stored, Stored]:
    """Read, change, store; again when another write came between. Returns before and after.

    Raises StatusError 404, 409 and whatever `make` raises.
    """
    async with call.ctx.turns.take(key_of(call)):
        return await _change(call, options, make)


async def _change(call: Call, options: WriteOptions, make: Change) -> tuple[Stored, Stored]:
    check_answerable(call)
    info = call.target.served.info
    for _ in range(ATTEMPTS):
        before = await current(call)
        wire = await opened(call.ctx, before)
        size = max(call.body_bytes, len(before.body) + len(before.managed_fields))
        base = base_of(wire, before.managed_fields)
        draft, versioned = await judged_in_turns(
            call.target.served, size, partial(make, base, wire)
        )
        try:
            after = await call.ctx.records.update(
                before,
                draft.obj,
                actor=options.actor,
                subresource=call.target.subresource,
                managed_fields=draft.managed_fields,
                dry_run=options.dry_run,
            )
        except (ConflictError, NotFoundError) as exc:
            if versioned:
                raise errors.conflict(info, call.target.name) from exc
            continue
        return before, after
    raise errors.conflict(info, call.target.name)


def check_preconditions(call: Call, sent: Mapping[str, Any], wire: Mapping[str, Any]) -> bool:
    """Version and uid that the client expects, if it gave them; True if it gave a version.
    Raises StatusError 409."""
    info, name = call.target.served.info, call.target.name
    meta, live = sent.get("metadata") or {}, wire["metadata"]
    uid, version = meta.get("uid"), meta.get("resourceVersion")
    if uid and uid != live["uid"]:
        raise errors.conflict(
            info,
            name,
            f"Precondition failed: UID in precondition: {uid}, UID in object meta: {live['uid']}",
        )
    if version and version != live["resourceVersion"]:
        raise errors.conflict(info, name)
    return bool(version)


async def update(call: Call) -> web.StreamResponse:
    """Replace a record, or its status alone."""
    options = write_options(call)
    sent = await read_object(call)
    served = call.target.served

    def make(base: Base, wire: Mapping[str, Any]) -> tuple[Draft, bool]:
        meta = sent.get("metadata")
        if not isinstance(meta, dict) or not meta.get("name"):
            raise errors.bad_request(
                f"the name of the object ({call.target.name} based on URL) was undeterminable: "
                "name must be provided"
            )
        versioned = check_preconditions(call, sent, wire)
        return draft_update(call, served, base, dict(sent), options), versioned

    _, after = await change(call, options, make)
    return await answer_stored(call, after)


HANDLERS: Final[dict[tuple[str, str], Handler]] = {
    ("get", ""): get,
    ("get", "status"): get,
    ("create", ""): create,
    ("update", ""): update,
    ("update", "status"): update,
    ("update", "finalize"): update,
}
