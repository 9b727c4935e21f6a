"""Times where a schema asks for text alone, or isn't asked: of ownership and of conditions.

Typed clients read these as times and fail a whole list over one that is none. What is stored so
already may be written as any other: it stood there before, and is not the writer's.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from api import errors
from resources.meta import FieldError
from resources.text import moment

_TURNED: Final = "lastTransitionTime"

Obj = Mapping[str, Any]


def check_owned(given: Sequence[Obj], before: Sequence[Obj]) -> None:
    """Of managedFields. An entry may have no time. Raises StatusError 400."""
    there = [entry.get("time") for entry in before]
    for index, entry in enumerate(given):
        time = entry.get("time")
        if time is not None and time not in there and (why := _no_moment(time)):
            raise errors.bad_request(f"metadata.managedFields[{index}].time: {why}")


def wrong_turns(status: Obj, before: Obj) -> list[FieldError]:
    """Of conditions, which may say no time. Both are of their schema."""
    there = {condition.get(_TURNED) for condition in _conditions(before)}
    return [
        FieldError(
            f"status.conditions[{index}].{_TURNED}", "FieldValueInvalid", f"Invalid value: {why}"
        )
        for index, condition in enumerate(_conditions(status))
        if (time := condition.get(_TURNED)) and time not in there and (why := _no_moment(time))
    ]


def _conditions(status: Obj) -> Iterable[Obj]:
    found: Iterable[Obj] = status.get("conditions") or ()
    return found


def _no_moment(time: object) -> str:
    """Why it is none; empty if it is one."""
    if not isinstance(time, str):
        return f"{time!r} is not a time: write a string"
    try:
        moment(time)
    except ValueError as exc:
        return str(exc)
    return ""
