"""Admission: what a record may hold of the host, asked before its first step.

Joins the pure ledgers (budget, subnets, ports, names) with `status.allocation`. It grants in
memory; the pass commits the grant in the store before it acts, and `sync` makes the ledgers
equal to what was stored when the pass is over.
"""

from collections.abc import AsyncIterable, Callable
from dataclasses import dataclass
from typing import Any

from controlplane.budget import Granted, Ledger, Refused
from controlplane.engine.port import Routes
from controlplane.engine.resolve import NAMESPACE, allocation_of
from controlplane.errors import RetryableError
from controlplane.line import Claim, Scope
from controlplane.names import NameBook
from controlplane.ports import PortPool
from controlplane.records import Key, Stored, View
from controlplane.subnets import SUBNET_IN_USE, SubnetPool
from resources.meta import Allocation, Footprint, NameClaim, Record, Spec


@dataclass(frozen=True, slots=True)
class Admission:
    """The ledgers, asked together: all or nothing."""

    view: View
    ledger: Ledger
    subnets: SubnetPool
    ports: PortPool
    names: NameBook
    routes: Routes
    changed: Callable[[], None]
    """Called when totals or room changed: those that wait are woken, the Host record is told."""

    async def ask(self, record: Record, stored: Stored) -> Allocation | Refused:
        """What `record` may hold from now on, on top of what is in use; or why not.

        Raises what `routes` does: that is an outage of a driver and no lack of room.
        """
        avoid = await self._avoid(record, stored.uid)
        before, kept = self.ledger.held(stored.uid), self.ledger.keeps(stored.uid)
        moves = self.ledger.moves
        granted = self.ledger.ask(self._claim(record, stored, record.footprint))
        grew = isinstance(granted, Granted) and granted.held != before
        if kept or grew or self.ledger.moves != moves:
            # who asks for something else now lets others go first, and who is charged to another
            # namespace now frees room in the one before
            self.changed()
        if isinstance(granted, Refused):
            return granted
        try:
            ports = self.ports.assign(stored.uid, record.host_ports)
            names = self.names.assign(stored.uid, stored.key, record.claims)
            needs = record.info.needs_subnet
            subnet = self.subnets.assign(stored.uid, avoid) if needs else None
        except RetryableError as exc:
            self.sync(stored)
            # without a time of its own (a name) it is told when what it waits for is given up
            return Refused(exc.reason, str(exc), exc.retry_after_s or None)
        return allocation(granted.held, ports, subnet, names)

    def sync(self, stored: Stored) -> None:
        """Hold exactly what the store says: after a pass, whatever became of its grants."""
        found = allocation_of(stored)
        held = Footprint() if found is None else found.footprint
        if held != self.ledger.held(stored.uid):
            self.ledger.settle(stored.uid, held)
            self.changed()
        self.ports.settle(stored.uid, () if found is None else found.ports)
        names = self.names.held(stored.uid)
        self.names.settle(stored.uid, stored.key, () if found is None else found.names)
        if names != self.names.held(stored.uid):
            self.changed()
        if found is None or found.subnet is None:
            self.subnets.release(stored.uid)

    def uids(self) -> frozenset[str]:
        """Of all that hold or wait for anything."""
        return self.ledger.uids() | self.names.uids() | self.ports.uids() | self.subnets.uids()

    def failed(self, uid: str, reason: str) -> None:
        """A step failed for what was granted: something else is granted when it asks again."""
        if reason == SUBNET_IN_USE:
            self.subnets.give_up(uid)

    def release(self, uid: str) -> None:
        """Nothing of the record exists any more, and the store says so."""
        held = self.ledger.holds(uid)
        waits = self.ledger.waits(uid)
        named = bool(self.names.held(uid))
        self.ledger.release(uid)
        self.names.release(uid)
        self.ports.release(uid)
        self.subnets.release(uid)
        if held or waits or named:
            self.changed()

    def stop_waiting(self, uid: str) -> None:
        """A pass ended before it asked: it keeps no room from others."""
        self.names.withdraw(uid)
        if self.ledger.waits(uid):
            self.ledger.withdraw(uid)
            self.changed()

    async def load(self, records: AsyncIterable[tuple[Record | None, Stored]]) -> None:
        """Rebuild them all from the store: what is held, and who waited when it stopped."""
        claims: list[Claim] = []
        waiting: list[Claim] = []
        subnets: list[tuple[str, str]] = []
        ports: list[tuple[str, tuple[int, ...]]] = []
        names: list[tuple[str, Key, tuple[NameClaim, ...]]] = []
        async for record, stored in records:
            held = allocation_of(stored)
            if held is not None:
                claims.append(self._claim(record, stored, held.footprint))
                ports.append((stored.uid, held.ports))
                names.append((stored.uid, stored.key, held.names))
                if held.subnet is not None:
                    subnets.append((stored.uid, held.subnet))
            if record is not None and _waited(stored):
                waiting.append(self._claim(record, stored, record.footprint))
        self.ledger.load(claims, waiting)
        self.subnets.load(subnets)
        self.ports.load(ports)
        self.names.load(names)
        self.changed()

    def _claim(self, record: Record | None, stored: Stored, held: Footprint) -> Claim:
        spec = getattr(record, "spec", None)
        return Claim(
            uid=stored.uid,
            key=Key(stored.key.kind, stored.key.namespace, stored.key.name),
            scope=self._scope(record, stored),
            held=held,
            priority=spec.priority if isinstance(spec, Spec) else 0,
            created=str(stored.meta.get("creationTimestamp") or ""),
        )

    def _scope(self, record: Record | None, stored: Stored) -> Scope:
        """Nobody's quota limits what a namespace that is gone left."""
        namespace, uid = record.charged_to if record is not None else (stored.key.namespace, "")
        now = scope_of(self.view, namespace)
        return now if uid in ("", now.uid) else Scope()

    async def _avoid(self, record: Record, uid: str) -> tuple[str, ...]:
        """What its subnet must not overlap, if it is to be given one."""
        # what is held already may well be among the host's routes: it is our own network
        if not record.info.needs_subnet or self.subnets.holds(uid):
            return ()
        return await self.routes()


def allocation(
    held: Footprint,
    ports: tuple[int, ...],
    subnet: str | None,
    names: tuple[NameClaim, ...],
    spec: dict[str, Any] | None = None,
) -> Allocation:
    return Allocation.model_construct(
        cpu=held.cpu_millicores,
        memory=held.memory_bytes,
        disk=held.disk_bytes,
        ports=ports,
        subnet=subnet,
        names=names,
        spec=spec,
    )


def still_wanted(
    record: Record, held: Allocation, *, names: bool = True, ports: bool = True
) -> Allocation:
    """Of `held` no name and no port but what `record` asks for: nothing else leads to anything
    outside any more. Without `names`, or `ports`, it may, and those stay."""
    claims, count = record.claims, len(record.host_ports)
    named = tuple(name for name in held.names if name in claims) if names else held.names
    listened = held.ports[:count] if ports else held.ports
    return allocation(held.footprint, listened, held.subnet, named, held.spec)


def scope_of(view: View, namespace: str) -> Scope:
    """What the namespace of this name that there is now is charged as."""
    if not namespace:
        return Scope()
    home = view.get(Key(NAMESPACE, "", namespace))
    return Scope(namespace, "" if home is None else home.uid)


def holds_or_waits(stored: Stored) -> bool:
    """Whether `load` has anything to take from it: most records hold nothing and wait for
    nothing, and need not be parsed any further at a start."""
    if b'"allocation"' in stored.body:
        return True
    return b'"Admitted"' in stored.body and _waited(stored)


def _waited(stored: Stored) -> bool:
    conditions = (stored.obj.get("status") or {}).get("conditions") or ()
    return any(
        item.get("type") == "Admitted" and item.get("status") == "False" for item in conditions
    )
