"""`kubectl logs`: a container's log as plain text, until its end, the client's, or the token's."""

from datetime import datetime
from typing import Final

from aiohttp import web

from api import errors
from api.builtin import POD
from api.context import Call
from api.podpaths import open_pod, pod_path
from api.pulse import Lifeline
from api.routes import Route
from api.sockets import abort, keep_alive
from api.watch import PULSE
from controlplane.streams import Channel, LogQuery, PodRef, Stream

_LASTS_S: Final = 4 * 3600.0
"""As long as a kubelet lets a connection stream (--streaming-connection-idle-timeout)."""
_STREAMS: Final = {"": None, "All": None, "Stdout": Channel.STDOUT, "Stderr": Channel.STDERR}
_SECOND_NS: Final = 1_000_000_000


def _whole(call: Call, name: str, *, least: int = 0) -> int | None:
    text = call.query.get(name, "")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 16) or int(text) < least:
        raise errors.bad_request(f"invalid {name} {text[:32]!r}: write a whole number")
    return int(text)


def _since(call: Call) -> int | None:
    """From when, in Unix nanoseconds. Raises StatusError 400."""
    seconds, moment = _whole(call, "sinceSeconds", least=1), call.query.get("sinceTime", "")
    if seconds is not None and moment:
        raise errors.bad_request("at most one of sinceTime or sinceSeconds may be specified")
    now = call.ctx.clock.now().timestamp()
    if seconds is not None:
        return max(0, int((now - seconds) * _SECOND_NS))
    if not moment:
        return None
    try:
        parsed = datetime.fromisoformat(moment)
    except ValueError:
        parsed = None
    if parsed is None or parsed.tzinfo is None:
        raise errors.bad_request(f"invalid sinceTime {moment[:40]!r}: write RFC 3339")
    return max(0, int(parsed.timestamp() * _SECOND_NS))


def log_query(call: Call) -> LogQuery:
    """What part of the log is asked for. Raises StatusError 400."""
    return LogQuery(
        follow=call.flag("follow"),
        previous=call.flag("previous"),
        tail=_whole(call, "tailLines"),
        since_ns=_since(call),
        timestamps=call.flag("timestamps"),
    )


async def log(call: Call) -> web.StreamResponse:
    """The log of a Pod's container. Raises StatusError before anything is sent."""
    query, limit = log_query(call), _whole(call, "limitBytes", least=1)
    wanted = call.query.get("stream", "")
    if wanted not in _STREAMS:
        raise errors.bad_request(f"invalid stream {wanted[:32]!r}: write All, Stdout or Stderr")

    async def opening(pod: PodRef, _container: str) -> Stream:
        assert call.ctx.streams is not None
        return await call.ctx.streams.open_logs(pod, query)

    stream = await open_pod(call, "get", "log", opening)
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    try:
        await _send(call, stream, response, limit, _STREAMS[wanted])
    except (ConnectionError, TimeoutError):
        abort(call.request)
    finally:
        await stream.aclose()
    return response


async def _send(
    call: Call,
    stream: Stream,
    response: web.StreamResponse,
    limit: int | None,
    only: Channel | None,
) -> None:
    now = call.ctx.clock.monotonic()
    held = Lifeline(call.request, call.token, "pods/log", ends_at=now + _LASTS_S)
    left = limit
    with call.request.app[PULSE].holding(held):
        await response.prepare(call.request)
        keep_alive(call.request)
        while not held.ended and left != 0:
            frame = await held.wait(stream.read())
            if frame is None:
                return
            if only not in (None, frame.channel):
                continue
            data = frame.data if left is None else frame.data[:left]
            left = None if left is None else left - len(data)
            await held.write(response.write(data), within_s=call.ctx.limits.write_s)


ROUTES: Final = (Route("GET", pod_path("log"), log, streams=True, resource=f"{POD.plural}/log"),)
