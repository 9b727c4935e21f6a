"""Keys and tokens for servers, as Secrets hold them. Pure.

They are sent in HTTP headers, which take printable ASCII alone. What a file or an editor puts
around them (a newline at the end, most often) is no part of them.
"""

from collections.abc import Mapping

from controlplane.errors import RetryableError


def credential(values: Mapping[str, bytes] | None, key: str, *, secret: str, use: str) -> str:
    """The value under `key` of what Secret `secret` (`namespace/name`) holds; `use` is what for.

    Raises RetryableError (SecretMissing, SecretInvalid), which never tells the value.
    """
    raw = (values or {}).get(key, b"").strip()
    if not raw:
        raise RetryableError(
            f"cannot {use}: Secret '{secret}' has no key '{key}'", reason="SecretMissing"
        )
    text = raw.decode("ascii", errors="replace")
    if not is_credential(text):
        raise RetryableError(
            f"cannot {use}: key '{key}' of Secret '{secret}' has characters that can't be sent; "
            "write printable ASCII",
            reason="SecretInvalid",
        )
    return text


def is_credential(text: str) -> bool:
    """Whether a header can carry it."""
    return bool(text) and text.isascii() and text.isprintable()
