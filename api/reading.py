"""Stored records as the objects that answers are made of.

Secrets are opened only for who is shown their values; tables and metadata need none of them.
"""

from typing import Any, Final

from api.context import Context
from api.negotiate import As
from api.tables import Include
from controlplane.errors import NotFoundError
from controlplane.records import Stored
from controlplane.store.shape import decode

_SECRET: Final = "Secret"  # noqa: S105  # a kind
_SEALED: Final = ("sealed", "secretKeys", "contentHmac")


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
