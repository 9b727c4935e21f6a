"""Every kind's record, through edits of every field by semantic type, deletions, harm, faults and
deaths of the control plane: whatever led there, it is what its spec says, and then at rest.
"""

from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.sim.conftest import Effort
from tests.sim.stage import candidates, has_spec
from tests.sim.transitions import Transitions
from tests.sim.worlds import WORLDS
from tests.support.weather import FOG, LIES, STORM, Climate

PICK = st.integers(0, 10_000)
WAIT_S = st.sampled_from([0.0, 0.05, 1.0, 15.0])
"""Whether the last step was seen, half carried out, or done when the next one comes."""


class KindMachine(RuleBasedStateMachine):
    """Rules are transitions; `it_settles` looks at what has come of them."""

    kind = ""

    def __init__(self) -> None:
        super().__init__()
        self.world = Transitions(self.kind)

    def teardown(self) -> None:
        try:
            self.it_settles()
        finally:
            self.world.close()

    @precondition(lambda self: has_spec(self.kind))
    @rule(pick=PICK, wait_s=WAIT_S)
    def edit(self, pick: int, wait_s: float) -> None:
        self.world.edit(pick, wait_s)

    @precondition(lambda self: has_spec(self.kind))
    @rule(pick=PICK, other=PICK)
    def edit_twice_at_once(self, pick: int, other: int) -> None:
        self.world.edit(pick, 0.0)
        self.world.edit(other, 1.0)

    @rule(wait_s=WAIT_S)
    def revert(self, wait_s: float) -> None:
        self.world.revert(wait_s)

    @rule(wait_s=WAIT_S)
    def remake(self, wait_s: float) -> None:
        self.world.remake(wait_s)

    @rule(pick=PICK, wait_s=WAIT_S)
    def harm(self, pick: int, wait_s: float) -> None:
        self.world.harm(pick, wait_s)

    @rule(pick=PICK, wait_s=WAIT_S)
    def meddle(self, pick: int, wait_s: float) -> None:
        self.world.meddle(pick, wait_s)

    @rule(wait_s=WAIT_S)
    def reboot(self, wait_s: float) -> None:
        self.world.reboot(wait_s)

    @rule(wait_s=WAIT_S)
    def kill(self, wait_s: float) -> None:
        self.world.kill(wait_s)

    @rule(climate=st.sampled_from([STORM, FOG, LIES]))
    def weather(self, climate: Climate) -> None:
        self.world.storm(climate)

    @rule()
    def clear(self) -> None:
        self.world.clear()

    @rule()
    def it_settles(self) -> None:
        found = self.world.check()
        assert found == [], "\n".join(found)


@pytest.mark.parametrize("kind", list(WORLDS))
def test_whatever_led_there_it_is_as_its_spec_says(kind: str, effort: Effort) -> None:
    machine = type(f"{kind}Machine", (KindMachine,), {"kind": kind})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=effort.examples,
            stateful_step_count=12,
            deadline=None,
            phases=effort.phases,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.fixture
def transitions(kind: str) -> Iterator[Transitions]:
    made = Transitions(kind)
    yield made
    made.close()


@pytest.mark.parametrize("kind", [kind for kind in WORLDS if has_spec(kind)])
def test_every_field_back_and_forth(transitions: Transitions, effort: Effort) -> None:
    """Other values of every field, and back: as a fresh one each time."""
    first = transitions.stage.spec(transitions.key)
    tried: Counter[str] = Counter()
    for field, spec in candidates(transitions.kind, first):
        tried[field] += 1
        if tried[field] > effort.values:
            continue
        transitions.put(spec)
        assert transitions.check() == [], f"with {field} = {spec.get(field)!r}"
        if not transitions.put(first):
            transitions.remake(1.0)
        assert transitions.check() == [], f"back from {field} = {spec.get(field)!r}"


@pytest.mark.parametrize("kind", list(WORLDS))
def test_every_harm_is_healed(transitions: Transitions) -> None:
    for what, name in transitions.harms():
        if transitions.stage.platform.engine.has_name(name):
            transitions.do_harm(what, name)
            assert transitions.check() == [], f"after {what} of {name}"
    transitions.reboot(1.0)
    assert transitions.check() == [], "after a reboot"


@pytest.mark.parametrize("kind", ["RecordSet"])
def test_computed_answers_where_the_zone_has_an_alias(transitions: Transitions) -> None:
    """They are left out and told, as any other answers there."""
    geo = [{"networks": ["198.51.100.0/24"], "records": ["192.0.2.10"]}]
    spec = {**transitions.stage.spec(transitions.key), "geo": geo}
    assert transitions.put(spec)
    assert transitions.check() == []
    assert transitions.put({**spec, "name": "www"})
    assert transitions.check() == []
    told = transitions.stage.platform.condition(transitions.key)
    assert (told["status"], told["reason"]) == ("False", "NotServed")
