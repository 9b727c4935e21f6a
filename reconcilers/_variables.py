"""What keys of a Secret or ConfigMap are as environment variables. Pure."""

import re
from collections.abc import Container, Iterable, Mapping
from typing import Final

from controlplane.errors import TerminalError

MOST_BYTES: Final = 131_072 - len("=\0")
"""Of a variable and its name: the kernel starts no process that is given more in one string
(MAX_ARG_STRLEN, 32 pages; https://man7.org/linux/man-pages/man2/execve.2.html)."""


def variables_of(
    where: str,
    values: Mapping[str, bytes],
    *,
    names: tuple[tuple[str, str], ...] | None = None,
    prefix: str = "",
    over: Container[str] = (),
) -> dict[str, str]:
    """Of the keys in `names`, by the variables there; None: of all, with `prefix` before each.
    Those in `over` get another value in the end, and this one may be of any length. `where` is told
    in errors, as in "Secret 'shop'". Raises TerminalError (SecretInvalid)."""
    chosen = names or _named(where, values, prefix)
    env = {name: _value(where, key, name, values) for key, name in chosen}
    for key, name in chosen:
        if name not in over and len(name) + len(values[key]) > MOST_BYTES:
            raise TerminalError(
                f"cannot set variable '{name}': key '{key}' of {where} is too long: no process"
                f" starts with a variable of more than {MOST_BYTES} bytes, its name included;"
                " shorten it",
                reason="SecretInvalid",
            )
    return env


def _named(where: str, keys: Iterable[str], prefix: str) -> tuple[tuple[str, str], ...]:
    """(key, variable) of each: `access-key`, which no variable can be called, is `access_key`."""
    keys_of: dict[str, str] = {}
    for key in keys:
        name = prefix + re.sub(r"[-.]", "_", key)
        other = keys_of.setdefault(name, key)
        if other != key:
            raise TerminalError(
                f"cannot set variable '{name}': key '{other}' and key '{key}' of {where} would"
                " both be it; rename one",
                reason="SecretInvalid",
            )
    return tuple((key, name) for name, key in keys_of.items())


def _value(where: str, key: str, name: str, values: Mapping[str, bytes]) -> str:
    what = f"cannot set variable '{name}': key '{key}' of {where}"
    if not name.replace("_", "a").isalnum() or not name.isascii() or name[0].isdigit():
        raise TerminalError(f"{what} is no name of a variable", reason="SecretInvalid")
    if key not in values:
        raise TerminalError(f"{what} does not exist", reason="SecretInvalid")
    try:
        text = values[key].decode()
    except UnicodeDecodeError:
        raise TerminalError(f"{what} is not text", reason="SecretInvalid") from None
    if "\0" in text:
        raise TerminalError(f"{what} contains a NUL character", reason="SecretInvalid")
    return text
