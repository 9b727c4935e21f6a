"""From any history of edits, outside harm and faults, a kind settles where its spec says.

The oracle reads the fake engine and the spec, and knows nothing of plans: a reconciler that forgot
a kind of drift fails here even if its plans are consistent with themselves.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from controlplane.errors import ControlPlaneError, DriverUnavailableError, RetryableError
from drivers.containers import ContainerState, Limits
from drivers.fake.engine import CrashError
from resources.meta import Record
from tests.unit.reconcilers.world import NETWORK, UID, World

VERBS = st.sampled_from(
    ["ensure_container", "start_container", "delete_container", "list_containers"]
)
LOOK = st.booleans()
"""Whether it may settle right after a rule: drift of one kind hides behind that of another."""
RESOURCES = st.sampled_from([{"cpu": "100m", "memory": "64Mi"}, {"cpu": "250m", "memory": "128Mi"}])


class KindMachine(RuleBasedStateMachine):
    """One record of one kind, its world, and everyone who interferes."""

    spec: dict[str, Any]

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.world = World()
        self.run(self.world.network())
        self.foreign = self.world.engine.add_foreign("precious")

    def teardown(self) -> None:
        self.loop.close()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    def record(self, *, deleting: bool = False) -> Record:
        raise AssertionError("each machine has its own")

    def mine(self) -> list[ContainerState]:
        found = (c.state for c in self.world.engine.containers.values())
        return [state for state in found if state.owner is not None and state.owner.uid == UID]

    def attempt(self, record: Record) -> None:
        """Passes as the engine makes them: an error ends one, and the next begins afresh."""
        for _ in range(10):
            try:
                self.run(self.world.settle(record))
            except (ControlPlaneError, CrashError):
                continue
            return

    def settle(self, record: Record) -> None:
        self.world.engine.away = False
        self.attempt(record)
        before = sum(self.world.engine.writes.values()) + self.world.files.writes
        plan, _ = self.run(self.world.look(record))
        assert not plan.steps
        after = sum(self.world.engine.writes.values()) + self.world.files.writes
        assert after == before, "a converged pass wrote something"

    def look(self, now: bool) -> None:
        if now:
            self.it_settles()

    # -- others

    @rule(
        harm=st.sampled_from(["kill", "pause", "remove", "crash"]),
        which=st.integers(0, 3),
        look=LOOK,
    )
    def harm(self, harm: str, which: int, look: bool) -> None:
        if mine := self.mine():
            name = mine[which % len(mine)].name
            getattr(self.world.engine, harm)(name)
        self.look(look)

    @rule(which=st.integers(0, 3), name=st.sampled_from(["alpha", "beta"]), look=LOOK)
    def rename(self, which: int, name: str, look: bool) -> None:
        mine = self.mine()
        if mine and not self.world.engine.has_name(name):
            self.world.engine.rename(mine[which % len(mine)].name, name)
        self.look(look)

    @rule(which=st.integers(0, 3), pids=st.integers(1, 9), look=LOOK)
    def update(self, which: int, pids: int, look: bool) -> None:
        if mine := self.mine():
            self.world.engine.update(mine[which % len(mine)].name, Limits(1, 1, pids))
        self.look(look)

    @rule(which=st.integers(0, 3), look=LOOK)
    def disconnect(self, which: int, look: bool) -> None:
        if mine := self.mine():
            self.world.engine.disconnect(mine[which % len(mine)].name, NETWORK)
        self.look(look)

    @rule(look=LOOK)
    def network_made_anew(self, look: bool) -> None:
        self.world.engine.remove_network(NETWORK)
        self.run(self.world.network())
        self.look(look)

    @rule()
    def reboot(self) -> None:
        self.world.files.reboot()

    # -- faults

    @rule(verb=VERBS, lost=st.booleans(), away=st.booleans())
    def fault(self, verb: str, lost: bool, away: bool) -> None:
        error = DriverUnavailableError("docker", "planted") if away else RetryableError("planted")
        self.world.engine.fail_next(verb, error, reply_lost=lost)
        self.attempt(self.record())

    @rule(changes=st.integers(0, 5))
    def die(self, changes: int) -> None:
        """The control plane dies before the change after so many, and starts again."""
        self.world.engine.crash_after(changes)
        self.attempt(self.record())
        self.world.engine.crash_after(10**9)

    # -- always

    @invariant()
    def foreign_ones_are_untouched(self) -> None:
        assert self.world.engine.containers[self.foreign.id].state == self.foreign

    @invariant()
    def no_volume_is_ever_removed(self) -> None:
        assert self.world.engine.writes["remove_volume"] == 0

    @rule()
    def it_settles(self) -> None:
        """Twice in a row is once."""
        self.settle(self.record())
        self.check()

    @rule()
    def deleting_leaves_nothing(self) -> None:
        self.settle(self.record(deleting=True))
        assert not self.mine()
        assert not self.world.files.folders

    def check(self) -> None:
        """The oracle: what is, against what the spec says."""
        raise AssertionError("each machine has its own")

    def same_everywhere(self, state: ContainerState, limits: Limits) -> None:
        network = self.world.engine.network_named(NETWORK)
        assert network is not None
        assert state.running
        assert not state.paused
        assert state.limits == limits
        assert state.network_ids == {NETWORK: network.id}
        assert state.aliases == {NETWORK: ("shop",)}
