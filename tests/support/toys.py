"""A toy kind with everything the engine handles: a footprint, ports, references, children, and
an outside world that takes faults. The world is a dict; what a Box is outside is a Thing.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, assert_never

from controlplane.engine.referring import PLATFORM
from controlplane.plan import (
    ChildRef,
    EnsureChild,
    EnsureSecret,
    Generated,
    OrphanChild,
    Plan,
    Reconciler,
    RemoveChild,
    Report,
    Template,
    Wait,
    Want,
)
from resources.core import ConfigMap, Event, Namespace, Secret
from resources.meta import Footprint, KindInfo, NameClaim, Record, Ref, Resource
from resources.meta import Spec as BaseSpec
from resources.meta import Status as BaseStatus
from resources.quantity import Bytes, Millicores


class BoxSpec(BaseSpec):
    cpu: Millicores = 0
    memory: Bytes = 0
    disk: Bytes = 0
    size: int = 1
    box_ref: Ref | None = None
    reads: str | None = None
    port: int | None = None
    publish: bool = False
    data: Literal["", "Retain", "Delete"] = ""
    secret: bool = False
    site: str = ""
    """A DNS name for itself alone."""
    hub: str = ""
    """A platform service it works on."""


class BoxStatus(BaseStatus):
    size: int | None = None
    secret_ref: Ref | None = None
    uses: str | None = None


class Box(Resource[BoxSpec, BoxStatus]):
    info: ClassVar[KindInfo] = KindInfo(
        kind="Box",
        plural="boxes",
        singular="box",
        needs_namespace_network=True,
        refs=(("spec.boxRef", "Box"),),
    )
    spec: BoxSpec = BoxSpec()
    status: BoxStatus = BoxStatus()

    @property
    def footprint(self) -> Footprint:
        return Footprint(self.spec.cpu, self.spec.memory, self.spec.disk)

    @property
    def host_ports(self) -> tuple[int | None, ...]:
        return (self.spec.port,) if self.spec.publish else ()

    @property
    def claims(self) -> tuple[NameClaim, ...]:
        site = self.spec.site
        return (NameClaim(scope="site", name=site, subtree=True),) if site else ()

    @property
    def services(self) -> tuple[str, ...]:
        return (self.spec.hub,) if self.spec.hub else ()


class DepotSpec(BaseSpec):
    claim: str = ""
    size: int = 0


class DepotStatus(BaseStatus):
    pass


class Depot(Resource[DepotSpec, DepotStatus]):
    """What holds a Box's data."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="Depot", plural="depots", singular="depot", namespaced=False, holds_data=True
    )
    spec: DepotSpec = DepotSpec()
    status: DepotStatus = DepotStatus()


class HubSpec(BaseSpec):
    endpoint: str = "here"


class HubStatus(BaseStatus):
    users: tuple[str, ...] = ()


class Hub(Resource[HubSpec, HubStatus]):
    """A service that Boxes of every namespace work on."""

    info: ClassVar[KindInfo] = KindInfo(
        kind=PLATFORM, plural="platforms", singular="platform", sees_dependents=True
    )
    spec: HubSpec = HubSpec()
    status: HubStatus = HubStatus()


MODELS: dict[str, type[Record]] = {
    model.info.kind: model for model in (Namespace, Secret, ConfigMap, Event, Box, Depot, Hub)
}
INFOS = {kind: model.info for kind, model in MODELS.items()}


@dataclass(frozen=True, slots=True)
class Thing:
    """One object outside."""

    name: str
    uid: str
    size: int
    footprint: Footprint = field(default_factory=Footprint)
    running: bool = True
    recheck_s: float = field(default=0.0, compare=False)
    """It starts, and is to be looked at again so soon; 0: it serves."""


@dataclass(frozen=True, slots=True)
class EnsureThing:
    thing: Thing


@dataclass(frozen=True, slots=True)
class RemoveThing:
    name: str


ThingStep = EnsureThing | RemoveThing


@dataclass(slots=True)
class World:
    """What is outside, and how it misbehaves."""

    things: dict[str, Thing] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    errors: list[Exception] = field(default_factory=list)
    """Raised by the next mutating calls, one each."""
    observe_errors: list[Exception] = field(default_factory=list)
    away: Exception | None = None
    stillborn: bool = False
    """What is started dies at once."""
    starting_s: float = 0.0
    """What is started serves only once it is told to: `recheck_s` of its Thing."""
    latency_s: float = 0.0
    slow: asyncio.Event | None = None
    """While set, calls wait for it."""

    async def observe(self, name: str) -> Thing | None:
        self.calls["observe"] += 1
        if self.away is not None:
            raise self.away
        if self.observe_errors:
            raise self.observe_errors.pop(0)
        return self.things.get(name)

    async def apply(self, step: ThingStep) -> None:
        match step:
            case EnsureThing(thing=thing):
                await self.ensure(thing)
            case RemoveThing(name=name):
                await self.remove(name)
            case _:
                assert_never(step)

    async def ensure(self, thing: Thing) -> None:
        await self._call("ensure")
        self.things[thing.name] = replace(
            thing, running=not self.stillborn, recheck_s=self.starting_s
        )

    async def remove(self, name: str) -> None:
        await self._call("remove")
        self.things.pop(name, None)

    async def _call(self, verb: str) -> None:
        self.calls[verb] += 1
        if self.slow is not None:
            await self.slow.wait()
        await asyncio.sleep(self.latency_s)
        if self.away is not None:
            raise self.away
        if self.errors:
            raise self.errors.pop(0)


@dataclass(slots=True)
class Counting(World):
    """Counts the looks that are under way at once."""

    look_s: float = 0.01
    running: int = 0
    most: int = 0

    async def observe(self, name: str) -> Thing | None:
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(self.look_s)
        self.running -= 1
        return await World.observe(self, name)


@dataclass(frozen=True, slots=True)
class BoxReconciler(Reconciler[Box, Thing | None, ThingStep]):
    world: World

    def children(self, want: Box, namespace_uid: str, /) -> tuple[ChildRef, ...]:
        found = (ChildRef("Depot", depot_name(want)),) if want.spec.data else ()
        return found + ((ChildRef("Secret", f"{want.metadata.name}-key"),) if want.spec.secret
                        else ())  # fmt: skip

    def reads(self, want: Box, /) -> tuple[str, ...]:
        return () if want.spec.reads is None else (want.spec.reads,)

    async def observe(self, want: Want[Box], /) -> Thing | None:
        return await self.world.observe(want.record.owned_name)

    def plan(self, want: Want[Box], seen: Thing | None, /) -> Plan[ThingStep]:
        box = want.record
        if want.deleting:
            return self._plan_removal(want, seen)
        if box.spec.data and ("Depot", depot_name(box)) not in want.children:
            spec = {"claim": box.metadata.name, "size": 1}
            return Plan((EnsureChild("Depot", depot_name(box), spec, ("claim",)),))
        if box.spec.data and not want.children["Depot", depot_name(box)].owned:
            spec = {"claim": box.metadata.name, "size": 1}
            return Plan((EnsureChild("Depot", depot_name(box), spec, ("claim",)),))
        key = ("Secret", f"{box.metadata.name}-key")
        if box.spec.secret and (key not in want.children or not want.children[key].owned):
            keys: dict[str, str | Generated | Template] = {
                "username": box.metadata.name,
                "password": Generated(24),
                "uri": Template("box://{username}:{password}@here"),
            }
            return Plan((EnsureSecret(key[1], keys, claim=box.metadata.name),))
        if box.spec.reads is not None and want.secrets[box.spec.reads] is None:
            return Plan(wait=Wait("SecretMissing", f"{box.spec.reads} does not exist"))
        target = Thing(box.owned_name, box.metadata.uid, box.spec.size, box.footprint)
        if seen == target and seen.recheck_s:
            return Plan(wait=Wait("Starting", "it starts", seen.recheck_s))
        return Plan() if seen == target else Plan((EnsureThing(target),))

    def _plan_removal(self, want: Want[Box], seen: Thing | None) -> Plan[ThingStep]:
        box = want.record
        steps: list[ThingStep | OrphanChild | RemoveChild] = []
        if seen is not None:
            steps.append(RemoveThing(seen.name))
        for (kind, name), child in want.children.items():
            if child.owned and not child.deleting:
                keep = box.spec.data == "Retain"
                steps.append(OrphanChild(kind, name) if keep else RemoveChild(kind, name))
        return Plan(tuple(steps))

    def status(self, want: Want[Box], seen: Thing | None, /) -> Report:
        ready = seen is not None and seen.running and not seen.recheck_s
        ref = Ref(name=f"{want.record.metadata.name}-key") if want.record.spec.secret else None
        refs = [found.binding for found in want.refs.values() if found.binding is not None]
        status = BoxStatus(
            size=None if seen is None else seen.size,
            secret_ref=ref,
            uses=refs[0].content_hmac if refs else None,
        )
        in_use = Footprint() if seen is None else seen.footprint
        reason = "Serving" if ready else "NotServing"
        return Report(status, ready, reason, reason.lower(), in_use=in_use)

    async def apply(self, step: ThingStep, /) -> None:
        await self.world.apply(step)


def depot_name(box: Box) -> str:
    return f"depot-{box.metadata.namespace}-{box.metadata.name}"


@dataclass(frozen=True, slots=True)
class PlainReconciler(Reconciler[Record, Thing | None, ThingStep]):
    """A Namespace's network or a Depot: one Thing each, kept as it is."""

    world: World

    async def observe(self, want: Want[Record], /) -> Thing | None:
        return await self.world.observe(want.record.owned_name)

    def plan(self, want: Want[Record], seen: Thing | None, /) -> Plan[ThingStep]:
        name, uid = want.record.owned_name, want.record.metadata.uid
        if want.deleting:
            return Plan() if seen is None else Plan((RemoveThing(name),))
        return Plan() if seen is not None else Plan((EnsureThing(Thing(name, uid, 0)),))

    def status(self, want: Want[Record], seen: Thing | None, /) -> Report:
        there = seen is not None
        return Report(BaseStatus(), there, "There" if there else "Absent", "")

    async def apply(self, step: ThingStep, /) -> None:
        await self.world.apply(step)


@dataclass(frozen=True, slots=True)
class HubReconciler(Reconciler[Hub, None, ThingStep]):
    """Nothing outside; tells who works on it, and from which network."""

    async def observe(self, want: Want[Hub], /) -> None:
        return None

    def plan(self, want: Want[Hub], seen: None, /) -> Plan[ThingStep]:
        return Plan()

    def status(self, want: Want[Hub], seen: None, /) -> Report:
        users = tuple(
            f"{user.namespace}/{user.name} {user.network_ready}" for user in want.dependents
        )
        return Report(HubStatus(users=users), True, "Serving", "serving")

    async def apply(self, step: ThingStep, /) -> None:
        raise AssertionError(step)
