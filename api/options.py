"""What a write may be asked for by query: dry run, field manager, validation of unknown fields."""

from dataclasses import dataclass
from typing import Final, Literal

from api import errors
from api.context import Call
from api.errors import Cause

FieldValidation = Literal["Strict", "Warn", "Ignore"]

_MAX_MANAGER_CHARS: Final = 128


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


def write_options(call: Call, *, apply: bool = False) -> WriteOptions:
    """Read them. Raises StatusError 422 naming the parameter, the value and the fix."""
    return WriteOptions(
        actor=Actor(call.user.name, _manager(call, required=apply)),
        dry_run=dry_run(call.request.query.getall("dryRun", [])),
        field_validation=_field_validation(call.query.get("fieldValidation", "")),
        force=call.flag("force"),
    )


def _refused(field: str, message: str) -> errors.StatusError:
    return errors.StatusError(
        422,
        "Invalid",
        f'PatchOptions.meta.k8s.io "" is invalid: {field}: {message}',
        causes=[Cause("FieldValueInvalid", message, field)],
    )


def dry_run(values: object) -> bool:
    """`All` or nothing. Raises StatusError 422."""
    given = [value for value in values if value] if isinstance(values, list) else []
    if any(value != "All" for value in given):
        raise _refused("dryRun", f"Unsupported value: {given!r}: write All or leave it out")
    return bool(given)


def _field_validation(value: str) -> FieldValidation:
    match value:
        case "Strict" | "Warn" | "Ignore":
            return value
        case "":
            return "Warn"
        case _:
            raise _refused(
                "fieldValidation", f"Unsupported value: {value!r}: write Strict, Warn or Ignore"
            )


def _manager(call: Call, *, required: bool) -> str:
    """`fieldManager`, else the User-Agent up to its first slash."""
    given = call.query.get("fieldManager", "")
    if given:
        if len(given) > _MAX_MANAGER_CHARS or not given.isprintable():
            raise _refused("fieldManager", "Invalid value: write at most 128 printable characters")
        return given
    if required:
        raise _refused("fieldManager", "Required value: is required for apply patch")
    agent = call.request.headers.get("User-Agent", "").partition("/")[0]
    if not agent.isprintable():
        agent = "".join(char for char in agent if char.isprintable())
    return agent[:_MAX_MANAGER_CHARS] or "unknown"
