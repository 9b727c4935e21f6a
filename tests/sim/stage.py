"""A platform under a supervisor, and what a user does to one record on it.

The supervisor is what keeps a killed process alive on a real host: it starts the next one, on the
same store and the same world.
"""

import asyncio
import difflib
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError

from controlplane.errors import AlreadyExistsError, ConflictError
from controlplane.records import Key, Write
from controlplane.seam import Call
from reconcilers.registry import RECONCILERS
from resources._offers import OFFERS
from resources.kinds import KIND_INFOS, MODELS
from resources.meta import FINALIZER, PLATFORM_NAMESPACE, Record
from tests.sim.promises import broken, emptied
from tests.sim.snapshot import objects_of, records_of, tally, world_of
from tests.sim.values import Values
from tests.sim.worlds import SPACE, WORLDS, example, ref_names
from tests.support.faults import Tracer
from tests.support.keys import rsa_key
from tests.support.platform import Platform
from tests.support.running import USER

RESTART_S: Final = 0.5
"""Between a death and the next process."""
READY_S: Final = 40.0
"""What an example takes to be Ready on fakes, with all it refers to."""
SOON_S: Final = 130.0
"""A pass that crashed is taken up again within the longest backoff that a few failures lead to."""
LATE_S: Final = 1300.0
"""Two resyncs and two sweeps."""


def secret_data() -> dict[str, str]:
    """What a user's own Secret has: something for every kind that reads one."""
    return {"ALPHA": "one", "password": "one of their own", "private-key": rsa_key(1)}


@dataclass(frozen=True, slots=True)
class Look:
    """How to tell what is outside: all of it as text, and what things there are."""

    world: Callable[[Any], str] = world_of
    objects: Callable[[Any], frozenset[str]] = objects_of


@dataclass(slots=True)
class Stage:
    """One platform, watched."""

    tracer: Tracer = field(default_factory=Tracer)
    platform: Platform = field(default_factory=Platform)
    look: Look = field(default_factory=Look)
    tallies: "Counter[str]" = field(default_factory=Counter)
    deaths: int = 0
    breaches: list[str] = field(default_factory=list)
    """Promises broken on the way, even if all was well in the end."""
    watchers: list[Callable[[Write], None]] = field(default_factory=list)
    """Also told of every commit."""
    adopted: bool = False
    """Somebody else changed things outside: what is there is not our doing alone."""
    _objects: frozenset[str] = frozenset()
    _written: int = 0

    def __post_init__(self) -> None:
        self.platform.seam = self.tracer
        self.tracer.after_change = self._count
        self.platform.store.on_write = self._commit

    @asynccontextmanager
    async def supervised(self) -> AsyncIterator["Stage"]:
        """Processes one after the other, for the length of a block."""
        stopping = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            keeping = tasks.create_task(self._keep(stopping))
            try:
                yield self
            finally:
                stopping.set()
                await asyncio.wait({keeping}, timeout=60)
                keeping.cancel()

    async def _keep(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            async with asyncio.TaskGroup() as tasks:
                term = tasks.create_task(self.platform.new_term().run(stopping))
                dead = tasks.create_task(self.tracer.dead.wait())
                await asyncio.wait({term, dead}, return_when=asyncio.FIRST_COMPLETED)
                dead.cancel()
                if self.tracer.dead.is_set():
                    self.deaths += 1
                    self.tracer.buried = True
                    term.cancel()
            if self.tracer.dead.is_set():
                await asyncio.sleep(RESTART_S)
                self.tracer.revive()

    def kill(self) -> None:
        """As kill -9, wherever it is."""
        self.tracer.dead.set()

    # --- what a user does ---

    async def make(
        self,
        kind: str,
        spec: Mapping[str, Any] | None = None,
        name: str = "",
        namespace: str = SPACE,
    ) -> Key:
        """Create one, after all that it refers to; in another tenant's namespace, if given."""
        obj = example(kind)
        if obj["metadata"].get("namespace") == SPACE:
            obj["metadata"]["namespace"] = namespace
        if name:
            obj["metadata"]["name"] = name
        if spec is not None:
            obj["spec"] = dict(spec)
        await self.provide(obj)
        meta = obj["metadata"]
        key = Key(kind, meta.get("namespace", ""), meta["name"])
        if self.platform.find(key) is None:
            with suppress(AlreadyExistsError):  # another made it meanwhile, or the view is old
                await self.platform.records.create(kind, obj, actor=USER)
        elif spec is not None:
            await self.edit(key, spec)
        return key

    async def provide(self, obj: Mapping[str, Any]) -> None:
        """Whatever `obj` names: its namespace, references, services, Secrets and ConfigMaps."""
        record = MODELS[obj["kind"]].model_validate(obj)
        namespace = record.metadata.namespace
        if namespace and self.platform.find(Key("Namespace", "", namespace)) is None:
            await self.make("Namespace", name=namespace)
        for ref in record.references:
            if self.platform.find(Key(ref.kind, namespace, ref.name)) is None:
                await self.make(ref.kind, name=ref.name, namespace=namespace or SPACE)
        for name in record.services:
            if self.platform.find(Key("Platform", PLATFORM_NAMESPACE, name)) is None:
                await self.make("Platform", _service(name), name)
        if obj["kind"] in RECONCILERS:
            reconciler = RECONCILERS[obj["kind"]](self.platform.drivers)
            for read in reconciler.reads(record):
                of, _, name = read.partition("/")
                await self._value(of, namespace, name)

    async def provide_one(
        self, kind: str, namespace: str, name: str, spec: Mapping[str, Any] | None
    ) -> None:
        """A record as `provide` makes it."""
        if kind in ("Secret", "ConfigMap"):
            await self._value(kind, namespace, name)
        else:
            await self.make(kind, _service(name) if kind == "Platform" else spec, name)

    async def _value(self, kind: str, namespace: str, name: str) -> None:
        if self.platform.find(Key(kind, namespace, name)) is not None:
            return
        meta = {"name": name, "namespace": namespace}
        obj = {"apiVersion": "v1", "kind": kind, "metadata": meta}
        obj |= {"stringData": secret_data()} if kind == "Secret" else {"data": {"ALPHA": "one"}}
        await self.platform.records.create(kind, obj, actor=USER)

    async def edit(self, key: Key, spec: Mapping[str, Any], *, by: str = "") -> None:
        """Replace the spec; `by` the subresource that does so ("scale")."""
        await self.provide({**self.platform.get(key).obj, "spec": spec})
        while True:
            found = self.platform.get(key)
            try:
                await self.platform.records.update(
                    found, {**found.obj, "spec": dict(spec)}, actor=USER, subresource=by
                )
            except ConflictError:
                await asyncio.sleep(0.1)
                continue
            return

    def spec(self, key: Key) -> dict[str, Any]:
        return dict(self.platform.get(key).obj.get("spec") or {})

    # --- what became of it ---

    def begin_tally(self) -> None:
        self.tallies = Counter()
        self._objects = self.look.objects(self.platform)
        self._written = len(self.platform.store.writes)

    def outcome(self) -> "Outcome":
        for write in self.platform.store.writes[self._written :]:
            if write.key.kind != "Event" and write.verb in ("create", "delete"):
                self.tallies[f"{write.verb} {write.key.kind}"] += 1
        self._written = len(self.platform.store.writes)
        world = self.look.world(self.platform)
        return Outcome(world, records_of(self.platform), dict(self.tallies))

    def _commit(self, write: Write) -> None:
        self.breaches += emptied(self.platform, write)
        self._look()
        for watcher in self.watchers:
            watcher(write)

    def _look(self) -> None:
        if not self.adopted:
            self.breaches += [each for each in broken(self.platform) if each not in self.breaches]

    def _count(self, call: Call) -> None:
        if call.port != "store":
            now = self.look.objects(self.platform)
            self.tallies += tally(self._objects, now)
            self._objects = now
        self._look()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What two runs of the same story must have in common."""

    world: str
    records: str
    tallies: Mapping[str, int]

    @property
    def lasting(self) -> str:
        """Records without what stays where something once was: finalizer, empty allocation."""
        text = re.sub(r"\s", "", self.records).replace(f'"{FINALIZER}"', "")
        return text.replace('"allocation":{"cpu":"0","disk":"0","memory":"0"},', "")

    def unlike(self, other: "Outcome") -> str:
        """How `other` differs, for a person."""
        lines = [*difflib.unified_diff(
            [*self.world.splitlines(), *self.records.splitlines()],
            [*other.world.splitlines(), *other.records.splitlines()],
            "as it should be", "as it is", n=2, lineterm="",
        )]  # fmt: skip
        if self.tallies != other.tallies:
            lines.append(f"should: {dict(sorted(self.tallies.items()))}")
            lines.append(f"is:     {dict(sorted(other.tallies.items()))}")
        return "\n".join(lines[:80])


def candidates(kind: str, spec: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """(field, spec with another value of it) for every value that the model takes as an edit."""
    model = MODELS[kind]
    schema = model.model_fields["spec"].annotation
    if schema is None:
        return []
    world = WORLDS[kind]
    values = Values(schema.model_json_schema(by_alias=True), ref_names())
    found: list[tuple[str, dict[str, Any]]] = []
    for name in values.fields:
        if name in world.leave:
            continue
        for value in (*world.values.get(name, ()), *values.of(name)):
            edited = {**spec, name: value}
            if value is None:
                del edited[name]
            if acceptable(kind, edited, spec) and (name, edited) not in found:
                found.append((name, edited))
    return found


def acceptable(kind: str, spec: Mapping[str, Any], old: Mapping[str, Any] | None = None) -> bool:
    """Whether the API would take it: as an edit of `old`, one that changes something."""
    after = parsed(kind, spec)
    if after is None or old is None:
        return after is not None
    before = parsed(kind, old)
    return before is not None and before != after and not after.check_update(before)


def parsed(kind: str, spec: Mapping[str, Any]) -> Record | None:
    obj = example(kind)
    try:
        return MODELS[kind].model_validate({**obj, "spec": dict(spec)})
    except ValidationError:
        return None


def has_spec(kind: str) -> bool:
    return "spec" in MODELS[kind].model_fields and KIND_INFOS[kind].reconciled


async def gone(stage: Stage, key: Key, within_s: float = 200.0) -> bool:
    """Wait until a record that is being deleted is gone."""
    for _ in range(int(within_s)):
        if stage.platform.find(key) is None:
            return True
        await asyncio.sleep(1.0)
    return False


def _service(name: str) -> Mapping[str, Any]:
    """The spec of a Platform record of that name: any service does where the name is none."""
    return {"service": name if name in OFFERS else "ingress"}
