"""What a file composed from a Secret's keys holds. Pure, but for the salt of a hash."""

import re
from collections.abc import Mapping
from typing import Final

from controlplane.errors import TerminalError

_PLACE: Final = re.compile(r"\{(?P<hash>bcrypt:)?(?P<key>[a-z][a-z0-9-]*)\}")


def holds_values(template: str) -> bool:
    """Whether a file made of it needs a Secret."""
    return _PLACE.search(template) is not None


def composed(
    path: str, template: str, where: str, values: Mapping[str, bytes], *, plain: bool
) -> bytes:
    """`template` with the values of `where`, as in "Secret 'shop'", in its places. `plain`: refuse
    those that would be more than a value there. Raises TerminalError (SecretInvalid)."""

    def value(found: re.Match[str]) -> str:
        given = values.get(found["key"])
        why = "does not exist" if given is None else _unfit(given, plain=plain)
        if given is None or why:
            raise TerminalError(
                f"cannot write file '{path}': key '{found['key']}' of {where} {why}",
                reason="SecretInvalid",
            )
        return _bcrypt(given) if found["hash"] else given.decode()

    return _PLACE.sub(value, template).encode()


def _bcrypt(password: bytes) -> str:
    # Imported where it is used: few records need it.
    import bcrypt

    # 4, the least there is (1 ms): a slow hash protects weak passwords, and this one is generated
    # and long, while servers check it on every request.
    hashed = bcrypt.hashpw(password[:72], bcrypt.gensalt(rounds=4)).decode()
    # The same algorithm under the name that htpasswd gives it: Traefik knows no other.
    return hashed.replace("$2b$", "$2y$", 1)


def _unfit(value: bytes, *, plain: bool) -> str:
    """What is wrong with a value, never the value; empty if nothing is."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return "is not text"
    if not text:
        return "is empty, and would let everybody in, or nobody"
    if plain and re.fullmatch(r"[!#-&(-\[\]-~]+", text) is None:
        return "may hold no spaces, quotes, backslashes or control characters"
    return ""
