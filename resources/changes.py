"""What of a record may not change: the rules that several kinds share. Pure."""

from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from resources.meta import STORED, ConditionType, FieldError, Resource, SpecT, Status
from resources.quantity import format_bytes


def fixed(fix: str, *fields: tuple[str, str | None, str | None]) -> tuple[FieldError, ...]:
    """An error for each (field of the spec, was, is) that differs; `fix` says what to do instead.

    >>> fixed("make a new Zone", ("domain", "a.example", "b.example"))[0].message
    "may not change from 'a.example'; make a new Zone"
    """
    return tuple(
        FieldError(
            f"spec.{field}",
            "FieldValueForbidden",
            f"may not change{'' if was is None else f' from {was!r}'}; {fix}",
        )
        for field, was, now in fields
        if was != now
    )


def only_grows(field: str, was: int, now: int) -> tuple[FieldError, ...]:
    """An error if that size of the spec, in bytes, shrinks."""
    if now >= was:
        return ()
    fix = f"may only grow; set spec.{field} to {format_bytes(was)} or more"
    return (FieldError(f"spec.{field}", "FieldValueInvalid", fix),)


def size_to_keep(
    old: Resource[SpecT, Any], size: Callable[[SpecT], int], has: int | None = None
) -> int:
    """The size in bytes below which no edit of `old` may go: what it asks for, or what it was given
    where that has no room yet. `has`: what its Volume has, once that is known.

    An edit that has no room could not be taken back else. What is decided on here is stored only if
    the record hasn't changed meanwhile: an admission is such a change.
    """
    if never_had_room(old.status):
        return 0
    sizes = [size(old.spec), size(_admitted(old))]
    return min(sizes if has is None else [*sizes, has])


def never_had_room(status: Status) -> bool:
    """Whether it was refused from the start: nothing was ever made of it."""
    refused = any(
        each.type == ConditionType.ADMITTED and each.status == "False" for each in status.conditions
    )
    return status.allocation is None and refused


def _admitted(old: Resource[SpecT, Any]) -> SpecT:
    """The spec that its allocation was committed for."""
    held = old.status.allocation
    if held is None or held.spec is None:
        return old.spec
    try:
        return type(old.spec).model_validate(held.spec, context=STORED)
    except ValidationError:  # of an earlier release
        return old.spec
