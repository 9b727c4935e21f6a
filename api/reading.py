"""Stored records as the objects that answers are made of.

Secrets are opened only for who is shown their values; tables and metadata need none of them.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from api.context import Context
from api.negotiate import As
from api.tables import Include
from controlplane.errors import NotFoundError
from controlplane.records import Stored
from controlplane.store.shape import decode

_SECRET: Final = "Secret"  # noqa: S105  # a kind
_SEALED: Final = ("sealed", "secretKeys", "contentHmac")
_YIELD_EVERY: Final = 200
"""Records read between two looks at other requests: about 2 ms."""


def shows_values(kind: str, form: As, include: Include) -> bool:
    """Whether this representation of a kind shows what is sealed."""
    whole = form is As.OBJECT or (form is As.TABLE and include == "Object")
    return kind == _SECRET and whole


async def opened(ctx: Context, stored: Stored) -> dict[str, Any]:
    """A Secret in clear; without its values once its key was destroyed with it.

    Raises SecretsUnavailableError.
    """
    try:
        return await ctx.records.read(stored)
    except NotFoundError:
        return {key: value for key, value in decode(stored).items() if key not in _SEALED}


async def objects(
    ctx: Context, found: Sequence[Stored], form: As, include: Include
) -> list[dict[str, Any]]:
    """Parsed records for one representation, sealed values opened if it shows them."""
    opens = bool(found) and shows_values(found[0].key.kind, form, include)
    read = []
    for index, stored in enumerate(found, 1):
        read.append(await opened(ctx, stored) if opens else decode(stored))
        if index % _YIELD_EVERY == 0:
            await asyncio.sleep(0)
    return read
