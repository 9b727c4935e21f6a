"""The verbs of record paths."""

from typing import Final

from aiohttp import web

from api import errors
from api.answers import answer_object
from api.context import Call
from api.routes import Handler
from controlplane.access import Attempt, allowed
from controlplane.records import Key


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


async def get(call: Call) -> web.StreamResponse:
    """One record as it is."""
    target = call.target
    await call.ctx.records.catch_up(call.ctx.limits.catch_up_s)
    info = target.served.info
    stored = call.ctx.view.get(Key(info.kind, target.namespace or "", target.name))
    if stored is None:
        raise errors.not_found(info, target.name)
    return answer_object(call, await call.ctx.records.read(stored))


HANDLERS: Final[dict[tuple[str, str], Handler]] = {("get", ""): get}
