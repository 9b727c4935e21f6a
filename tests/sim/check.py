"""Oracles: what must hold whatever happened, told from records and fakes, never from a plan."""

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson

from controlplane.errors import ControlPlaneError
from controlplane.records import Key, Stored, Write
from drivers.containers import LABEL_SLOT
from resources.kinds import KIND_INFOS, MODELS
from resources.meta import PLATFORM_NAMESPACE, Allocation, Footprint, NameClaim, Reference, Spec
from tests.sim.snapshot import GONE, world_of
from tests.sim.stage import Stage
from tests.sim.worlds import WORLDS
from tests.support.platform import HOST

UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
LOOK_S: Final = 2.0
"""What waits is looked at every 10 to 600 s; far more often is a loop that nothing ends."""
QUIET_S: Final = 700.0
"""More than one resync: whoever works without need does it within this time."""
NEVER: Final = frozenset({"InternalError", "NoProgress", "TimedOut"})
"""Reasons that are bugs wherever they turn up."""
DOMAIN_TRIED: Final = ("mail.ensure_alias", "mail.ensure_mailbox")


def _room(host: Any = HOST) -> Footprint | None:
    """What may be handed out of a host whose record says what it has."""
    spec: Any = getattr(MODELS["Host"].model_validate(host), "spec", None)
    if spec.capacity is None or spec.reserved is None:
        return None
    found: Footprint = spec.capacity.footprint - spec.reserved.footprint
    return found


@dataclass(slots=True)
class Watch:
    """Looks at every commit: the budget holds at any moment, and no pass ends in a bug."""

    bugs: bool = True
    """Also reasons that only bugs lead to; off while servers lie."""
    problems: list[str] = field(default_factory=list)
    _held: dict[str, Footprint] = field(default_factory=dict)

    def __call__(self, write: Write) -> None:
        if write.key.kind == "Event":
            return
        if write.verb == "delete":
            self._held.pop(write.uid, None)
            return
        status = orjson.loads(write.body).get("status") or {}
        self._budget(write, status.get("allocation"))
        for item in status.get("conditions") or ():
            if self.bugs and item["reason"] in NEVER:
                self.problems.append(f"{write.key}: {item['reason']}: {item['message']}")

    def _budget(self, write: Write, allocation: Any) -> None:
        found = Allocation.model_validate(allocation or {}).footprint
        before = self._held.get(write.uid, Footprint())
        self._held[write.uid] = found
        grown = not found.fits(before)
        total = sum(self._held.values(), Footprint())
        room = _room()
        assert room is not None
        if grown and not total.fits(room):
            self.problems.append(f"{write.key} was given more than there is: {total} in all")


def problems(stage: Stage) -> list[str]:
    """What is wrong once everything has settled."""
    found = [*_orphans(stage), *_doubles(stage), *_ambiguous(stage), *_unsettled(stage)]
    return [*found, *_unlike(stage), *_needless(stage)]


def _orphans(stage: Stage) -> list[str]:
    """Uids of live records read as their names: what is left belongs to nobody."""
    text = world_of(stage.platform)
    found = {*UUID.findall(text), *re.findall(rf"<uid of {GONE} [^>]*>", text)}
    return [f"something outside is owned by no record: {uid}" for uid in found]


def _doubles(stage: Stage) -> list[str]:
    slots: Counter[tuple[str, str]] = Counter()
    for state in stage.platform.states():
        if state.owner is not None:
            slots[state.owner.uid, state.labels.get(LABEL_SLOT, "")] += 1
    return [f"{count} containers for {slot}" for slot, count in slots.items() if count > 1]


def _ambiguous(stage: Stage) -> list[str]:
    """A name in a network leads to the containers of one record."""
    owners: dict[tuple[str, str], set[str]] = {}
    for state in stage.platform.states():
        if state.owner is not None:
            for network, names in state.aliases.items():
                for name in names:
                    owners.setdefault((network, name), set()).add(state.owner.uid)
    return [
        f"{len(uids)} records answer to {name}" for name, uids in owners.items() if len(uids) > 1
    ]


def _unsettled(stage: Stage) -> list[str]:
    found = []
    for kind in WORLDS:
        for stored in stage.platform.store.cache.list(kind):
            if stored.deleting and not _held(stage, stored):
                found.append(f"{stored.key} is still being deleted: {said(stored, 'Synced')}")
            elif not (stored.deleting or settled(stored) or excused(stage, stored)):
                found.append(f"{stored.key} is not in sync: {said(stored, 'Synced')}")
    return found


def _held(stage: Stage, stored: Stored) -> bool:
    """Whether a deletion waits for a record that lives, and says for which."""
    told = str(said(stored, "Synced"))
    return any(
        not each.deleting and f"{kind} '{each.key.name}'" in told
        for kind in WORLDS
        for each in stage.platform.store.cache.list(kind, stored.key.namespace)
    )


def _unlike(stage: Stage) -> list[str]:
    """Each kind's own oracle, for what is admitted and settled; while an edit waits to be
    admitted, by the spec from before it."""
    found = []
    for kind, world in WORLDS.items():
        for stored in stage.platform.store.cache.list(kind):
            if world.expected is None or stored.deleting:
                continue
            shape = stored if not refused(stored) else _before(stored)
            if shape is None or excused(stage, shape):
                continue
            try:
                world.expected(stage.platform, MODELS[kind].model_validate(shape.obj))
            except (AssertionError, KeyError, ValueError, ControlPlaneError) as exc:
                found.append(f"{stored.key} is not what it asks for: {exc!r}")
    return found


def _before(stored: Stored) -> Stored | None:
    """The record as it was admitted last, and as if it were so now; None if it never was."""
    status = stored.obj.get("status") or {}
    spec = (status.get("allocation") or {}).get("spec")
    if spec is None:
        return None
    admitted = {"type": "Admitted", "status": "True", "reason": "Admitted"}
    told = [each for each in status["conditions"] if each["type"] != "Admitted"]
    obj = {**stored.obj, "spec": spec, "status": {**status, "conditions": [*told, admitted]}}
    return replace(stored, body=orjson.dumps(obj))


def _needless(stage: Stage) -> list[str]:
    """Refused a name that nobody else has, or room that there is and nobody else waits for."""
    every = [stored for kind in WORLDS for stored in stage.platform.store.cache.list(kind)]
    held = {stored.key: _allocation(stored) for stored in every}
    room = _room(stage.platform.get(Key("Host", "", "host")).obj)
    taken = sum((each.footprint for each in held.values()), Footprint())
    waiting = [stored for stored in every if _lacks(stored, "BudgetExceeded")]
    found = []
    for stored in every:
        record = MODELS[stored.key.kind].model_validate(stored.obj)
        others = [name for key, each in held.items() if key != stored.key for name in each.names]
        if _lacks(stored, "NameTaken") and not any(
            _bars(other, claim) for claim in record.claims for other in others
        ):
            found.append(f"{stored.key} is refused a name that nobody has")
        has = held[stored.key].footprint
        more = record.footprint.at_least(has) - has
        if waiting == [stored] and room is not None and more.fits(room - taken):
            found.append(f"{stored.key} is refused room that there is")
    return found


def _allocation(stored: Stored) -> Allocation:
    return Allocation.model_validate((stored.obj.get("status") or {}).get("allocation") or {})


def _lacks(stored: Stored, what: str) -> bool:
    return not stored.deleting and condition(stored, "Admitted").get("reason") == what


def _bars(other: NameClaim, claim: NameClaim) -> bool:
    if (other.scope, other.name) == (claim.scope, claim.name):
        return not claim.of or claim.of != other.of
    names = f".{other.name}", f".{claim.name}"
    return other.subtree and claim.subtree and (
        names[0].endswith(names[1]) or names[1].endswith(names[0])
    )  # fmt: skip


def condition(stored: Stored, kind: str) -> dict[str, Any]:
    conditions = (stored.obj.get("status") or {}).get("conditions") or ()
    return next((dict(item) for item in conditions if item["type"] == kind), {})


def said(stored: Stored, kind: str) -> str:
    item = condition(stored, kind)
    return f"{item.get('status')} {item.get('reason')}: {item.get('message')}"


def settled(stored: Stored) -> bool:
    return condition(stored, "Synced").get("status") == "True"


def failing(stored: Stored) -> bool:
    return condition(stored, "Synced").get("status") == "False"


def refused(stored: Stored) -> bool:
    """For lack of room, of a name, or of a port."""
    return condition(stored, "Admitted").get("status") == "False"


def excused(stage: Stage, stored: Stored) -> bool:
    """Paused, not admitted, stopped until an edit, or waiting for another record or for the room
    of its Volume."""
    record = MODELS[stored.key.kind].model_validate(stored.obj)
    spec = getattr(record, "spec", None)
    # one that fails before it holds anything is no better than one that fails later
    asks = condition(stored, "Admitted").get("status") != "True" and not failing(stored)
    return (
        (isinstance(spec, Spec) and spec.paused)
        or refused(stored)
        or any(refused(each) for each in stage.platform.store.cache.owned_by(stored.uid))
        or (asks and record.footprint != Footprint())
        or condition(stored, "Stalled").get("status") == "True"
        or any(not _ready(stage, stored, ref) for ref in record.references)
        or any(not _serves(stage, name) for name in record.services)
    )


def _serves(stage: Stage, service: str) -> bool:
    return _kept_up(stage.platform.find(Key("Platform", PLATFORM_NAMESPACE, service)))


def _ready(stage: Stage, stored: Stored, ref: Reference) -> bool:
    space = stored.key.namespace if KIND_INFOS[ref.kind].namespaced else ""
    return _kept_up(stage.platform.find(Key(ref.kind, space, ref.name)))


def _kept_up(found: Stored | None) -> bool:
    """Ready, and not as it was when it was paused."""
    if found is None or (found.obj.get("spec") or {}).get("paused"):
        return False
    return condition(found, "Ready").get("status") == "True"


def _lacks_its_domain(stage: Stage) -> bool:
    """Whether something of mail was put off for a domain that is gone from the server, and whose
    record is being deleted once nothing is in it any more: nobody makes it again."""
    return any(
        condition(stored, "Synced").get("reason") == "DomainMissing" and excused(stage, stored)
        for kind in ("MailAlias", "Mailbox")
        for stored in stage.platform.store.cache.list(kind)
    )


async def restless(stage: Stage, seconds: float = QUIET_S) -> list[str]:
    """Writes, mutating calls, and passes without end of a platform that has nothing to do."""
    writes, before = len(stage.platform.store.writes), passes(stage)
    stage.tracer.trace.clear()
    stage.tracer.armed, stage.tracer.counts = True, lambda site: site.changes
    await stage.platform.settle(seconds)
    stage.tracer.armed = False
    idle = [str(site) for site in stage.tracer.trace if site.what != "Event"]
    if _lacks_its_domain(stage):
        idle = [what for what in idle if what not in DOMAIN_TRIED]
    made = [f"{w.verb} {w.key}" for w in stage.platform.store.writes[writes:]
            if w.key.kind != "Event"]  # fmt: skip
    looked = passes(stage) - before
    busy = looked > len(stage.platform.store.cache) * seconds / LOOK_S
    return [
        *(f"at rest it did {what}" for what in dict.fromkeys([*idle, *made])),
        *([f"at rest it went through {looked} passes"] if busy else []),
    ]


def passes(stage: Stage) -> int:
    """How many there were so far, whatever their end."""
    found = stage.platform.metrics.reconciles.collect()
    samples = (sample for each in found for sample in each.samples)
    return int(sum(each.value for each in samples if each.name.endswith("_total")))
