"""The Secrets that kinds make for their users: whether they are whole and true. Pure.

No value leaves here.
"""

from collections.abc import Collection, Mapping
from typing import Any

from controlplane.plan import Derived, Generated, Owned, SecretValue, Template, Want
from resources.meta import SecretRef


def text_of(values: Mapping[str, bytes]) -> dict[str, str]:
    """A Secret's values as templates and derivations take them; other bytes are surrogates."""
    return {key: value.decode(errors="surrogateescape") for key, value in values.items()}


def tells_truth(values: Mapping[str, bytes], keys: Mapping[str, SecretValue]) -> bool:
    """Whether every value that is not made by chance is what it should be. Raises ValueError for
    one from which nothing can be derived."""
    text = text_of(values)
    return all(text.get(key) == _value(text, key, wanted) for key, wanted in keys.items())


def _value(text: Mapping[str, str], key: str, wanted: SecretValue) -> str | None:
    match wanted:
        case Template():
            return wanted.composed(text)
        case Derived():
            return wanted.compute(text)
        case str():
            return wanted
        case _:
            return text.get(key)


def is_whole(secret: Owned | None, keys: Collection[str]) -> bool:
    """Whether it is there, ours, and has all these keys."""
    return secret is not None and secret.owned and set(keys) <= set(secret.secret_keys)


def lost(secret: Owned | None, keys: Mapping[str, SecretValue]) -> str | None:
    """The first key that is made once and isn't there, whosever the Secret is."""
    there = secret.secret_keys if secret else ()
    once = (key for key, value in keys.items() if isinstance(value, Generated) and value.once)
    return next((key for key in once if key not in there), None)


def secret_ref(want: Want[Any]) -> SecretRef | None:
    """What a status says of its Secret, once that is there."""
    name = want.record.secret_name
    return SecretRef(name=name) if ("Secret", name) in want.children else None
