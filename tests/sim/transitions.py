"""One record of one kind under edits of every field, deletions, harm and faults: a state machine
derived from the kind's schema, driven step by step in virtual time.
"""

import asyncio
import random
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson

from controlplane.records import Key
from drivers.containers import Limits
from tests.sim.check import Watch, excused, problems, restless
from tests.sim.meddling import meddlings
from tests.sim.stage import LATE_S, READY_S, SOON_S, Outcome, Stage, acceptable, candidates, gone
from tests.sim.strangers import Strangers
from tests.sim.worlds import WORLDS, example
from tests.support.faults import Tracer
from tests.support.figures import tell
from tests.support.virtual import new_loop
from tests.support.weather import STORM, Climate, Weather

T = TypeVar("T")
HARMS = ("kill", "pause", "remove", "crash", "rename", "update", "disconnect")
_fresh: dict[tuple[str, bytes, tuple[tuple[str, str, str, bytes], ...]], Outcome | None] = {}


@dataclass(slots=True)
class Transitions:
    """Everything a state machine may do to its record; each method is one transition."""

    kind: str
    stage: Stage = field(init=False)
    watch: Watch = field(default_factory=Watch)
    weather: Weather = field(default_factory=lambda: Weather(random.Random(0)))
    strangers: Strangers = field(init=False)
    loop: asyncio.AbstractEventLoop = field(default_factory=new_loop)
    count: int = 0
    specs: list[dict[str, Any]] = field(default_factory=list)
    _keeper: "asyncio.Task[None] | None" = None
    _done: asyncio.Event = field(default_factory=asyncio.Event)
    _harmed: bool = False

    def __post_init__(self) -> None:
        self.stage = Stage(Tracer(weather=self.weather))
        self.stage.watchers.append(self.watch)
        self.strangers = Strangers.on(self.stage)
        self._keeper = self.loop.create_task(self._keep())
        self.run(self.stage.platform.settle(2))
        self.run(self.stage.make(self.kind))
        self.run(self.stage.platform.settle(READY_S))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    async def _keep(self) -> None:
        async with self.stage.supervised():
            await self._done.wait()

    def close(self) -> None:
        self._done.set()
        assert self._keeper is not None
        self.run(asyncio.wait_for(self._keeper, 300))
        self.loop.close()
        tell("transitions", self.count, kind=self.kind)

    @property
    def key(self) -> Key:
        meta = example(self.kind)["metadata"]
        return Key(self.kind, meta.get("namespace", ""), meta["name"])

    # --- transitions ---

    def edit(self, pick: int, wait_s: float) -> None:
        spec = self.stage.spec(self.key)
        found = candidates(self.kind, spec)
        if not found:
            return
        self.specs.append(spec)
        self.run(self.stage.edit(self.key, found[pick % len(found)][1]))
        self._step(wait_s)

    def put(self, spec: dict[str, Any], wait_s: float = 1.0) -> bool:
        """Give it this spec; False where the API would not take it as an edit."""
        before = self.stage.spec(self.key)
        if not acceptable(self.kind, spec, before):
            return False
        self.specs.append(before)
        self.run(self.stage.edit(self.key, spec))
        self._step(wait_s)
        return True

    def revert(self, wait_s: float) -> None:
        """Back to an earlier spec, where the API takes it back."""
        spec = self.stage.spec(self.key)
        for earlier in reversed(self.specs):
            if any(each == earlier for _, each in candidates(self.kind, spec)):
                self.run(self.stage.edit(self.key, earlier))
                break
        self._step(wait_s)

    def remake(self, wait_s: float) -> None:
        """Delete it, and make it again as it was in the beginning."""
        if not WORLDS[self.kind].lives:
            return
        self.clear()
        self.specs.append(self.stage.spec(self.key))
        self.run(self.stage.platform.delete(self.key))
        assert self.run(gone(self.stage, self.key, 1400)), f"{self.key} is never gone"
        self.run(self.stage.make(self.kind))
        self._step(wait_s)

    def harm(self, pick: int, wait_s: float) -> None:
        """Somebody acts outside, behind our back."""
        rng = random.Random(pick)
        if found := self.harms():
            self.do_harm(*rng.choice(found))
        self._step(wait_s)

    def harms(self) -> list[tuple[str, str]]:
        """Every harm to every container there is."""
        engine = self.stage.platform.engine
        mine = sorted(c.state.name for c in engine.containers.values() if engine.is_ours(c.state))
        return [(what, name) for what in HARMS for name in mine]

    def do_harm(self, what: str, name: str) -> None:
        self.stage.adopted = True
        engine = self.stage.platform.engine
        match what:
            case "rename":
                if not engine.has_name("alpha"):
                    engine.rename(name, "alpha")
            case "update":
                engine.update(name, Limits(1, 1, 1))
            case "disconnect":
                for network in list(engine.by_name(name).state.networks):
                    engine.disconnect(name, network)
            case _:
                getattr(engine, what)(name)

    def meddle(self, pick: int, wait_s: float) -> None:
        """Somebody changes something on a server, or a file."""
        if found := meddlings(self.stage.platform):
            found[pick % len(found)].do()
        self._undone()
        self._step(wait_s)

    def reboot(self, wait_s: float) -> None:
        """What lies in memory is gone."""
        self.stage.platform.files.reboot()
        self._undone()
        self._step(wait_s)

    def _undone(self) -> None:
        # twice in a row it looks like steps that don't work, and told as such is right
        self._harmed, self.watch.bugs = True, False

    def kill(self, wait_s: float) -> None:
        self.stage.kill()
        self._step(wait_s)

    def storm(self, climate: Climate = STORM, seconds: float = 20.0) -> None:
        self.weather.climate = climate
        # what is done for a lie may well be needed again without having worked
        self.watch.bugs = self.watch.bugs and climate == STORM
        self._step(seconds)

    def clear(self) -> None:
        self.weather.climate = Climate()

    def _step(self, wait_s: float) -> None:
        self.count += 1
        self.run(self.stage.platform.settle(wait_s))

    # --- what must hold ---

    def check(self) -> list[str]:
        """All oracles, once everything has come to rest."""
        stormy = not (self.weather.climate.calm and self.watch.bugs)
        self.clear()
        self.count += 1
        self.run(self.stage.platform.settle(LATE_S if stormy or self._harmed else SOON_S))
        self._harmed = self.stage.adopted = False
        self.watch.bugs = True
        found = [*self.watch.problems, *self.stage.breaches, *self.strangers.untouched(self.stage)]
        found += problems(self.stage)
        found += self._unlike_fresh()
        return found + self.run(restless(self.stage))

    def _unlike_fresh(self) -> list[str]:
        """Wherever it came from, it is what one made so from the start is."""
        stored = self.stage.platform.get(self.key)
        world = WORLDS[self.kind]
        spec = self.stage.spec(self.key)
        if excused(self.stage, stored) or not world.comparable(self.specs, spec):
            return []
        others = self._others()
        cache = (self.kind, orjson.dumps(spec, option=orjson.OPT_SORT_KEYS), others)
        if cache not in _fresh:
            _fresh[cache] = fresh(self.kind, spec, others)
        mine, made = self.stage.outcome(), _fresh[cache]
        if made is None or (mine.world, mine.lasting) == (made.world, made.lasting):
            return []
        return [f"{self.key} is not as a fresh one:\n{made.unlike(mine)}"]

    def _others(self) -> tuple[tuple[str, str, str, bytes], ...]:
        """Records that a user made beside it, in the order of making: kind, namespace, name and
        spec."""
        writes = self.stage.platform.store.writes
        made = [w.key for w in writes if w.verb == "create" and w.epoch is None]
        found = []
        for key in dict.fromkeys(key for key in made if key != self.key):
            stored = self.stage.platform.find(key)
            if stored is not None:
                spec = orjson.dumps(stored.obj.get("spec"), option=orjson.OPT_SORT_KEYS)
                found.append((key.kind, key.namespace, key.name, spec))
        return tuple(found)


def fresh(
    kind: str, spec: dict[str, Any], others: tuple[tuple[str, str, str, bytes], ...]
) -> Outcome | None:
    """What a new platform comes to with this record, beside the same others; None if it isn't
    Ready so. What already runs goes on where a new one must wait, and is not compared."""
    loop = new_loop()

    async def main() -> Outcome | None:
        stage = Stage()
        Strangers.on(stage)
        async with stage.supervised():
            await stage.platform.settle(2)
            for of, namespace, name, wanted in others:
                await stage.provide_one(of, namespace, name, orjson.loads(wanted))
            await stage.platform.settle(READY_S)
            key = await stage.make(kind, spec)
            await stage.platform.settle(SOON_S)
            return stage.outcome() if stage.platform.ready(key) else None

    try:
        return loop.run_until_complete(main())
    finally:
        loop.close()
