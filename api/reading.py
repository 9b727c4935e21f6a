"""Stored records as the objects that answers are made of.

Secrets are opened only for who is shown their values; tables and metadata need none of them.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from api.context import Context
from api.negotiate import As
from api.tables import Include
from controlplane.errors import SecretLostError
from controlplane.records import Stored
from controlplane.store.sealing import without_values
from controlplane.store.shape import decode
from controlplane.stretch import stretches

_SECRET: Final = "Secret"  # noqa: S105  # a kind
_AT_ONCE: Final = 50
"""Secrets whose keys are asked for together: one round trip, and 5 ms to open them."""


def shows_values(kind: str, form: As, include: Include) -> bool:
    """Whether this representation of a kind shows what is sealed."""
    whole = form is As.OBJECT or (form is As.TABLE and include == "Object")
    return kind == _SECRET and whole


async def opened(ctx: Context, stored: Stored) -> dict[str, Any]:
    """A record, and a Secret in clear; without its values once its key is gone: destroyed with it,
    or lost.

    Raises SecretsUnavailableError.
    """
    try:
        return await ctx.records.read(stored)
    except SecretLostError:
        return without_values(decode(stored))


async def all_opened(ctx: Context, found: Sequence[Stored]) -> AsyncIterator[dict[str, Any]]:
    """Many Secrets in clear; looks after other requests in between. As `opened` else."""
    async for some in stretches(found, _AT_ONCE):
        # all are waited for: none goes on behind an error
        shown = await asyncio.gather(
            *(opened(ctx, stored) for stored in some), return_exceptions=True
        )
        for each in shown:
            if isinstance(each, BaseException):
                raise each
            yield each
