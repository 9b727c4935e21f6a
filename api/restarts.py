"""The one write of what is shown: `kubectl rollout restart deployment`, as a change of its record.

kubectl patches the annotation kubectl.kubernetes.io/restartedAt into the template of the
Deployment's Pods
(https://github.com/kubernetes/kubectl/blob/master/pkg/polymorphichelpers/objectrestarter.go).
Here that becomes spec.restartedAt of the record behind it, and all else follows as from any edit:
generation, owner of the field, replicas exchanged one by one. Nothing else can be patched.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final

import orjson
from aiohttp import web

from api import derived, errors
from api.answers import answer_stored
from api.body import media_type, parse_json, read
from api.builtin import DEPLOYMENT, RESTART_PATCHES
from api.context import Call, Context, Target
from api.options import write_options
from api.records import authorize, change, current
from api.served import Served
from api.slow import in_turns
from api.writing import Base, Draft, draft_update
from controlplane.records import Stored
from resources.meta import RESTARTED_AT, FieldError
from resources.text import moment

_PATH: Final = ("spec", "template", "metadata", "annotations", RESTARTED_AT)
_FIELD: Final = f"spec.template.metadata.annotations[{RESTARTED_AT}]"
_MAX_SHOWN_CHARS: Final = 64
"""Of a field's name that a client made up, in an error message."""


async def restart(call: Call, ctx: Context, instead: str) -> web.StreamResponse:
    """Have the record behind a Deployment restarted, and answer the Deployment.

    `call` names the Deployment, reads Deployments, and was allowed to patch this one; who may not
    patch the record behind it may not restart it either. `ctx` is where records are, `instead` says
    what to change for anything else. Raises StatusError 400, 403, 404, 409, 415, 422.
    """
    if media_type(call) not in RESTART_PATCHES:
        told = f"a restart alone can be asked for, as {' or '.join(RESTART_PATCHES)}: {instead}"
        raise errors.StatusError(415, "UnsupportedMediaType", told)
    options = write_options(call)
    raw = await read(call)
    when = _when(call, await in_turns(len(raw), partial(parse_json, raw)), instead)
    deployment, readable = call.target, call.ctx
    served = _owner(ctx, await current(call))
    call.ctx = ctx
    call.resource = Target(served, "patch", deployment.namespace, deployment.name)
    authorize(call)

    def make(base: Base, _wire: Mapping[str, Any]) -> tuple[Draft, bool]:
        spec = {**(base.obj.get("spec") or {}), "restartedAt": when}
        return draft_update(call, served, base, {**base.obj, "spec": spec}, options), False

    _, after = await change(call, options, make)
    call.ctx, call.resource = readable, deployment
    shown = derived.derive(after, DEPLOYMENT.kind, derived.deployment)
    if shown is None:
        raise errors.not_found(DEPLOYMENT, deployment.name)
    return await answer_stored(call, shown)


def _owner(ctx: Context, deployment: Stored) -> Served:
    """The kind of the record that is shown as this Deployment."""
    (owner,) = orjson.loads(deployment.body)["metadata"]["ownerReferences"]
    served = ctx.kinds.kind(owner["kind"])
    if served is None:
        raise errors.not_found(DEPLOYMENT, deployment.key.name)
    return served


def _when(call: Call, body: Any, instead: str) -> str:
    """The time that a patch sets, and sets alone. Raises StatusError 422 naming what else it
    would change, or what is wrong with the time."""
    wrong = [
        FieldError(field, "FieldValueForbidden", f"Forbidden: {instead}") for field in _others(body)
    ]
    value = body
    for name in _PATH:
        value = value.get(name) if isinstance(value, Mapping) else None
    if not wrong:
        try:
            return moment(value if isinstance(value, str) else "")
        except ValueError as exc:
            wrong.append(FieldError(_FIELD, "FieldValueInvalid", f"Invalid value: {exc}"))
    raise errors.invalid(DEPLOYMENT, call.target.name, wrong)


def _others(body: Any) -> Iterator[str]:
    """Paths of what a patch changes besides, null and directives included."""
    here, path = body, ""
    for name in _PATH:
        if not isinstance(here, Mapping):
            return
        for other in here:
            if other != name:
                yield f"{path}{other[:_MAX_SHOWN_CHARS]}"
        here, path = here.get(name), f"{path}{name}."
