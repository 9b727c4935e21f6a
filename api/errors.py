"""Every error this API answers, as a metav1.Status: one exception type and its spellings.

Clients decide by `reason` and `code`, people read `message`, kubectl prints `details.causes`.
`details` is always there: kubectl crashes on a 404 without it. No secret value and no internal
text ever gets in here; what is unexpected is answered by `internal()` alone.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from resources.meta import FieldError, KindInfo


@dataclass(frozen=True, slots=True)
class Cause:
    """One of the reasons for a refusal, as kubectl lists them."""

    reason: str
    message: str
    field: str = ""

    def wire(self) -> dict[str, str]:
        cause = {"reason": self.reason, "message": self.message}
        return {**cause, "field": self.field} if self.field else cause


class StatusError(Exception):
    """An answer that is a failure Status."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        details: Mapping[str, Any] | None = None,
        causes: Iterable[Cause] = (),
        retry_after_s: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details: dict[str, Any] = dict(details or {})
        found = [cause.wire() for cause in causes]
        if found:
            self.details["causes"] = found
        self.headers = dict(headers or {})
        if retry_after_s is not None:
            self.details["retryAfterSeconds"] = retry_after_s
            self.headers["Retry-After"] = str(retry_after_s)

    def wire(self) -> dict[str, Any]:
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "details": self.details,
            "code": self.code,
        }


def success(details: Mapping[str, Any]) -> dict[str, Any]:
    """The Status that answers a finished delete."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": dict(details),
    }


def resource_name(info: KindInfo) -> str:
    """`databases.bunker.cloud`, or `secrets` for the core group."""
    return f"{info.plural}.{info.group}" if info.group else info.plural


def object_details(info: KindInfo, name: str, uid: str = "") -> dict[str, Any]:
    """`details` of an error about one object."""
    found = {"name": name, "group": info.group, "kind": info.plural, "uid": uid}
    return {key: value for key, value in found.items() if value}


def bad_request(message: str, causes: Iterable[Cause] = ()) -> StatusError:
    return StatusError(400, "BadRequest", message, causes=causes)


def unauthorized() -> StatusError:
    return StatusError(
        401, "Unauthorized", "Unauthorized", headers={"WWW-Authenticate": 'Bearer realm="bunker"'}
    )


def forbidden(info: KindInfo, name: str, why: str, causes: Iterable[Cause] = ()) -> StatusError:
    subject = f'{resource_name(info)} "{name}"' if name else resource_name(info)
    return StatusError(
        403,
        "Forbidden",
        f"{subject} is forbidden: {why}",
        details=object_details(info, name),
        causes=causes,
    )


def not_found(info: KindInfo, name: str) -> StatusError:
    return StatusError(
        404,
        "NotFound",
        f'{resource_name(info)} "{name}" not found',
        details=object_details(info, name),
    )


NO_RESOURCE: Final = "the server could not find the requested resource"


def no_such_path() -> StatusError:
    """The path names no resource: what kubectl shows for an unknown kind."""
    return StatusError(404, "NotFound", NO_RESOURCE)


def method_not_allowed(allowed: Iterable[str] = ()) -> StatusError:
    methods = ", ".join(sorted(allowed))
    return StatusError(
        405,
        "MethodNotAllowed",
        "the server does not allow this method on the requested resource",
        headers={"Allow": methods} if methods else None,
    )


def read_only(
    info: KindInfo, name: str, instead: str, allowed: Iterable[str] = ("GET", "HEAD")
) -> StatusError:
    """405 for what is shown and not stored; `allowed` are the methods that its path does take."""
    subject = f'{resource_name(info)} "{name}"' if name else resource_name(info)
    return StatusError(
        405,
        "MethodNotAllowed",
        f"{subject} cannot be written: {instead}",
        details=object_details(info, name),
        headers={"Allow": ", ".join(allowed)},
    )


def not_acceptable(served: Iterable[str]) -> StatusError:
    return StatusError(
        406,
        "NotAcceptable",
        "only the following media types are accepted: " + ", ".join(served),
    )


def already_exists(info: KindInfo, name: str) -> StatusError:
    return StatusError(
        409,
        "AlreadyExists",
        f'{resource_name(info)} "{name}" already exists',
        details=object_details(info, name),
    )


MODIFIED: Final = (
    "the object has been modified; please apply your changes to the latest version and try again"
)


def conflict(info: KindInfo, name: str, why: str = MODIFIED) -> StatusError:
    return StatusError(
        409,
        "Conflict",
        f'Operation cannot be fulfilled on {resource_name(info)} "{name}": {why}',
        details=object_details(info, name),
    )


def expired(message: str) -> StatusError:
    return StatusError(410, "Expired", message)


def too_much(message: str) -> StatusError:
    return StatusError(413, "RequestEntityTooLarge", message)


def too_large(limit_bytes: int) -> StatusError:
    return too_much(f"the body is larger than {limit_bytes} bytes; split it into smaller objects")


def record_too_large(limit_bytes: int) -> StatusError:
    return too_much(
        f"the record would be larger than {limit_bytes} bytes with its metadata.managedFields; "
        "split it into smaller objects, or apply it as fewer managers"
    )


def unsupported_media_type(accepted: Iterable[str], given: str = "") -> StatusError:
    return StatusError(
        415,
        "UnsupportedMediaType",
        "the body of the request was in an unknown format - accepted media types include: "
        + ", ".join(accepted),
        causes=[Cause("UnsupportedMediaType", f"got {given}")] if given else (),
    )


MAX_CAUSES: Final = 100
"""Told of one object: each item of a long list can be wrong, in ten times as many words as it
has bytes."""


def invalid(info: KindInfo, name: str, errors: Iterable[FieldError]) -> StatusError:
    """422 with a cause per field; the message lists them, as kubectl prints it."""
    wrong = list(errors)
    found = wrong[:MAX_CAUSES]
    lines = [f"{error.field}: {error.message}" for error in found]
    if len(wrong) > len(found):
        lines.append(f"and {len(wrong) - len(found)} more")
    told = lines[0] if len(lines) == 1 else "[" + ", ".join(lines) + "]"
    details = {"name": name, "group": info.group, "kind": info.kind}
    kind = f"{info.kind}.{info.group}" if info.group else info.kind
    return StatusError(
        422,
        "Invalid",
        f'{kind} "{name}" is invalid: {told}',
        details={key: value for key, value in details.items() if value},
        causes=[Cause(error.reason, error.message, error.field) for error in found],
    )


def invalid_options(kind: str, wrong: FieldError) -> StatusError:
    """422 about what a request was asked with; `kind` is what Kubernetes calls those options."""
    return StatusError(
        422,
        "Invalid",
        f'{kind}.meta.k8s.io "" is invalid: {wrong.field}: {wrong.message}',
        details={"group": "meta.k8s.io", "kind": kind},
        causes=[Cause(wrong.reason, wrong.message, wrong.field)],
    )


def too_many_requests(retry_after_s: int = 1) -> StatusError:
    return StatusError(
        429,
        "TooManyRequests",
        "too many requests at once, please try again later",
        retry_after_s=retry_after_s,
    )


def internal() -> StatusError:
    return StatusError(
        500, "InternalError", "Internal error occurred: see the server's log for this request"
    )


def unavailable(message: str, retry_after_s: float = 1.0) -> StatusError:
    """The store, or something else this request needs, does not answer; nothing was written."""
    return StatusError(
        503, "ServiceUnavailable", message, retry_after_s=max(1, round(retry_after_s))
    )


def too_large_resource_version(wanted: int, current: int) -> StatusError:
    return StatusError(
        504,
        "Timeout",
        f"Too large resource version: {wanted}, current: {current}",
        causes=[Cause("ResourceVersionTooLarge", "Too large resource version")],
        retry_after_s=1,
    )
