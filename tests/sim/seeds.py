"""A schedule from one number: users, harm, weather and deaths on a whole platform, then calm.

One by hand: `python -m tests.sim.seeds 4711` tells what happened and what was wrong in the end.
"""

import os
import random
import sys
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from controlplane.errors import ControlPlaneError
from controlplane.records import Key
from tests.sim.check import Watch, problems, restless
from tests.sim.meddling import meddlings
from tests.sim.stage import LATE_S, READY_S, Stage, candidates, has_spec
from tests.sim.strangers import Strangers
from tests.sim.worlds import WORLDS, example
from tests.support.faults import Tracer
from tests.support.memory import LaggingStore, MemoryStore
from tests.support.platform import Platform
from tests.support.quiet import quiet
from tests.support.virtual import run
from tests.support.weather import FOG, LIES, STORM, Climate, Weather

ACTS: Final = 14
PAUSES_S: Final = (0.0, 0.0, 0.01, 0.3, 2.0, 20.0)
CLIMATES: Final = (Climate(), Climate(slow=0.3), STORM, FOG, LIES)


@dataclass(slots=True)
class Schedule:
    """What one seed leads to."""

    seed: int
    rng: random.Random = field(init=False)
    stage: Stage = field(init=False)
    watch: Watch = field(default_factory=lambda: Watch(bugs=False))
    weather: Weather = field(init=False)
    told: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.weather = Weather(self.rng)
        late = self.rng.random() < 0.5
        store = LaggingStore(rng=self.rng) if late else MemoryStore()
        self.stage = Stage(Tracer(weather=self.weather), Platform(store=store))
        self.stage.platform.seed = self.seed
        self.stage.watchers.append(self.watch)
        self.stage.adopted = True

    async def play(self) -> list[str]:
        """The whole schedule; returns what was wrong."""
        strangers = Strangers.on(self.stage)
        async with self.stage.supervised():
            await self.stage.platform.settle(2)
            kinds = [kind for kind, world in WORLDS.items() if world.lives]
            for kind in self.rng.sample(kinds, min(3, len(kinds))):
                await self._quietly(self._make, kind)
            await self.stage.platform.settle(self.rng.choice((0.5, READY_S)))
            for _ in range(ACTS):
                act = self.rng.choice(self._acts())
                await self._quietly(act, self.rng.choice(list(WORLDS)))
                await self.stage.platform.settle(self.rng.choice(PAUSES_S))
            self.weather.climate = Climate()
            await self.stage.platform.settle(LATE_S)
            found = [*self.watch.problems, *strangers.untouched(self.stage)]
            return found + problems(self.stage) + await restless(self.stage)

    def _acts(self) -> list[Callable[[str], Awaitable[None]]]:
        return [self._edit, self._edit, self._edit, self._make, self._make, self._delete,
                self._harm, self._harm, self._meddle, self._kill, self._change_weather,
                self._reboot]  # fmt: skip

    async def _quietly(self, act: Callable[[str], Awaitable[None]], kind: str) -> None:
        """A user's request may be refused, and that is all right."""
        try:
            await act(kind)
        except (ControlPlaneError, AssertionError) as exc:
            # or the record went while its editor tried again
            self._tell(f"refused: {exc}")

    def _tell(self, what: str) -> None:
        self.told.append(what)

    # --- acts ---

    async def _make(self, kind: str) -> None:
        if WORLDS[kind].lives:
            self._tell(f"make {kind}")
            await self.stage.make(kind)

    async def _edit(self, kind: str) -> None:
        key = _key(kind)
        if self.stage.platform.find(key) is None or not has_spec(kind) or kind == "Host":
            return
        found = candidates(kind, self.stage.spec(key))
        if found:
            name, spec = self.rng.choice(found)
            self._tell(f"edit {key}: {name} = {spec.get(name)!r}")
            await self.stage.edit(key, spec)

    async def _delete(self, kind: str) -> None:
        key = _key(kind)
        if self.stage.platform.find(key) is not None and WORLDS[kind].lives:
            self._tell(f"delete {key}")
            how = self.rng.choice(("Background", "Foreground", "Orphan"))
            await self.stage.platform.delete(key, how)

    async def _harm(self, kind: str) -> None:
        del kind
        engine = self.stage.platform.engine
        mine = sorted(c.state.name for c in engine.containers.values() if engine.is_ours(c.state))
        if mine:
            what, name = (
                self.rng.choice(("kill", "pause", "remove", "crash")),
                self.rng.choice(mine),
            )
            self._tell(f"{what} {name}")
            getattr(engine, what)(name)

    async def _meddle(self, kind: str) -> None:
        del kind
        if found := meddlings(self.stage.platform):
            meddling = self.rng.choice(found)
            self._tell(f"meddle: {meddling}")
            meddling.do()

    async def _reboot(self, kind: str) -> None:
        del kind
        self._tell("lose what is in memory")
        self.stage.platform.files.reboot()

    async def _kill(self, kind: str) -> None:
        del kind
        self._tell("kill the control plane")
        self.stage.kill()

    async def _change_weather(self, kind: str) -> None:
        del kind
        self.weather.climate = self.rng.choice(CLIMATES)
        self._tell(f"weather: {self.weather.climate}")


def _key(kind: str) -> Key:
    meta = example(kind)["metadata"]
    return Key(kind, meta.get("namespace", ""), meta["name"])


def wrong(seed: int) -> str:
    """What is wrong in the end of one seed's schedule; empty if nothing is."""
    schedule = Schedule(seed)
    try:
        found = run(schedule.play, seed=seed)
    except Exception:  # noqa: BLE001  # of an oracle or the stage: of this seed, not of the others
        found = [traceback.format_exc()]
    if not found:
        return ""
    return "\n".join([*found, "after:", *schedule.told, f"again: python -m tests.sim.seeds {seed}"])


def main(argv: list[str]) -> int:
    quiet()
    if os.environ.get("PYTHONHASHSEED") != "0":
        # the order of sets is part of a schedule
        os.execve(sys.executable, [sys.executable, "-m", "tests.sim.seeds", *argv],
                  {**os.environ, "PYTHONHASHSEED": "0"})  # fmt: skip
    bad = 0
    first, last = int(argv[0]), int(argv[-1])
    for seed in range(first, last + 1):
        if problem := wrong(seed):
            bad += 1
            print(f"seed {seed}:\n{problem}")
    print(f"{last - first + 1 - bad} schedules were right, {bad} were wrong")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
