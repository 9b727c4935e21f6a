"""Time as an injected value: tests own the clock, and nothing else in the project reads one."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Final, Protocol

_TO_SECONDS: Final = len("2026-01-01T00:00:00")


class Clock(Protocol):
    def now(self) -> datetime:
        """Wall clock, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary origin; never goes back."""
        ...

    async def sleep(self, seconds: float, /) -> None: ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float, /) -> None:
        await asyncio.sleep(seconds)


def rfc3339(moment: datetime) -> str:
    """Kubernetes' metav1.Time: UTC, whole seconds, `Z`."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat()[:_TO_SECONDS] + "Z"


def parse_time(value: object) -> datetime | None:
    """An RFC 3339 time, in UTC where it names no zone; None for anything else."""
    if not isinstance(value, str):
        return None
    try:
        when = datetime.fromisoformat(value)
    except ValueError:
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)
