"""What a list may be asked for. Pure.

The rules are Kubernetes' own (k8s.io/apimachinery/pkg/apis/meta/internalversion/validation).
"""

from typing import Final

from api import errors
from api.context import Call
from resources.meta import FieldError

_MATCH: Final = "resourceVersionMatch"
_MAX_DIGITS: Final = 18
"""Such a number fits 64 bits."""


def check_list_options(call: Call) -> None:
    """Raises StatusError 400 for what can't be read, 422 for what may not be asked."""
    whole_number(call, "timeoutSeconds")
    if "sendInitialEvents" in call.query:
        raise forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list")
    match, version = call.query.get(_MATCH, ""), call.query.get("resourceVersion", "")
    if not match:
        return
    if not version:
        raise forbidden(_MATCH, f"{_MATCH} is forbidden unless resourceVersion is provided")
    if call.query.get("continue"):
        raise forbidden(_MATCH, f"{_MATCH} is forbidden when continue is provided")
    if match not in ("Exact", "NotOlderThan"):
        told = f'Unsupported value: "{match[:64]}": supported values: "Exact", "NotOlderThan"'
        raise errors.invalid_options(
            "ListOptions", FieldError(_MATCH, "FieldValueNotSupported", told)
        )
    if match == "Exact" and version == "0":
        raise forbidden(_MATCH, f'{_MATCH} "Exact" is forbidden for resourceVersion "0"')


def forbidden(field: str, why: str) -> errors.StatusError:
    """422 about an option of a list or watch."""
    wrong = FieldError(field, "FieldValueForbidden", f"Forbidden: {why}")
    return errors.invalid_options("ListOptions", wrong)


def limit_of(call: Call) -> int:
    """How many records a page may have; 0 is all. Raises StatusError 400."""
    return whole_number(call, "limit")


def whole_number(call: Call, name: str) -> int:
    """A query parameter; 0 if there is none. Raises StatusError 400."""
    text = call.query.get(name, "")
    if not text:
        return 0
    if not (text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS):
        raise errors.bad_request(f"invalid {name} {text[:32]!r}: it must be a whole number")
    return int(text)
