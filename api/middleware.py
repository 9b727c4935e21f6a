"""What happens around every request: token, bounds, deadline, metrics, and errors as Status.

Nothing a handler raises reaches a client as anything but a Status, and no request outlives its
deadline, except watches and streams, which bound themselves.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge, Histogram

from api import errors
from api.answers import error_response, warning_headers
from api.context import Call, Context, Target
from controlplane.access import ANONYMOUS, User
from controlplane.errors import (
    AlreadyExistsError,
    CompactedError,
    ConflictError,
    ForbiddenError,
    InvalidFieldError,
    NotFoundError,
    RetryableError,
)
from resources.meta import FieldError

log = structlog.get_logger()

_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_BEARER: Final = "bearer "
_IMPERSONATION: Final = ("Impersonate-User", "Impersonate-Group", "Impersonate-Uid")
_NOBODY_ELSE: Final = (
    "impersonation (kubectl --as) is not served here: use a token of whom you want to act as"
)


class Metrics:
    """What the API counts; never labelled by an object's name."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.duration = Histogram(
            "api_request_duration_seconds",
            "Time to answer a request; watches and streams are not measured.",
            ["verb", "resource", "code"],
            registry=registry,
            buckets=_BUCKETS,
        )
        self.inflight = Gauge(
            "api_inflight_requests", "Requests being worked on.", registry=registry
        )
        self.streams = Gauge("api_open_streams", "Watches and streams open.", registry=registry)
        self._durations: dict[tuple[str, str, int], Histogram] = {}

    def took(self, labels: tuple[str, str], status: int, seconds: float) -> None:
        """One request of that verb and resource. The client library would look its series up
        under a lock each time."""
        key = (*labels, status)
        series = self._durations.get(key)
        if series is None:
            series = self._durations[key] = self.duration.labels(*labels, str(status))
        series.observe(seconds)


@dataclass(slots=True)
class Load:
    """How much is going on in this process."""

    requests: int = 0
    streams: set[asyncio.Task[Any]] = field(default_factory=set)


def bearer(request: web.Request) -> str:
    """The bearer token of a request, or nothing."""
    header = request.headers.get("Authorization", "")
    return header[len(_BEARER) :].strip() if header[: len(_BEARER)].lower() == _BEARER else ""


async def authenticate(ctx: Context, request: web.Request, *, public: bool) -> tuple[User, str]:
    """Who calls. Raises StatusError 401 unless the path is public."""
    if public:
        return ANONYMOUS, ""
    token = bearer(request)
    user = await ctx.access.authenticate(token) if token else None
    if user is None:
        raise errors.unauthorized()
    return user, token


def refuse_impersonation(request: web.Request) -> None:
    """Raises StatusError 403 for who wants to be somebody else: to go on with the rights of the
    token would be more than was asked for."""
    if any(name in request.headers for name in _IMPERSONATION):
        raise errors.StatusError(403, "Forbidden", _NOBODY_ELSE)


async def bounded(
    ctx: Context,
    load: Load,
    handle: Callable[[], Awaitable[web.StreamResponse]],
    *,
    streams: bool,
) -> web.StreamResponse:
    """Run a handler within the process's bounds. Raises StatusError 429, or TimeoutError."""
    if streams:
        if len(load.streams) >= ctx.limits.watches:
            raise errors.too_many_requests()
        task = asyncio.current_task()
        assert task is not None
        load.streams.add(task)
        try:
            return await handle()
        finally:
            load.streams.discard(task)
    if load.requests >= ctx.limits.concurrency:
        raise errors.too_many_requests()
    load.requests += 1
    try:
        async with asyncio.timeout(ctx.limits.deadline_s):
            return await handle()
    finally:
        load.requests -= 1


def translate(exc: Exception, call: Call | None) -> errors.StatusError:
    """The Status for whatever a handler raised; what is unexpected is logged, not shown."""
    if isinstance(exc, errors.StatusError):
        return exc
    if isinstance(exc, web.HTTPRequestEntityTooLarge) and call is not None:
        return errors.too_large(call.ctx.limits.body_bytes)
    if isinstance(exc, web.RequestPayloadError):
        return errors.bad_request("the body cannot be read: it is not encoded as its headers say")
    if isinstance(exc, CompactedError):
        return errors.expired(str(exc))
    if isinstance(exc, _RECORD_ERRORS) and call is not None and call.resource is not None:
        return _about_record(exc, call.resource)
    if isinstance(exc, RetryableError):
        return errors.unavailable(str(exc), exc.retry_after_s)
    if isinstance(exc, TimeoutError):
        return errors.unavailable("the request took too long; read again to see what was done")
    log.error("api_request_failed", exc_info=exc, path=call.request.path if call else "")
    return errors.internal()


_RECORD_ERRORS: Final = (
    ConflictError,
    AlreadyExistsError,
    NotFoundError,
    ForbiddenError,
    InvalidFieldError,
)


def _about_record(exc: Exception, target: Target) -> errors.StatusError:
    """What the store refused, as Kubernetes says it."""
    info, name = target.served.info, target.name
    match exc:
        case AlreadyExistsError():
            return errors.already_exists(info, name)
        case NotFoundError():
            return errors.not_found(info, name)
        case ForbiddenError():
            return errors.forbidden(info, name, str(exc), [errors.Cause(exc.reason, str(exc))])
        case InvalidFieldError():
            message = f"Forbidden: {exc}"
            return errors.invalid(
                info, name, [FieldError(exc.field, "FieldValueForbidden", message)]
            )
        case _:
            return errors.conflict(info, name)


def finish(
    metrics: Metrics,
    call: Call | None,
    response: web.StreamResponse,
    started: float,
    labels: tuple[str, str],
) -> web.StreamResponse:
    """Warnings and the measurement."""
    if response.prepared:  # a watch or a stream: how long it was open is no time to answer
        return response
    if call is not None:
        for value in warning_headers(call.warnings):
            response.headers.add("Warning", value)
    metrics.took(labels, response.status, time.perf_counter() - started)
    return response


def failed(exc: Exception, call: Call | None) -> web.Response:
    """The answer to a request whose handler raised."""
    return error_response(translate(exc, call))
