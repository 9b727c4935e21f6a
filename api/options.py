"""What a write may be asked for by query: dry run, field manager, validation of unknown fields."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from api import errors
from api.context import Call
from api.validation import Reason
from resources.meta import FieldError

FieldValidation = Literal["Strict", "Warn", "Ignore"]

_MAX_MANAGER_CHARS: Final = 128
_MAX_SHOWN_CHARS: Final = 64
"""Of a refused value, in an error message."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who writes: the authenticated name and the field manager."""

    name: str
    manager: str


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """One write's options."""

    actor: Actor
    dry_run: bool = False
    field_validation: FieldValidation = "Warn"
    force: bool = False
    """Take over fields that others own (server-side apply)."""


_KINDS: Final = {"POST": "CreateOptions", "PUT": "UpdateOptions", "DELETE": "DeleteOptions"}
"""What Kubernetes calls the options of a write; those of a PATCH are PatchOptions."""


def write_options(call: Call, *, apply: bool = False) -> WriteOptions:
    """Read them. Raises StatusError 422 naming the parameter, the value and the fix."""
    if not apply and not call.request.query_string:
        return WriteOptions(Actor(call.user.name, _agent(call)))  # as most writes ask for nothing
    if "force" in call.query and call.request.method == "PATCH" and not apply:
        told = "Forbidden: may not be specified for non-apply patch"
        raise refused(call, "force", "FieldValueForbidden", told)
    return WriteOptions(
        actor=Actor(call.user.name, _manager(call, required=apply)),
        dry_run=dry_run(call, call.request.query.getall("dryRun", [])),
        field_validation=_field_validation(call, call.query.get("fieldValidation", "")),
        force=call.flag("force"),
    )


def refused(call: Call, field: str, reason: Reason, message: str) -> errors.StatusError:
    """422 about an option of this write."""
    kind = _KINDS.get(call.request.method, "PatchOptions")
    return errors.invalid_options(kind, FieldError(field, reason, message))


def not_supported(call: Call, field: str, value: object, *supported: str) -> errors.StatusError:
    """422 naming what may be written instead."""
    told = ", ".join(f'"{one}"' for one in supported)
    shown = str(value)[:_MAX_SHOWN_CHARS]
    message = f'Unsupported value: "{shown}": supported values: {told}'
    return refused(call, field, "FieldValueNotSupported", message)


def dry_run(call: Call, values: Iterable[object]) -> bool:
    """Whether `All` was asked for; an empty value asks for something else, too, so that nobody
    writes what was meant to be tried. Raises StatusError 422."""
    given = list(values)
    for value in given:
        if value != "All":
            raise not_supported(call, "dryRun", value, "All")
    return bool(given)


def _field_validation(call: Call, value: str) -> FieldValidation:
    match value:
        case "Strict" | "Warn" | "Ignore":
            return value
        case "":
            return "Warn"
        case _:
            raise not_supported(call, "fieldValidation", value, "", "Ignore", "Strict", "Warn")


def _manager(call: Call, *, required: bool) -> str:
    """`fieldManager`, else the User-Agent up to its first slash."""
    given = call.query.get("fieldManager", "")
    if given:
        if len(given) > _MAX_MANAGER_CHARS:
            told = f"Too long: may not be more than {_MAX_MANAGER_CHARS} bytes"
            raise refused(call, "fieldManager", "FieldValueTooLong", told)
        if not given.isprintable():
            told = "Invalid value: should only contain printable characters"
            raise refused(call, "fieldManager", "FieldValueInvalid", told)
        return given
    if required:
        told = "Required value: is required for apply patch"
        raise refused(call, "fieldManager", "FieldValueRequired", told)
    return _agent(call)


def _agent(call: Call) -> str:
    """The User-Agent up to its first slash."""
    agent = call.request.headers.get("User-Agent", "").partition("/")[0]
    if not agent.isprintable():
        agent = "".join(char for char in agent if char.isprintable())
    return agent[:_MAX_MANAGER_CHARS] or "unknown"
