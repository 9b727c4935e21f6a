"""The scale subresource: autoscaling/v1 Scale of kinds with spec.replicas and status.replicas."""

from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from api import errors
from api.answers import json_response
from api.body import read_object
from api.context import Call
from api.options import WriteOptions, write_options
from api.patching import Patch, read_patch
from api.records import change, check_preconditions, current
from api.routes import Handler
from api.writing import Base, Draft, draft_update
from resources.meta import FieldError

API_VERSION: Final = "autoscaling/v1"


def scale_of(wire: Mapping[str, Any]) -> dict[str, Any]:
    """A record's Scale. Pure."""
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    meta = wire["metadata"]
    spec, status = wire.get("spec") or {}, wire.get("status") or {}
    return {
        "kind": "Scale",
        "apiVersion": API_VERSION,
        "metadata": {name: meta[name] for name in kept if name in meta},
        "spec": {"replicas": spec.get("replicas", 1)},
        "status": {
            "replicas": status.get("replicas", 0),
            "selector": f"bunker.cloud/name={meta['name']}",
        },
    }


def _replicas(call: Call, sent: Mapping[str, Any]) -> int:
    """Raises StatusError 400 or 422."""
    spec = sent.get("spec")
    value = spec.get("replicas", 0) if isinstance(spec, Mapping) else None
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        wrong = FieldError(
            "spec.replicas", "FieldValueInvalid", "Invalid value: write a whole number, 0 or more"
        )
        raise errors.invalid(call.target.served.info, call.target.name, [wrong])
    return value


def _check_name(call: Call, sent: Mapping[str, Any]) -> None:
    """Raises StatusError 400 for a Scale of another record."""
    target, meta = call.target, sent.get("metadata") or {}
    for field, want in (("name", target.name), ("namespace", target.namespace)):
        if meta.get(field) not in (None, "", want):
            raise errors.bad_request(
                f"the {field} of the Scale ({str(meta[field])[:64]}) does not match the {field} "
                f"on the URL ({want})"
            )


async def get(call: Call) -> web.StreamResponse:
    """The Scale of a record; indented, since `kubectl get --raw` is how people look at one."""
    wire = await call.ctx.records.read(await current(call))
    return json_response(scale_of(wire), indent=True)


async def update(call: Call) -> web.StreamResponse:
    """Set spec.replicas by a whole Scale."""
    sent = await read_object(call)
    for field, want in (("kind", "Scale"), ("apiVersion", API_VERSION)):
        if sent.get(field, want) != want:
            raise errors.bad_request(f"{field} must be {want}, not {str(sent[field])[:64]}")
    return await _scale(call, write_options(call), lambda scale: {**scale, **sent})


async def patch(call: Call) -> web.StreamResponse:
    """Set spec.replicas by a patch of the Scale."""
    return await _scale(call, write_options(call), await read_patch(call))


async def _scale(call: Call, options: WriteOptions, patched: Patch) -> web.StreamResponse:
    def make(base: Base, wire: Mapping[str, Any]) -> tuple[Draft, bool]:
        sent = patched(scale_of(wire))
        if not isinstance(sent.get("metadata", {}), dict):
            raise errors.bad_request("metadata must be an object")
        _check_name(call, sent)
        check_preconditions(call, sent, wire)
        spec = {**(base.obj.get("spec") or {}), "replicas": _replicas(call, sent)}
        return draft_update(
            call, call.target.served, base, {**base.obj, "spec": spec}, options
        ), False

    _, after = await change(call, options, make)
    return json_response(scale_of(await call.ctx.records.read(after)))


HANDLERS: Final[dict[tuple[str, str], Handler]] = {
    ("get", "scale"): get,
    ("update", "scale"): update,
    ("patch", "scale"): patch,
}
