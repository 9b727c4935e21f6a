"""PATCH in its four forms, on a record, its status, or (not apply) its scale."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from aiohttp import web

from api import errors
from api.answers import answer_stored
from api.applies import apply
from api.body import media_type, parse_json, read
from api.context import Call
from api.options import WriteOptions, write_options
from api.patch import APPLY, JSON_PATCH, MERGE_PATCH, STRATEGIC, PatchError, json_patch, merge_patch
from api.records import change, check_preconditions
from api.routes import Handler
from api.slow import in_turns
from api.strategic import strategic_merge
from api.writing import Base, Draft, draft_update
from resources.meta import FieldError

Patch = Callable[[Mapping[str, Any]], dict[str, Any]]
"""From a wire object to the patched one."""


def accepted(call: Call) -> tuple[str, ...]:
    """Patch types of this resource. Strategic merge needs Go types that kubectl has for the core
    kinds only; on others it must be refused, so that clients fall back to a merge patch."""
    target = call.target
    kinds = [JSON_PATCH, MERGE_PATCH]
    if not target.served.info.group:
        kinds.append(STRATEGIC)
    if target.subresource != "scale":
        kinds.append(APPLY)
    return tuple(kinds)


async def read_patch(call: Call) -> Patch:
    """The body as a function. Raises StatusError 400, 415."""
    kind = media_type(call)
    if kind not in accepted(call):
        raise errors.unsupported_media_type(accepted(call))
    raw = await read(call)
    body = await in_turns(len(raw), partial(parse_json, raw))
    if kind == JSON_PATCH:
        return lambda wire: _json_patched(call, wire, body)
    if not isinstance(body, dict):
        raise errors.bad_request("a merge patch is an object")
    if kind == STRATEGIC:
        topology = call.target.served.topology
        return lambda wire: strategic_merge(wire, body, topology)
    return lambda wire: _merged(wire, body)


def _merged(wire: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = merge_patch(wire, body)
    return out


def _json_patched(call: Call, wire: Mapping[str, Any], body: Any) -> dict[str, Any]:
    info, name = call.target.served.info, call.target.name
    try:
        out = json_patch(wire, body)
    except PatchError as exc:
        wrong = FieldError("patch", "FieldValueInvalid", f"Invalid value: {exc}")
        raise errors.invalid(info, name, [wrong]) from exc
    if not isinstance(out, dict) or not isinstance(out.get("metadata"), dict):
        raise errors.invalid(
            info,
            name,
            [FieldError("patch", "FieldValueInvalid", "Invalid value: the result is no object")],
        )
    return out


async def patch(call: Call) -> web.StreamResponse:
    """Patch a record, or its status."""
    if media_type(call) == APPLY:
        return await apply(call)
    options = write_options(call)
    patched = await read_patch(call)
    _, after = await change(call, options, _change(call, options, patched))
    return await answer_stored(call, after)


def _change(
    call: Call, options: WriteOptions, patched: Patch
) -> Callable[[Base, Mapping[str, Any]], tuple[Draft, bool]]:
    served = call.target.served

    def make(base: Base, wire: Mapping[str, Any]) -> tuple[Draft, bool]:
        sent = patched(wire)
        if not isinstance(sent.get("metadata"), dict):
            raise errors.bad_request("metadata must be an object")
        check_preconditions(call, sent, wire)
        # a version named in the patch was just compared with the newest: if that one is
        # overtaken, patching again finds it out by itself
        return draft_update(call, served, base, sent, options), False

    return make


HANDLERS: Final[dict[tuple[str, str], Handler]] = {("patch", ""): patch, ("patch", "status"): patch}
