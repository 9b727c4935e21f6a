"""Tokens as an administrator sees them: who has one, until when; and taking one back.

A token itself can't be shown, only its hash is kept: the first digits of that are its id.
"""

import re
from typing import Final

from controlplane.errors import TerminalError
from controlplane.store.tokens import IssuedToken, Tokens

_HEAD: Final = ("ID", "USER", "GROUPS", "ISSUED", "EXPIRES")
_ID: Final = re.compile("[0-9a-f]{12}")


async def listed(tokens: Tokens) -> str:
    """A table of all tokens that are still good, the oldest first; times in UTC."""
    rows = [_HEAD, *(_row(token) for token in await tokens.issued())]
    widths = [max(len(row[at]) for row in rows) for at in range(len(_HEAD))]
    return "\n".join(
        "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


async def revoked(tokens: Tokens, token_id: str) -> str:
    """Make a token worthless, in every process within two seconds; its open watches and streams
    end within five. Raises TerminalError if there is none of that id."""
    found = await tokens.drop_issued(token_id) if _ID.fullmatch(token_id) else None
    if found is None:
        raise TerminalError(
            f"cannot revoke token {token_id!r}: there is none of that id; "
            "`python -m controlplane tokens list` shows them",
            reason="NotFound",
        )
    return f"revoked {token_id} of {found}"


def _row(token: IssuedToken) -> tuple[str, ...]:
    issued, expires = (f"{at:%Y-%m-%dT%H:%MZ}" for at in (token.created_at, token.expires_at))
    return (token.id, token.user, ",".join(token.groups), issued, expires)
