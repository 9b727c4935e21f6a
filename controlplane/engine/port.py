"""What the engine needs of the store and of the world, as Protocols of just that.

`RecordsPort` is the one write path, satisfied by controlplane/store/records.py; the composition
root adapts everything else. No implementation is here.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, Protocol

from controlplane.records import Stored
from resources.meta import Footprint

Propagation = Literal["Background", "Foreground", "Orphan"]


@dataclass(frozen=True, slots=True)
class Actor:
    """Who writes: the agent's name and a field manager."""

    name: str = "system:agent"
    manager: str = "bunker-agent"


AGENT: Final = Actor()


class RecordsPort(Protocol):
    """The methods of Records that the engine calls; errors as controlplane/errors.py has them."""

    async def create(
        self, kind: str, obj: Mapping[str, Any], *, actor: Any, epoch: int | None = None
    ) -> Stored: ...

    async def update(
        self,
        base: Stored,
        obj: Mapping[str, Any],
        *,
        actor: Any,
        subresource: str = "",
        epoch: int | None = None,
    ) -> Stored: ...

    async def delete(
        self,
        base: Stored,
        *,
        actor: Any,
        propagation: Propagation = "Background",
        epoch: int | None = None,
    ) -> Stored | None: ...

    async def read(self, stored: Stored, /) -> Mapping[str, Any]: ...

    async def catch_up(self, timeout_s: float, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """What the budget may hand out, as the records of the moment say."""

    capacity: Footprint | None
    """capacity - reserved of the host; None while unknown."""
    reserved: Footprint
    """What of the host is kept back; only told, not counted again."""
    quotas: Mapping[str, Footprint]
    """The quota of each namespace that has one; budget.UNLIMITED for what it doesn't limit."""


@dataclass(frozen=True, slots=True)
class Outside:
    """One object outside the store that carries an owner label of ours."""

    uid: str
    kind: str
    namespace: str
    name: str
    what: str
    """container, network, volume, folder, ...; a volume is never removed by the sweep."""
    id: str
    made_at: datetime | None = None
    """None: nobody knows."""
    known: bool = False
    """It says by itself that it is of this database: that is not told by the absent record."""


class Sweeper(Protocol):
    """One outside system, as the sweep needs it."""

    async def list_owned(self) -> Sequence[Outside]: ...

    async def remove(self, item: Outside, /) -> None: ...


class Chore(Protocol):
    """What a system outside does only when told, and no record's pass waits for."""

    @property
    def name(self) -> str:
        """For the log."""
        ...

    async def do(self, guard: "Guard", /) -> int:
        """Have it done wherever it is due; at how many places it was. What `guard` raises goes
        through."""
        ...


class Guard(Protocol):
    """Checked before every mutating call outside: raises StaleEpochError when this process may
    no longer act."""

    def __call__(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Wake:
    """Something of this record may have changed outside. `kind` "" means: of any record."""

    kind: str = ""
    namespace: str = ""
    name: str = ""


WakeSource = Callable[[], AsyncIterator[Wake]]
"""Opens one driver's stream of wakes; it never ends by itself."""
Routes = Callable[[], Awaitable[tuple[str, ...]]]
"""CIDRs the host already uses, so that no subnet collides."""
