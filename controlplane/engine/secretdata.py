"""The content of a generated Secret: values made once, templates composed from the others.

Pure but for `generate`. Values pass through here on their way to the store and are never logged,
compared in a message, or kept.
"""

import base64
import secrets
from collections.abc import Callable, Mapping

from controlplane.plan import Generated, Template


def generate(length: int) -> str:
    """`length` random URL-safe characters from the system's generator: 6 bits each."""
    return secrets.token_urlsafe(length)[:length]


def completed(
    before: Mapping[str, str],
    keys: Mapping[str, str | Generated | Template],
    make: Callable[[int], str],
) -> dict[str, str]:
    """All keys of the Secret as they are to be: generated ones kept once made, plain ones and
    templates corrected, keys that nobody asked for left alone."""
    data = dict(before)
    for key, value in keys.items():
        match value:
            case Generated(length=length):
                data.setdefault(key, make(length))
            case str():
                data[key] = value
            case Template():
                continue
    for key, value in keys.items():
        if isinstance(value, Template):
            data[key] = value.composed(data)
    return data


def encoded(data: Mapping[str, str]) -> dict[str, str]:
    return {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}


def decoded(data: Mapping[str, str]) -> dict[str, str]:
    """Values that aren't text are not ours: they are left as they are, under no key of ours."""
    return {key: base64.b64decode(value).decode("utf-8", "surrogateescape")
            for key, value in data.items()}  # fmt: skip
