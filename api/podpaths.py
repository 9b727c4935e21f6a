"""What logs, commands, attachments and forwarded ports share: which Pod, and may they.

Each is a right of its own: `get pods/log`, `create pods/exec`, `create pods/attach`,
`create pods/portforward`.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import orjson

from api import errors
from api.builtin import POD
from api.context import Call, Target
from api.facade import BY_KIND, pods_of
from api.records import authorize
from controlplane.errors import ForbiddenError, NotFoundError, RetryableError
from controlplane.records import Key, Stored
from controlplane.streams import PodRef, Stream

Opening = Callable[[PodRef, str], Awaitable[Stream]]
_AWAY: Final = "the agent, which reaches containers, is away; try again"


def pod_path(subresource: str) -> str:
    """The path of a Pod's subresource."""
    return f"/api/v1/namespaces/{{namespace}}/pods/{{name}}/{subresource}"


def authorized(call: Call, verb: str, subresource: str) -> Stored:
    """The Pod that a call names. Raises StatusError 403, 404, 503."""
    namespace, name = call.params["namespace"], call.params["name"]
    call.resource = Target(BY_KIND[POD.kind], verb, namespace, name, subresource)
    authorize(call)
    if call.ctx.streams is None:
        raise errors.unavailable(_AWAY, 5)
    stored = pods_of(call.ctx).view.get(Key(POD.kind, namespace, name))
    if stored is None:
        raise errors.not_found(POD, name)
    return stored


def container_of(call: Call, pod: Stored) -> str:
    """The one container of a Pod, under its name or none. Raises StatusError 400."""
    obj: dict[str, Any] = orjson.loads(pod.body)
    only: str = obj["spec"]["containers"][0]["name"]
    asked = call.query.get("container", "")
    if asked not in ("", only):
        raise errors.bad_request(
            f"container {asked[:64]} is not valid for pod {pod.key.name}: it has only {only}"
        )
    return only


def ref_of(pod: Stored) -> PodRef:
    return PodRef(pod.key.namespace, pod.key.name, pod.uid)


async def open_pod(call: Call, verb: str, subresource: str, opening: Opening) -> Stream:
    """A way into the Pod that a call names. Raises StatusError."""
    pod = authorized(call, verb, subresource)
    return await opened(pod, opening(ref_of(pod), container_of(call, pod)))


async def opened(pod: Stored, opening: Awaitable[Stream]) -> Stream:
    """Await it; its errors as clients read them."""
    try:
        return await opening
    except NotFoundError as exc:
        raise errors.bad_request(str(exc)) from exc
    except ForbiddenError as exc:
        raise errors.conflict(POD, pod.key.name, str(exc)) from exc
    except RetryableError as exc:
        raise errors.unavailable(str(exc), exc.retry_after_s) from exc
