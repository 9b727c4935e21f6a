"""Which replicas of an App come and which go next, so that others serve meanwhile. Pure.

One that serves and is routed to leaves in two steps: it is no longer named as a backend, and it is
removed once the ingress has said that nothing goes there any more. Stopping it first is what loses
requests, however fast the routes change afterwards.
"""

from collections.abc import Set
from dataclasses import dataclass

from controlplane.plan import Wait, Want
from drivers.containers import ContainerState
from reconcilers._approom import ENDLESS, Room, each_of, taken
from resources.app import App

DRAIN_RECHECK_S = 5.0
"""The ingress' own status is an event and wakes the App; this is for one that was lost."""


@dataclass(frozen=True, slots=True)
class Replica:
    """One container of the App."""

    slot: int
    state: ContainerState
    serves: bool
    age_s: float = 0.0
    """Seconds since it was started."""
    port: int | None = None
    """Where it takes requests: of one that is exchanged, not the spec's."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """What is next. All empty: nothing."""

    makes: tuple[int, ...] = ()
    """Slots to fill."""
    leaving: tuple[Replica, ...] = ()
    """Replicas to remove, before the slots are filled."""
    surplus: bool = False
    """The leaving ones are too many, whatever else is the matter."""
    short: bool = False
    """Fewer than there shall be are left: others come in the room of the leaving ones."""


def rollout(
    replicas: tuple[Replica, ...],
    outdated: Set[int],
    total: int,
    surge: int,
    *,
    busy: bool,
    kept: tuple[Replica, ...] = (),
    room: Room = ENDLESS,
) -> Rollout:
    """The next step towards `total` replicas, none of them outdated.

    `outdated` are the slots whose replica is of another spec; `surge` is how many more than `total`
    may be there meanwhile; `busy`: something is being mended, so nothing is exchanged. `kept` are
    the stand-ins. No more are made than there is `room` for; where there is none for even one, an
    old one goes before.
    """
    slots = slots_of(total, surge)
    strangers = [each for each in strangers_of(replicas, slots) if each not in kept]
    if strangers:
        return Rollout(leaving=tuple(reversed(strangers)), surplus=True)
    replicas = tuple(replica for replica in replicas if replica not in kept)
    free = tuple(sorted(set(slots) - {replica.slot for replica in replicas}))
    if makes := free[: room.many(total - len(replicas))]:
        return Rollout(makes)
    old = [replica for replica in replicas if replica.slot in outdated]
    if not old and len(replicas) > total:
        return Rollout(leaving=(_least(replicas),), surplus=True)
    return Rollout() if busy else _exchange(replicas, old, free, total, room)


def slots_of(total: int, surge: int) -> range:
    return range(total + surge if total else 0)


def stand_ins(want: Want[App], replicas: tuple[Replica, ...]) -> tuple[Replica, ...]:
    """Those above the slots that serve while some in the slots don't: an App that is scaled down
    is not left with its broken ones. Only as many as there is room for besides all that it may
    have by its spec."""
    spec = want.record.spec
    slots = slots_of(spec.replicas, spec.surge)
    strangers = strangers_of(replicas, slots)
    missing = spec.replicas - sum(each.serves for each in replicas if each not in strangers)
    above = [each for each in strangers if each.serves and each.slot >= slots.stop]
    kept: list[Replica] = []
    for replica in above[: max(0, missing)]:
        states = [each.state for each in (*kept, replica)]
        if (want.record.footprint + taken(each_of(want), states)).fits(want.held):
            kept.append(replica)
    return tuple(kept)


def _exchange(
    replicas: tuple[Replica, ...], old: list[Replica], free: tuple[int, ...], total: int, room: Room
) -> Rollout:
    """One replica: a broken one at once, a serving one only while all serve. None that serves makes
    room for others that they can have from each other."""
    broken = [replica for replica in old if not replica.serves]
    if old and free and not broken and room.many(1):
        return Rollout(free[:1])
    # one that lacks room for its limits may not serve before it has them, and holds nothing up
    lacking = [each for each in replicas if not each.serves and room.lacks(each.state)]
    serving = sum(replica.serves for replica in replicas)
    settled = serving + len(lacking) == len(replicas)
    goes = broken or (old if settled else [])
    short = len(replicas) <= total
    waits = old and lacking and settled and not broken
    if waits and room.many(1, [each.state for each in lacking]):
        return Rollout(leaving=(lacking[-1],), short=short)
    if short:  # a surplus one is not made anew in its slot
        for replica in goes:
            if room.many(1, [replica.state]):
                return Rollout((replica.slot,), (replica,))
    return Rollout(leaving=tuple(goes[:1]), short=short and bool(goes))


def strangers_of(replicas: tuple[Replica, ...], slots: range) -> list[Replica]:
    """Those of no slot, and a second one of a slot (a renamed one whose successor was made)."""
    seen: set[int] = set()
    found = []
    for replica in replicas:
        if replica.slot not in slots or replica.slot in seen:
            found.append(replica)
        seen.add(replica.slot)
    return found


def _least(replicas: tuple[Replica, ...]) -> Replica:
    """The one that is missed least: one that doesn't serve, else the highest."""
    return max(replicas, key=lambda replica: (not replica.serves, replica.slot))


def backends(
    want: Want[App], replicas: tuple[Replica, ...], leaving: tuple[Replica, ...]
) -> tuple[str, ...]:
    """Where requests shall go: all that serve, but for those that leave while others stay."""
    if not want.record.spec.domains or want.deleting:
        return ()
    serving = [replica for replica in replicas if replica.serves]
    staying = [replica for replica in serving if replica not in leaving]
    found = (backend(want, replica) for replica in staying or serving)
    return tuple(sorted(each for each in found if each))


def backend(want: Want[App], replica: Replica) -> str:
    """Address and port of a replica; empty: it has none."""
    address = replica.state.networks.get(want.network)
    return f"{address}:{replica.port}" if address and replica.port else ""


def routed(want: Want[App], wanted: tuple[str, ...]) -> bool | None:
    """Whether the ingress sends requests to exactly these; None: no domains, nothing to route."""
    if not want.record.spec.domains or want.deleting:
        return None
    return set(_routes(want)) == set(wanted)


def _routes(want: Want[App]) -> tuple[str, ...]:
    """The backends that the ingress has last said it works by."""
    ingress = want.services.get(want.record.spec.ingress)
    routes = (ingress.status.get("routes") or {}) if ingress else {}
    return tuple(routes.get(want.record.metadata.uid) or ())


def drained(
    want: Want[App], replicas: tuple[Replica, ...], leaving: tuple[Replica, ...]
) -> Wait | None:
    """None: the leaving ones may be removed. Else what is waited for."""
    spec = want.record.spec
    ingress = want.services.get(spec.ingress)
    if not leaving or not spec.domains or ingress is None or not ingress.ready:
        return None
    if not any(replica.serves for replica in replicas if replica not in leaving):
        return None  # nobody could take its requests over
    if not set(_routes(want)) & {backend(want, replica) for replica in leaving}:
        return None
    message = f"waiting until the ingress '{spec.ingress}' sends nothing to the replica that leaves"
    return Wait("Draining", message, DRAIN_RECHECK_S)
