"""Host ports for published records: each held by one record, given from a pool or by number.

Rebuilt from `status.allocation.ports` at start. Besides what records hold it asks what other
programs on the host listen on, before it gives one out of the pool.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Final

from controlplane.errors import RetryableError
from resources.meta import ANY_FREE

DEFAULT_POOL: Final = range(30000, 32768)
"""Kubernetes' NodePort range: above the usual services, below Linux's ephemeral ports."""


class PortPool:
    """Host ports by record uid."""

    def __init__(
        self, pool: range = DEFAULT_POOL, busy: Callable[[], Collection[int]] = tuple
    ) -> None:
        self._pool = pool
        self._busy = busy
        """Ports that are listened on now, by whomever."""
        self._held: dict[str, tuple[int, ...]] = {}
        """Those it asks for, and after them what it had before and may still listen on."""
        self._owner: dict[int, str] = {}

    def load(self, held: Iterable[tuple[str, tuple[int, ...]]]) -> None:
        """Start over from (uid, ports) pairs, as the store has them."""
        self._held.clear()
        self._owner.clear()
        for uid, ports in held:
            self._set(uid, ports)

    def held(self, uid: str) -> tuple[int, ...]:
        return self._held.get(uid, ())

    def uids(self) -> frozenset[str]:
        """Of all that hold a port."""
        return frozenset(self._held)

    def assign(self, uid: str, wanted: tuple[int | None, ...]) -> tuple[int, ...]:
        """One port for each of `wanted`: that number; for None the one already held in that place,
        else the lowest free one of the pool; for ANY_FREE that, and none that it had. Returns all
        it has then, these first: those it had are nobody else's until `settle`, as what was
        assigned may never get into the store, and its container may still be the one before.

        Raises RetryableError when a number is another record's, or the pool is exhausted;
        nothing changes then.
        """
        had = self.held(uid)
        free = self._free(uid)
        told = tuple(number for number in wanted if number)
        chosen: list[int] = []
        for place, number in enumerate(wanted):
            if number is None:
                kept = had[place] if place < len(had) else None
                number = self._pick(kept, free, (*chosen, *told))
            elif number == ANY_FREE:
                number = self._pick(None, free, (*chosen, *told, *had))
            elif self._owner.get(number, uid) != uid:
                raise RetryableError(
                    f"cannot publish port {number}: another record holds it; choose another, "
                    "or leave the port out to get a free one",
                    reason="PortTaken",
                    retry_after_s=30.0,
                )
            chosen.append(number)
        ports = (*chosen, *(port for port in had if port not in chosen))
        self._set(uid, ports)
        return ports

    def _free(self, uid: str) -> Iterator[int]:
        """The pool's ports that nobody has, lowest first; read only when one is asked for."""
        busy = frozenset(self._busy())
        for port in self._pool:
            if port not in busy and self._owner.get(port, uid) == uid:
                yield port

    def settle(self, uid: str, ports: tuple[int, ...]) -> None:
        """Hold exactly these from now on: what the store has."""
        self._set(uid, ports)

    def release(self, uid: str) -> None:
        self._set(uid, ())

    def _pick(self, kept: int | None, free: Iterable[int], chosen: tuple[int, ...]) -> int:
        if kept is not None and kept not in chosen:
            return kept
        for port in free:
            if port not in chosen:
                return port
        raise RetryableError(
            f"cannot publish a port: all of {self._pool.start}-{self._pool.stop - 1} are held",
            reason="PortsExhausted",
            retry_after_s=60.0,
        )

    def _set(self, uid: str, ports: tuple[int, ...]) -> None:
        for port in self._held.pop(uid, ()):
            if self._owner.get(port) == uid:
                del self._owner[port]
        if ports:
            self._held[uid] = ports
        self._owner.update(dict.fromkeys(ports, uid))
