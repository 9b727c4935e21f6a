"""Who went into a container, told as an Event of the record it belongs to.

Written before anything passes: what can't be told isn't done. The change log keeps it as long as
any write, with the actor's name; `kubectl describe` shows it for an hour. A command's arguments
are counted and not told: people put passwords there.
"""

from typing import Any, Final

import orjson

from api.context import Call
from api.options import Actor
from api.records import ATTEMPTS
from controlplane import events
from controlplane.clock import rfc3339
from controlplane.errors import (
    AlreadyExistsError,
    ConflictError,
    NotFoundError,
    RetryableError,
)
from controlplane.events import Happening
from controlplane.records import Key, Stored

COMPONENT: Final = "bunker-api"


async def tell(call: Call, pod: Stored, reason: str, what: str) -> None:
    """`what` as in "ran 'sh'". Raises ControlPlaneError; RetryableError also where the Event can't
    be written for other reasons than the store's."""
    happening = _happening(call, pod, reason, what)
    key = Key(events.KIND, happening.event_namespace, happening.event_name)
    async with call.ctx.turns.take(key):
        for _ in range(ATTEMPTS):
            await call.ctx.records.catch_up(call.ctx.limits.catch_up_s)
            try:
                await _count(call, key, happening)
            except (AlreadyExistsError, ConflictError, NotFoundError):
                continue  # another process told it, or it went, at the same moment
            return
    raise RetryableError("cannot write the Event that tells who goes in", retry_after_s=1)


async def _count(call: Call, key: Key, happening: Happening) -> None:
    """The first of its kind, or one more."""
    now = rfc3339(call.ctx.clock.now())
    actor = Actor(call.user.name, COMPONENT)
    stored = call.ctx.view.get(key)
    if stored is None:
        obj = events.body(happening, count=1, first=now, last=now, component=COMPONENT)
        await call.ctx.records.create(events.KIND, obj, actor=actor)
    else:
        had = orjson.loads(stored.body)
        counted = events.counted(happening, had, more=1, last=now, component=COMPONENT)
        await call.ctx.records.update(stored, counted, actor=actor)


def _happening(call: Call, pod: Stored, reason: str, what: str) -> Happening:
    meta: dict[str, Any] = orjson.loads(pod.body)["metadata"]
    (owner,) = meta["ownerReferences"]
    return Happening(
        kind=owner["kind"],
        api_version=owner["apiVersion"],
        namespace=pod.key.namespace,
        name=owner["name"],
        uid=owner["uid"],
        severity="Normal",
        reason=reason,
        message=f"{call.user.name} {what} in Pod {pod.key.name}",
    )
