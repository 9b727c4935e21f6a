"""Server-side apply: the HTTP side of controlplane/applying.py."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from aiohttp import web

from api import errors
from api.answers import answer_stored
from api.body import parse_json, parse_yaml, read
from api.context import Call
from api.core import normalize_data
from api.errors import Cause
from api.options import WriteOptions, write_options
from api.records import change, check_preconditions, key_of, store_new
from api.slow import judged_in_turns
from api.validation import prune
from api.writing import (
    Base,
    Draft,
    check_identity,
    drafted,
    prepare_create,
    prepare_update,
    report_unknown,
)
from controlplane import applying
from controlplane.clock import rfc3339
from resources.meta import FieldError

_MAX_CONFLICTS: Final = 50
"""Conflicts told in one answer."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a manager wants, pruned but not defaulted: it owns only what it wrote."""

    sent: dict[str, Any]
    fields: dict[str, Any]


async def apply(call: Call) -> web.StreamResponse:
    """Apply a configuration; creates the record (201) if there is none."""
    options = write_options(call, apply=True)
    config = await _read(call, options)
    await call.ctx.records.catch_up(call.ctx.limits.catch_up_s)
    if call.ctx.view.get(key_of(call)) is None:
        try:
            return await _create(call, config, options)
        except errors.StatusError as exc:
            if exc.reason != "AlreadyExists":
                raise
            # another one has made it meanwhile: this configuration is merged into that

    def make(base: Base, wire: Mapping[str, Any]) -> tuple[Draft, bool]:
        versioned = check_preconditions(call, config.sent, wire)
        applied = _applied(call, config, options, base)
        obj = prepare_update(call, call.target.served, base, applied.obj, options)
        return drafted(call, obj, applied.managed_fields, base), versioned

    _, after = await change(call, options, make)
    return await answer_stored(call, after)


def _parse(raw: bytes) -> Any:
    """JSON first: most clients send it, and YAML has no surrogate pairs, which is how JSON in
    ASCII writes an emoji. Raises StatusError 400."""
    if raw.lstrip().startswith(b"{"):
        with suppress(errors.StatusError):
            return parse_json(raw)
    return parse_yaml(raw)


async def _read(call: Call, options: WriteOptions) -> Configuration:
    """Raises StatusError 400 or 422."""
    raw = await read(call)
    return await judged_in_turns(
        call.target.served, len(raw), partial(_understood, call, options, raw)
    )


def _understood(call: Call, options: WriteOptions, raw: bytes) -> Configuration:
    body = _parse(raw)
    if not isinstance(body, dict):
        raise errors.bad_request("the configuration to apply must be an object")
    target = call.target
    check_identity(target.served, body, target.namespace, target.name)
    if body["metadata"].get("managedFields"):
        raise errors.bad_request("metadata.managedFields must be nil")
    found = prune(target.served, body, defaults=False)
    report_unknown(call, target.served, found.unknown, options.field_validation)
    wanted = found.obj
    normalize_data(target.served, wanted)
    if target.subresource == "status":
        kept = {"apiVersion", "kind", "metadata", "status"}
        wanted = {name: value for name, value in wanted.items() if name in kept}
        wanted["metadata"] = {"name": target.name}
    elif target.served.info.has_status:
        wanted.pop("status", None)
    wanted["metadata"] = {
        name: value
        for name, value in wanted["metadata"].items()
        if name not in ("uid", "resourceVersion", "managedFields", "creationTimestamp")
    }
    if (twice := applying.repeated(wanted, target.served.topology)) is not None:
        told = "Duplicate value: an item of this list is there twice; write it once"
        wrong = FieldError(applying.dotted(twice).removeprefix("."), "FieldValueDuplicate", told)
        raise errors.invalid(target.served.info, target.name, [wrong])
    return Configuration(body, wanted)


async def _create(call: Call, config: Configuration, options: WriteOptions) -> web.StreamResponse:
    info = call.target.served.info
    if call.target.subresource or config.sent["metadata"].get("uid"):
        raise errors.not_found(info, call.target.name)
    if config.sent["metadata"].get("resourceVersion"):
        # of a record that is gone: who names it doesn't want another one
        raise errors.conflict(info, call.target.name)

    def make() -> Draft:
        applied = _applied(call, config, options, None)
        obj = prepare_create(call, call.target.served, applied.obj, options)
        return drafted(call, obj, applied.managed_fields)

    draft = await judged_in_turns(call.target.served, call.body_bytes, make)
    return await store_new(call, draft, options)


def _applied(
    call: Call, config: Configuration, options: WriteOptions, base: Base | None
) -> applying.Applied:
    """Merge. Raises StatusError 409 naming each conflict and who holds the field."""
    target = call.target
    found = applying.apply(
        None if base is None else base.obj,
        b"[]" if base is None else base.managed_fields,
        config.fields,
        manager=options.actor.manager,
        api_version=target.served.info.api_version,
        time=rfc3339(call.ctx.clock.now()),
        topology=target.served.topology,
        subresource=target.subresource,
        force=options.force,
    )
    if found.conflicts and not options.force:
        raise _conflict(call, found.conflicts)
    return found


def _conflict(call: Call, conflicts: tuple[applying.Conflict, ...]) -> errors.StatusError:
    causes = [
        Cause("FieldManagerConflict", f"conflict with {_who(c)}", c.field)
        for c in conflicts[:_MAX_CONFLICTS]
    ]
    count = len(conflicts)
    told = ", ".join(f"{cause.message}: {cause.field}" for cause in causes)
    return errors.StatusError(
        409,
        "Conflict",
        f"Apply failed with {count} conflict{'s' if count > 1 else ''}: {told}",
        details=errors.object_details(call.target.served.info, call.target.name),
        causes=causes,
    )


def _who(conflict: applying.Conflict) -> str:
    """A manager as Kubernetes prints it."""
    text = f'"{conflict.manager}"'
    if conflict.subresource:
        text += f' with subresource "{conflict.subresource}"'
    if conflict.operation == "Update":
        text += f" using {conflict.api_version}"
        if conflict.time:
            text += f" at {conflict.time}"
    return text
