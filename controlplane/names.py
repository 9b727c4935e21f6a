"""Names outside that stand for one thing: buckets, domains, mail addresses, hosts in a network.

Pure and synchronous, so every decision is serialised by the event loop; rebuilt from
`status.allocation.names` at start. Who comes second is told who has the name only if that is a
record of the same namespace: of another's only its kind, as a tenant is nobody else's business.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from controlplane.errors import RetryableError
from controlplane.records import Key
from resources.meta import PLATFORM_NAMESPACE, NameClaim

NAME_TAKEN: Final = "NameTaken"


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has a name."""

    uid: str
    key: Key
    claim: NameClaim


class NameBook:
    """Names by record uid."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[Holder, ...]] = {}
        self._exact: dict[tuple[str, str], dict[str, Holder]] = {}
        """Scope and name -> holder's uid -> holder: several where it is another record's."""
        self._domains: dict[str, dict[str, Holder]] = {}
        """DNS names and every name above them -> holder's uid and scope -> holder."""
        self._waiting: dict[str, Key] = {}
        self._freed = False

    def load(self, held: Iterable[tuple[str, Key, tuple[NameClaim, ...]]]) -> None:
        """Start over from (uid, key, names), as the store has them."""
        self._held.clear()
        self._exact.clear()
        self._domains.clear()
        self._waiting.clear()
        self._freed = False
        for uid, key, names in held:
            self._set(uid, key, names)

    def held(self, uid: str) -> tuple[NameClaim, ...]:
        return tuple(holder.claim for holder in self._held.get(uid, ()))

    def uids(self) -> frozenset[str]:
        """Of all that have a name, or wait for one."""
        return frozenset((*self._held, *self._waiting))

    def assign(self, uid: str, key: Key, wanted: tuple[NameClaim, ...]) -> tuple[NameClaim, ...]:
        """Take `wanted` on top of what the record has; returns all it has then.

        Raises RetryableError (NameTaken) when another, or itself, has one of them; nothing changes
        then, and the record is among `wakeable` as soon as any name is given up.
        """
        own: dict[tuple[str, str], NameClaim] = {}
        for claim in wanted:
            holder = self._conflict(uid, key, claim)
            # an App that is called as the service it works on, for one
            if (first := own.setdefault((claim.scope, claim.name), claim)).of != claim.of:
                holder = Holder(uid, key, first)
            if holder is not None:
                self._waiting[uid] = key
                raise RetryableError(_taken(claim, key, holder), reason=NAME_TAKEN)
        self._waiting.pop(uid, None)
        names = tuple(dict.fromkeys((*wanted, *self.held(uid))))
        self._set(uid, key, names)
        return names

    def settle(self, uid: str, key: Key, names: tuple[NameClaim, ...]) -> None:
        """Hold exactly these from now on: what the store has."""
        if names != self.held(uid):
            self._set(uid, key, names)

    def release(self, uid: str) -> None:
        """Nothing of it exists any more, and it waits no longer."""
        self._waiting.pop(uid, None)
        holders = self._held.get(uid)
        if holders:
            self._set(uid, holders[0].key, ())

    def withdraw(self, uid: str) -> None:
        """It waits no longer (paused, deleted, or stuck for another reason)."""
        self._waiting.pop(uid, None)

    def wakeable(self) -> tuple[Key, ...]:
        """Who waits for a name, if one was given up since this was last asked."""
        if not self._freed:
            return ()
        self._freed = False
        return tuple(sorted(self._waiting.values()))

    def _conflict(self, uid: str, key: Key, claim: NameClaim) -> Holder | None:
        for holder in self._exact.get((claim.scope, claim.name), {}).values():
            if holder.uid != uid and not (claim.of and claim.of == holder.claim.of):
                return holder
        if not claim.subtree:
            return None
        below = self._domains.get(claim.name, {}).values()
        above = [
            holder
            for name in _above(claim.name)
            for holder in self._domains.get(name, {}).values()
            if holder.claim.name == name
        ]
        return next((each for each in (*below, *above) if _bars(each, key, claim)), None)

    def _set(self, uid: str, key: Key, names: tuple[NameClaim, ...]) -> None:
        for holder in self._held.pop(uid, ()):
            if holder.claim not in names:
                self._freed = True
            self._unlink(holder)
        holders = tuple(Holder(uid, key, claim) for claim in names)
        if not holders:
            return
        self._held[uid] = holders
        for holder in holders:
            claim = holder.claim
            self._exact.setdefault((claim.scope, claim.name), {})[uid] = holder
            if claim.subtree:
                for name in (claim.name, *_above(claim.name)):
                    self._domains.setdefault(name, {})[_mark(holder)] = holder

    def _unlink(self, holder: Holder) -> None:
        claim = holder.claim
        same = self._exact.get((claim.scope, claim.name), {})
        same.pop(holder.uid, None)
        if not same:
            self._exact.pop((claim.scope, claim.name), None)
        if not claim.subtree:
            return
        for name in (claim.name, *_above(claim.name)):
            found = self._domains.get(name, {})
            found.pop(_mark(holder), None)
            if not found:
                self._domains.pop(name, None)


def _mark(holder: Holder) -> str:
    return f"{holder.uid}/{holder.claim.scope}/{holder.claim.name}"


def _above(name: str) -> Iterable[str]:
    """`a.b.c` -> `b.c`, `c`."""
    while "." in name:
        name = name.partition(".")[2]
        yield name


def _bars(holder: Holder, key: Key, claim: NameClaim) -> bool:
    """Whether a DNS name that overlaps with `claim` keeps it from `key`. What the platform has
    is no tenant's: names below it are given out to tenants."""
    if holder.key.namespace == key.namespace:
        return False
    shared = PLATFORM_NAMESPACE in (holder.key.namespace, key.namespace)
    return holder.claim.name == claim.name or not shared


def _taken(claim: NameClaim, key: Key, holder: Holder) -> str:
    by = f"another namespace's {holder.key.kind}"
    if holder.key.namespace == key.namespace:
        by = f"{holder.key.kind} '{holder.key.name}' of this namespace"
    if holder.claim.of:
        by = f"{holder.claim.of}, which {by} works on"
    other = "" if holder.claim.name == claim.name else ", which has a name above or below it"
    name = f"{claim.scope} name '{claim.name}'"
    if claim.of:
        return f"{name} is {claim.of}'s, which it works on, and taken by {by}; rename the latter"
    return f"{name} is taken by {by}{other}; choose another name"
