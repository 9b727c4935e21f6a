"""What `audit` tells of the change log: its head, and whether it verifies. Changes nothing."""

from controlplane.errors import TerminalError
from controlplane.store.history import Head, History


async def head(history: History) -> str:
    """The head as `REVISION:HASH`, to be kept elsewhere."""
    found = await history.head()
    return f"{found.revision}:{found.hash}"


async def verified(history: History, against: str | None) -> str:
    """That the log verifies; with `against` (REVISION:HASH) also that this earlier head is still
    part of it. Raises TerminalError when something doesn't fit."""
    exported = None
    if against is not None:
        revision, _, digest = against.partition(":")
        if not revision.isdigit() or not digest:
            raise TerminalError(f"cannot verify against {against!r}: write REVISION:HASH")
        exported = Head(int(revision), digest)
    found = await history.verify(exported)
    if found.problem is not None:
        raise TerminalError(f"the change log does not verify: {found.problem}")
    return f"{found.changes} changes from revision {found.first} to {found.head.revision} verify"
