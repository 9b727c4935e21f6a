"""Who went into a container, told as an Event of the record it belongs to.

Written before anything passes: what can't be told isn't done. The change log keeps it as long as
any write, with the actor's name; `kubectl describe` shows it for an hour. A command's arguments
are counted and not told: people put passwords there.
"""

from typing import Any, Final

import orjson

from api.context import Call
from api.options import Actor
from controlplane import events
from controlplane.clock import rfc3339
from controlplane.errors import AlreadyExistsError, ConflictError, NotFoundError
from controlplane.events import Happening
from controlplane.records import Key, Stored

COMPONENT: Final = "bunker-api"
_ATTEMPTS: Final = 3


async def tell(call: Call, pod: Stored, reason: str, what: str) -> None:
    """`what` as in "ran 'sh'". Raises StoreUnavailableError."""
    happening = _happening(call, pod, reason, what)
    now = rfc3339(call.ctx.clock.now())
    actor = Actor(call.user.name, COMPONENT)
    key = Key(events.KIND, happening.event_namespace, happening.event_name)
    for _ in range(_ATTEMPTS):
        stored = call.ctx.view.get(key)
        try:
            if stored is None:
                obj = events.body(happening, count=1, first=now, last=now)
                obj |= {"source": {"component": COMPONENT}, "reportingComponent": COMPONENT}
                await call.ctx.records.create(events.KIND, obj, actor=actor)
            else:
                counted = events.counted(orjson.loads(stored.body), more=1, last=now)
                await call.ctx.records.update(stored, counted, actor=actor)
        except (AlreadyExistsError, ConflictError, NotFoundError):
            continue  # told by another at the same moment
        return


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
