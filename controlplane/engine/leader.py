"""Who acts: one process at a time, by a lease row with an epoch and a monotonic deadline.

The store refuses writes of an old epoch; outside systems can't be fenced so, and that is why a
leader that could not renew in time stops by its own clock before anybody else may begin. A
successor on the same host takes over at once when it can prove that the old process is gone.
"""

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final, Protocol

import structlog

from controlplane.clock import Clock
from controlplane.engine.apart import apart
from controlplane.errors import RetryableError, StaleEpochError, StoreUnavailableError
from controlplane.store.leases import Holder, Lease

NAME: Final = "agent"
TTL_S: Final = 6.0
"""Longest a crashed leader of another host, or a frozen one of this, blocks (CP_LEASE_TTL_S).
Takeover must end within 10 s, on a busy host too: that leaves 4 s to see it, take the lease and
act. 0.5 s of them went there with twenty busy loops on two cores (tests/chaos)."""
RENEW_PART: Final = 1 / 6
"""Of the lease, between two renewals: each second, so that five can fail at once, or each may take
a third of the lease."""
MARGIN_PART: Final = 1 / 3
"""Of the lease: the leader stops so long before it ends, as a call that began just before has
ended by then."""
TRY_S: Final = 0.5
"""Between two looks at another's lease, for whether its process is gone."""
LEAST_S: Final = 0.02
"""Between two looks at a lease that is about to end."""
SILENT_S: Final = 20.0
"""A process whose loop has not turned for so long leads no more, though its lease could be renewed:
it hangs. A turn takes up to 25 ms of CPU (docs/performance.md), so a hundredth of a core is enough
not to be taken for hanging."""

_FIRMWARE_ID: Final = "/sys/class/dmi/id/product_uuid"
"""Hypervisors make a new one for each clone."""

_log = structlog.get_logger(__name__)


class LeasesPort(Protocol):
    """controlplane/store/leases.py: Leases, as the engine uses it."""

    async def try_acquire(
        self, name: str, holder: Holder, ttl_s: float, *, replacing: int | None = None
    ) -> Lease | None: ...

    async def renew(self, lease: Lease, /) -> Lease: ...

    async def release(self, lease: Lease, /) -> None: ...

    async def current(self, name: str, /) -> Lease | None: ...


OwnLeases = Callable[[], AbstractAsyncContextManager[LeasesPort]]
"""Opens leases on connections of their own, for a loop of its own."""


class Leadership:
    """One term: an epoch, and how long it may still be acted under."""

    def __init__(self, lease: Lease, clock: Clock, until_s: float) -> None:
        self.lease = lease
        self._clock = clock
        self._until_s = until_s
        self._over = asyncio.Event()

    @property
    def epoch(self) -> int:
        return self.lease.epoch

    def guard(self) -> None:
        """Raises StaleEpochError once this process may no longer act. Call it before every
        mutating call outside; it costs a comparison."""
        if self._over.is_set() or self._clock.monotonic() >= self._until_s:
            self.lost()
            raise StaleEpochError("cannot act: the lease was not renewed in time")

    def extend(self, until_s: float) -> None:
        self._until_s = max(self._until_s, until_s)

    def lost(self) -> None:
        """It is over: a write was refused, or the lease was not renewed in time."""
        self._over.set()

    @property
    def remaining_s(self) -> float:
        return 0.0 if self._over.is_set() else max(0.0, self._until_s - self._clock.monotonic())

    async def over(self) -> None:
        """Return once it is."""
        await self._over.wait()


class Leader:
    """Takes the lease and keeps it.

    Given `own`, it renews on a thread with a loop and a connection of its own. A renewal waits for
    several turns of the loop it is on, each of which does whatever else is due: on a host asked for
    ten times what it has, a leader that worked lost its lease again and again.
    """

    def __init__(
        self,
        leases: LeasesPort,
        holder: Holder,
        clock: Clock,
        *,
        alive: Callable[[Holder], bool] | None = None,
        ttl_s: float = TTL_S,
        own: OwnLeases | None = None,
    ) -> None:
        self._leases = leases
        self._holder = holder
        self._clock = clock
        self._alive = alive or process_alive
        self._ttl_s = ttl_s
        self._usable_s = ttl_s * (1 - MARGIN_PART)
        self._own = own
        self._seen: Lease | None = None
        self._seen_since_s = 0.0
        """Since when by our own clock the lease has not been renewed, as far as we saw."""

    async def acquire(self) -> Leadership:
        """Wait until this process leads. The store being away only makes it wait longer."""
        while True:
            blocked_s = TRY_S
            try:
                found = await self._leases.current(NAME)
                blocked_s = self._blocked_s(found)
                if blocked_s <= 0.0:
                    blocked_s, began_s = TRY_S, self._clock.monotonic()
                    lease = await self._take(found)
                    if lease is not None:
                        _log.info("leading", epoch=lease.epoch)
                        return Leadership(lease, self._clock, began_s + self._usable_s)
            except RetryableError as exc:
                _log.info("lease_unreachable", error=str(exc))
            await self._clock.sleep(max(LEAST_S, min(TRY_S, blocked_s)))

    async def keep(self, term: Leadership) -> None:
        """Renew until it is lost; returns then."""
        if self._own is None:
            await self._renew(term, self._leases)
        else:
            await self._renew_apart(term, self._own)
        term.lost()

    async def _renew_apart(self, term: Leadership, own: OwnLeases) -> None:
        turned_s = self._clock.monotonic()

        def turns() -> bool:
            return self._clock.monotonic() - turned_s < SILENT_S

        async def renewing() -> None:
            async with own() as leases:
                await self._renew(term, leases, turns)

        async with asyncio.TaskGroup() as tasks:
            renewal = tasks.create_task(apart(renewing, "lease"))
            while not renewal.done():
                turned_s = self._clock.monotonic()
                await asyncio.wait((renewal,), timeout=self._ttl_s * RENEW_PART)

    async def _renew(
        self, term: Leadership, leases: LeasesPort, turns: Callable[[], bool] = lambda: True
    ) -> None:
        """The deadline counts from before the request: the store can't have moved the expiry any
        earlier. `turns`: whether the loop that acts does not hang."""
        period_s = pause_s = self._ttl_s * RENEW_PART
        while term.remaining_s > 0.0:
            await self._clock.sleep(min(pause_s, term.remaining_s))
            if not turns():
                _log.error("lease_let_go", error=f"the loop has not turned for {SILENT_S:.0f} s")
                break
            began_s = self._clock.monotonic()
            try:
                async with asyncio.timeout(max(term.remaining_s, 0.01)):
                    await leases.renew(term.lease)
            except StaleEpochError:
                break
            except (StoreUnavailableError, TimeoutError) as exc:
                _log.warning("lease_not_renewed", error=str(exc), remaining_s=term.remaining_s)
                pause_s = TRY_S
                continue
            term.extend(began_s + self._usable_s)
            # from start to start: else a slow store costs twice, its answer and the pause
            pause_s = max(0.0, period_s - (self._clock.monotonic() - began_s))

    async def give_up(self, term: Leadership) -> None:
        """Let a successor begin at once. Failing to is harmless: the lease expires."""
        term.lost()
        try:
            await self._leases.release(term.lease)
        except (RetryableError, StaleEpochError) as exc:
            _log.info("lease_not_released", error=str(exc))

    def _blocked_s(self, found: Lease | None) -> float:
        """How long we may not even try to take it: a try locks what every write locks.

        The database's clock alone is not believed. Where it is set forward, a lease is over by it
        that is renewed, or that its holder may still act on. So it has to have stood still, too,
        for as long as it may be acted on and a margin, by our own clock (as between the hosts of
        client-go's leaderelection). Less what passes between two looks: who has looked all along
        waits no longer than the lease.
        """
        if found is None or found.holder == self._holder or self._provably_gone(found.holder):
            return 0.0
        now_s, last = self._clock.monotonic(), self._seen
        if last is None or (last.epoch, last.expires_at_s) != (found.epoch, found.expires_at_s):
            self._seen, self._seen_since_s = found, now_s
        still_s = max(found.ttl_s * (1 - MARGIN_PART), found.ttl_s - TRY_S)
        return max(found.remaining_s, self._seen_since_s + still_s - now_s)

    async def _take(self, found: Lease | None) -> Lease | None:
        replacing = None
        if found is not None and self._provably_gone(found.holder):
            _log.info("predecessor_gone", pid=found.holder.pid, epoch=found.epoch)
            replacing = found.epoch
        return await self._leases.try_acquire(NAME, self._holder, self._ttl_s, replacing=replacing)

    def _provably_gone(self, other: Holder) -> bool:
        """Only of the same host can it be known: another boot, or no such process any more."""
        if other.host != self._holder.host:
            return False
        return other.boot_id != self._holder.boot_id or not self._alive(other)


def this_process() -> Holder:
    """This process, so that a successor can make sure it is gone."""
    pid = os.getpid()
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return Holder(host_id(), boot_id, pid, _start_time(pid) or 0)


def host_id() -> str:
    """Where a pid means the same process: a machine and a pid namespace of it. Containers of one
    image may share a machine-id and all call themselves pid 1; without the namespace one would
    take the other for dead. So do hosts cloned from one image, each with a boot of its own: their
    names tell them apart, and the firmware's id, which root alone may read."""
    marks = (_text("/etc/machine-id"), socket.gethostname(), _text(_FIRMWARE_ID))
    return "/".join((*marks, os.readlink("/proc/self/ns/pid")))


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def process_alive(holder: Holder) -> bool:
    """True if that very process (same pid, same start) still runs in our pid namespace."""
    return _start_time(holder.pid) == holder.start_time


def _start_time(pid: int) -> int | None:
    """Field 22 of /proc/<pid>/stat, in clock ticks after boot (proc(5)); None: no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # the command name may hold spaces and parentheses: count from its end
    return int(stat.rpartition(")")[2].split()[19])
