"""What of a record may not change: the rules that several kinds share. Pure."""

from resources.meta import FieldError
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
