"""The content of a generated Secret: values made once, templates composed from the others.

Pure but for `generate`. Values pass through here on their way to the store and are never logged,
compared in a message, or kept.
"""

import base64
import secrets
from collections.abc import Callable, Mapping

from controlplane.plan import Generated, Template


def generate(wanted: Generated) -> str:
    """Text: random URL-safe characters from the system's generator, 6 bits each. A key takes a
    tenth of a second."""
    if wanted.form == "text":
        return secrets.token_urlsafe(wanted.length)[: wanted.length]
    # slow to import, and needed only where a key is made
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=wanted.length)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def slow(before: Mapping[str, str], keys: Mapping[str, str | Generated | Template]) -> bool:
    """Whether completing it takes longer than an event loop may be held up."""
    missing = (value for key, value in keys.items() if key not in before)
    return any(isinstance(value, Generated) and value.form != "text" for value in missing)


def kept(
    before: Mapping[str, str],
    keys: Mapping[str, str | Generated | Template],
    renew_on: str,
) -> dict[str, str]:
    """What stays of a Secret: all of it, but for generated values once `renew_on` changes."""
    if not renew_on or before.get(renew_on) == keys.get(renew_on):
        return dict(before)
    return {key: value for key, value in before.items() if not isinstance(keys.get(key), Generated)}


def completed(
    before: Mapping[str, str],
    keys: Mapping[str, str | Generated | Template],
    make: Callable[[Generated], str],
) -> dict[str, str]:
    """All keys of the Secret as they are to be: generated ones kept once made, plain ones and
    templates corrected, keys that nobody asked for left alone."""
    data = dict(before)
    for key, value in keys.items():
        match value:
            case Generated():
                if key not in data:
                    data[key] = make(value)
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
