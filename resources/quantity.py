"""Exact quantities: CPU in whole millicores, memory and disk in whole bytes.

Deliberately not a general Kubernetes quantity: no floats, no negative values, no fractions of
a millicore or of a byte. What a person writes is kept as written in the record; these types
are what the arithmetic sees.
"""

import re
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, WithJsonSchema

_BYTE_UNITS: Final = {
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}
_BYTES_RE: Final = re.compile(r"([0-9]{1,15})(k|M|G|T|Ki|Mi|Gi|Ti)?")
_CPU_RE: Final = re.compile(r"([0-9]{1,9})(m)?")


def parse_millicores(value: object) -> int:
    """Read a CPU quantity: `"500m"`, `"2"` or the integer `2` (cores). Returns millicores.

    Raises ValueError with the fix for floats, negatives and unknown suffixes.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value * 1000
    if isinstance(value, str) and (found := _CPU_RE.fullmatch(value)):
        return int(found[1]) * (1 if found[2] else 1000)
    raise ValueError(
        f"{value!r} is not a CPU quantity; write whole millicores such as '500m' "
        "or whole cores such as '2'"
    )


def parse_bytes(value: object) -> int:
    """Read a memory or disk quantity: `"512Mi"`, `"10Gi"` or a whole number of bytes.

    Raises ValueError with the fix for floats, negatives and unknown suffixes.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and (found := _BYTES_RE.fullmatch(value)):
        return int(found[1]) * _BYTE_UNITS[found[2] or ""]
    raise ValueError(
        f"{value!r} is not a byte quantity; write a whole number with a unit "
        "such as '512Mi' or '10Gi'"
    )


def format_millicores(value: int) -> str:
    """Shortest exact spelling: 2000 -> "2", 500 -> "500m"."""
    return str(value // 1000) if value % 1000 == 0 else f"{value}m"


def format_bytes(value: int) -> str:
    """Shortest exact binary spelling: 536870912 -> "512Mi", 1000 -> "1000"."""
    for unit in ("Ti", "Gi", "Mi", "Ki"):
        size = _BYTE_UNITS[unit]
        if value and value % size == 0:
            return f"{value // size}{unit}"
    return str(value)


def _schema(example: str, pattern: str) -> WithJsonSchema:
    return WithJsonSchema(
        {"x-kubernetes-int-or-string": True, "pattern": pattern, "example": example}
    )


Millicores = Annotated[
    int,
    BeforeValidator(parse_millicores),
    PlainSerializer(format_millicores, return_type=str),
    _schema("500m", r"^[0-9]{1,9}m?$"),
]
"""Whole millicores; `500m` or `2` on the wire."""


def at_least(least: int, what: str) -> AfterValidator:
    """For Bytes: refuses fewer, as too little `what`."""

    def enough(value: int) -> int:
        if value < least:
            raise ValueError(
                f"{format_bytes(value)} is too little {what}; "
                f"write at least '{format_bytes(least)}'"
            )
        return value

    return AfterValidator(enough)


Bytes = Annotated[
    int,
    BeforeValidator(parse_bytes),
    PlainSerializer(format_bytes, return_type=str),
    _schema("512Mi", r"^[0-9]{1,15}(k|M|G|T|Ki|Mi|Gi|Ti)?$"),
]
"""Whole bytes; `512Mi` or `10Gi` on the wire."""
