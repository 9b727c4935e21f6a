"""The content of a generated Secret: values made once, templates composed from the others.

Pure but for `generate`. Values pass through here on their way to the store and are never logged,
compared in a message, or kept.
"""

import base64
import secrets
from collections.abc import Callable, Mapping

from controlplane.plan import Derived, Generated, SecretValue, Template


def generate(wanted: Generated) -> str:
    """Text: random URL-safe characters from the system's generator, 6 bits each. An RSA key takes
    a tenth of a second."""
    if wanted.form == "text":
        return secrets.token_urlsafe(wanted.length)[: wanted.length]
    if wanted.form == "x25519":
        # any 32 bytes are a private key: X25519 itself sees to which of their bits count (RFC 7748)
        return base64.b64encode(secrets.token_bytes(32)).decode()
    # slow to import, and needed only where a key is made
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=wanted.length)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def slow(before: Mapping[str, str], keys: Mapping[str, SecretValue]) -> bool:
    """Whether completing it takes longer than an event loop may be held up."""
    return any(
        isinstance(value, Derived)  # a QR code takes some 20 ms
        or (isinstance(value, Generated) and value.form == "rsa" and key not in before)
        for key, value in keys.items()
    )


def kept(
    before: Mapping[str, str],
    keys: Mapping[str, SecretValue],
    renew_on: str,
) -> dict[str, str]:
    """What stays of a Secret: all of it, but for generated values once `renew_on` changes."""
    if not renew_on or before.get(renew_on) == keys.get(renew_on):
        return dict(before)
    return {key: value for key, value in before.items() if not isinstance(keys.get(key), Generated)}


def completed(
    before: Mapping[str, str],
    keys: Mapping[str, SecretValue],
    make: Callable[[Generated], str],
) -> dict[str, str]:
    """All keys of the Secret as they are to be: generated ones kept once made, plain ones,
    templates and derived ones corrected, keys that nobody asked for left alone.

    Raises ValueError for a value from which nothing can be derived.
    """
    data = dict(before)
    for key, value in keys.items():
        if isinstance(value, str):
            data[key] = value
        elif isinstance(value, Generated) and key not in data:
            data[key] = make(value)
    for key, value in keys.items():
        if isinstance(value, Template):
            data[key] = value.composed(data)
    finished = dict(data)
    return data | {
        key: value.compute(finished) for key, value in keys.items() if isinstance(value, Derived)
    }


def encoded(data: Mapping[str, str]) -> dict[str, str]:
    return {key: base64.b64encode(value.encode("utf-8", "surrogateescape")).decode()
            for key, value in data.items()}  # fmt: skip


def decoded(data: Mapping[str, str]) -> dict[str, str]:
    """Values that aren't text are not ours: they are left as they are, under no key of ours."""
    return {key: base64.b64decode(value).decode("utf-8", "surrogateescape")
            for key, value in data.items()}  # fmt: skip
