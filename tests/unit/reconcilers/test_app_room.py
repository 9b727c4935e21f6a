"""App: while one size becomes another, its containers never get more than it holds."""

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.plan import Plan
from drivers.containers import ContainerState, Limits
from drivers.fake.engine import Container
from drivers.probe import Target
from resources.app import App
from resources.meta import Footprint
from tests.unit.reconcilers.apps import NAME, slots
from tests.unit.reconcilers.test_rollout import DOMAIN, ingress_with
from tests.unit.reconcilers.world import NETWORK, World, app, names, world

MIB = 2**20
MOST_LOOKS = 80
"""Of the most that an example here has: 4 replicas and 2 to exchange them by, each made, corrected,
drained and removed once, three times over."""


def sized(replicas: int, memory: int, cpu: int = 100, **spec: Any) -> App:
    """Of 64 MiB and millicores, each."""
    size = {"cpu": f"{cpu}m", "memory": f"{64 * memory}Mi"}
    return app(replicas=replicas, resources=size, **spec)


def of_2(wanted: App) -> App:
    """The same of another image."""
    return wanted.model_copy(update={"spec": wanted.spec.model_copy(update={"image": "shop:2"})})


@dataclass(slots=True)
class Stepped:
    """An App whose plans are carried out one step at a time, with what it holds as the engine has
    it: an edit adds to it at once, and what isn't used goes back when there is nothing to do."""

    world: World
    routed: bool = False
    """Its ingress goes by what it is told, once there is nothing else to do."""
    fewest: int = 99
    """How many replicas were there at the fewest, since this was last set."""
    done: list[str] = field(default_factory=list)

    def states(self) -> list[ContainerState]:
        return [each.state for each in self.world.engine.containers.values()]

    def used(self) -> Footprint:
        return sum(
            (Footprint(s.limits.cpu_millicores, s.limits.memory_bytes) for s in self.states()),
            Footprint(),
        )

    async def look(self, wanted: App) -> Plan[Any]:
        """One plan, carried out."""
        self.world.held = self.world.held.at_least(wanted.footprint)
        plan, report = await self.world.look(wanted)
        for step in plan.steps:
            await self.world.reconciler("App").apply(step)
            self.done.append(type(step).__name__)
            assert self.used().fits(self.world.held), self.done
        self.fewest = min(self.fewest, len(self.states()))
        if not plan.steps:
            assert report.in_use is not None
            self.world.held = wanted.footprint.at_least(report.in_use)
            assert self.used().fits(self.world.held)
            if self.routed:
                told = report.status.model_dump()["backends"]
                self.world.services = {"ingress": ingress_with(list(told))}
        return plan

    async def until_it_rests(self, wanted: App) -> Plan[Any]:
        self.done.clear()
        for _ in range(MOST_LOOKS):
            plan = await self.look(wanted)
            if not plan.steps:
                return plan
        raise AssertionError(f"no end of it: {self.done}")

    def sick(self, *slots_: int) -> None:
        """Those in these slots don't answer."""
        for slot in slots_:
            if found := slots(self.world).get(str(slot)):
                self.world.probe.hanging.add((found.state.networks[NETWORK], 80))

    def without_an_answer(self, image: str) -> None:
        """None of this image serves."""

        def refuses(target: Target) -> bool:
            found = [each for each in self.states() if each.image == image]
            return target.address in {each.networks[NETWORK] for each in found}

        self.world.probe.refuses = refuses

    def serving(self) -> list[str]:
        """What it is that serves, by image."""
        found = [(each.image, Target(each.networks[NETWORK], 80)) for each in self.states()]
        return sorted(image for image, target in found if not self.world.probe.refuses(target))

    def is_as_wanted(self, wanted: App) -> bool:
        spec = wanted.spec
        limits = Limits(spec.resources.cpu, spec.resources.memory)
        found = [(state.image, state.limits) for state in self.states()]
        return found == [(spec.image, limits)] * spec.replicas


async def running(wanted: App, *, routed: bool = False) -> Stepped:
    made = Stepped(await world(), routed)
    assert (await made.until_it_rests(wanted)).converged
    return made


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(sized(4, 1), sized(1, 4), id="fewer and larger"),
        pytest.param(sized(1, 4), sized(4, 1), id="more and smaller"),
        pytest.param(sized(1, 24), sized(4, 6, image="shop:2"), id="and another image"),
        pytest.param(sized(4, 1), sized(1, 4, image="shop:2"), id="fewer, larger, another image"),
        pytest.param(sized(2, 3), sized(2, 2, surge=1, image="shop:2"), id="surge is raised"),
        pytest.param(sized(1, 6), sized(1, 3, surge=1, image="shop:2"), id="of a single one"),
        pytest.param(sized(2, 2, surge=2), sized(4, 2, image="shop:2"), id="surge is used up"),
        pytest.param(sized(2, 1, cpu=400), sized(2, 4, cpu=100), id="more memory and less CPU"),
        pytest.param(sized(4, 4, cpu=100), sized(2, 2, cpu=200), id="fewer, of more CPU"),
        pytest.param(
            sized(1, 4, cpu=100), sized(4, 4, cpu=25, image="shop:2"), id="of less CPU, more"
        ),
    ],
)
async def test_one_size_becomes_another_within_what_it_holds(old: App, new: App) -> None:
    made = await running(old)
    assert (await made.until_it_rests(new)).converged
    assert made.is_as_wanted(new)


async def test_one_that_stays_gets_more_once_those_that_leave_have_gone() -> None:
    made = await running(sized(4, 1, domains=DOMAIN))
    backends = [f"{state.networks[NETWORK]}:80" for state in made.states()]
    made.world.services = {"ingress": ingress_with(backends)}
    wanted = sized(1, 4, domains=DOMAIN)
    plan = await made.until_it_rests(wanted)
    assert plan.wait is not None
    assert plan.wait.reason == "Draining"
    assert {state.limits.memory_bytes for state in made.states()} == {64 * MIB}
    made.world.services = {"ingress": ingress_with(backends[:1])}
    assert (await made.until_it_rests(wanted)).converged
    assert made.is_as_wanted(wanted)


async def test_where_there_is_no_room_for_more_an_old_one_goes_before_they_come() -> None:
    made = await running(sized(1, 24))
    wanted = sized(4, 6, image="shop:2")
    await made.look(wanted)
    assert [state.image for state in made.states()] == ["shop:2"]
    await made.look(wanted)
    assert len(made.states()) == 4


async def test_of_those_that_are_missing_as_many_come_as_there_is_room_for() -> None:
    made = await running(sized(2, 3))
    made.fewest = 99
    wanted = sized(5, 1, image="shop:2")
    made.world.held = wanted.footprint.at_least(sized(2, 3).footprint) + Footprint(200, 128 * MIB)
    await made.look(wanted)
    assert sorted(state.image for state in made.states()) == ["shop:1"] * 2 + ["shop:2"] * 2
    assert (await made.until_it_rests(wanted)).converged
    assert made.is_as_wanted(wanted)
    assert made.fewest >= 2


async def test_an_old_one_that_serves_stays_while_a_new_one_does_not() -> None:
    made = await running(sized(2, 4))
    wanted = sized(4, 2, image="shop:2")
    made.world.probe.refuses = lambda target: target.address not in served
    served = {state.networks[NETWORK] for state in made.states()}
    await made.until_it_rests(wanted)
    assert sorted(state.image for state in made.states()) == ["shop:1", "shop:2", "shop:2"]
    made.world.probe.refuses = lambda _: False
    assert (await made.until_it_rests(wanted)).converged
    assert made.is_as_wanted(wanted)


async def test_the_one_whose_successor_fits_in_its_place_goes_first() -> None:
    made = await running(sized(2, 2))
    made.world.engine.update(f"{NAME}-0", Limits(100, 64 * MIB))
    made.world.engine.update(f"{NAME}-1", Limits(100, 3 * 64 * MIB))
    made.fewest = 99
    wanted = sized(2, 2, image="shop:2")
    await made.look(wanted)
    assert {slot: c.state.image for slot, c in slots(made.world).items()} == {
        "0": "shop:1",
        "1": "shop:2",
    }
    assert (await made.until_it_rests(wanted)).converged
    assert made.is_as_wanted(wanted)
    assert made.fewest == 2


async def test_what_fits_in_no_ones_place_comes_once_more_have_gone() -> None:
    made = await running(sized(2, 2, cpu=200))
    made.world.engine.update(f"{NAME}-0", Limits(100, 3 * 64 * MIB))
    made.world.engine.update(f"{NAME}-1", Limits(300, 64 * MIB))
    wanted = sized(2, 2, cpu=200, image="shop:2")
    assert (await made.until_it_rests(wanted)).converged
    assert made.is_as_wanted(wanted)


async def test_limits_that_block_each_other_are_brought_down_before_any_is_raised() -> None:
    made = await running(sized(2, 2, cpu=200))
    made.world.engine.update(f"{NAME}-0", Limits(100, 3 * 64 * MIB))
    made.world.engine.update(f"{NAME}-1", Limits(300, 64 * MIB))
    wanted = sized(2, 2, cpu=200)
    assert (await made.until_it_rests(wanted)).converged
    assert made.is_as_wanted(wanted)
    assert set(made.done) == {"FixContainer"}


@pytest.mark.parametrize(
    ("old", "new", "larger", "serve"),
    [
        pytest.param(sized(2, 16), sized(2, 8), sized(2, 12), 1, id="memory"),
        pytest.param(sized(2, 2, 200), sized(2, 2, 100), sized(2, 2, 150), 1, id="CPU"),
        pytest.param(
            sized(1, 16, surge=1), sized(1, 8, surge=1), sized(1, 12, surge=1), 1, id="surge"
        ),
        pytest.param(sized(3, 16), sized(3, 8), sized(3, 13), 2, id="three"),
        pytest.param(sized(2, 16), sized(2, 8), sized(1, 12), 1, id="fewer, as a stand-in"),
        pytest.param(sized(3, 16, 200), sized(6, 8), sized(4, 12), 2, id="more, then fewer"),
    ],
)
async def test_what_serves_stays_over_a_second_edit_while_the_new_ones_do_not_serve(
    old: App, new: App, larger: App, serve: int
) -> None:
    """The room of the first exchange is kept until it is over."""
    made = await running(old)
    made.without_an_answer("shop:2")
    for wanted in (of_2(new), of_2(larger)):
        assert (await made.until_it_rests(wanted)).wait is not None
        assert made.serving() == ["shop:1"] * serve
    assert made.world.held == of_2(larger).footprint.at_least(old.footprint)
    made.world.probe.refuses = lambda _: False
    assert (await made.until_it_rests(of_2(larger))).converged
    assert made.is_as_wanted(of_2(larger))
    assert made.world.held == larger.footprint


async def test_an_exchange_that_cannot_end_keeps_no_room_for_those_that_went() -> None:
    made = await running(sized(10, 1))
    made.without_an_answer("shop:2")
    for wanted in (of_2(sized(10, 1)), of_2(sized(2, 1))):
        assert (await made.until_it_rests(wanted)).wait is not None
    assert made.serving() == ["shop:1"] * 2
    assert made.world.held.memory_bytes <= 5 * 64 * MIB


async def test_the_room_for_surge_is_kept_while_an_exchange_waits_for_a_secret() -> None:
    made = await running(sized(1, 4, surge=1))
    made.fewest = 99
    wanted = sized(1, 3, surge=1, image="shop:2", envFrom=[{"secretRef": {"name": "s"}}])
    assert (await made.until_it_rests(wanted)).wait is not None
    made.world.values.data[("Secret", "s")] = {"KEY": b"one"}
    assert (await made.until_it_rests(wanted)).converged
    assert made.is_as_wanted(wanted)
    assert made.fewest == 1
    assert made.done.index("RunContainer") < made.done.index("RemoveContainer")
    assert made.world.held == wanted.footprint


async def test_one_that_was_given_more_by_hand_is_charged_for_it_until_it_is_exchanged() -> None:
    made = await running(sized(2, 2))
    made.without_an_answer("shop:2")
    wanted = sized(2, 2, image="shop:2")
    await made.until_it_rests(wanted)
    made.world.engine.update(f"{NAME}-1", Limits(300, 9 * 64 * MIB))
    await made.until_it_rests(wanted)
    assert made.serving() == ["shop:1"]
    made.world.probe.refuses = lambda _: False
    assert (await made.until_it_rests(wanted)).converged
    assert made.world.held == wanted.footprint


async def test_one_that_lacks_the_room_to_serve_gets_it_from_others_like_it() -> None:
    """Killed for want of memory, say; the old one is the only one that serves."""
    made = await running(sized(2, 6))
    made.without_an_answer("shop:2")
    await made.until_it_rests(sized(4, 3, image="shop:2"))
    assert len(made.states()) == 3
    wanted = sized(3, 4, image="shop:2")
    assert (await made.until_it_rests(wanted)).wait is not None
    found = sorted((state.image, state.limits.memory_bytes // MIB) for state in made.states())
    assert found == [("shop:1", 384), ("shop:2", 256)]
    made.world.probe.refuses = lambda _: False
    assert (await made.until_it_rests(wanted)).converged
    assert made.is_as_wanted(wanted)


async def test_where_no_other_has_the_room_to_serve_it_comes_from_an_old_one() -> None:
    made = await running(sized(1, 4))
    made.without_an_answer("shop:2")
    await made.until_it_rests(sized(5, 1, image="shop:2"))
    assert len(made.states()) == 2
    wanted = sized(2, 2, image="shop:2")
    await made.until_it_rests(wanted)
    assert made.is_as_wanted(wanted)


async def test_those_that_stand_in_get_no_more_than_they_have() -> None:
    made = await running(sized(3, 1, port=None))
    made.world.engine.crash(f"{NAME}-0")
    made.world.held = sized(9, 1).footprint
    wanted = sized(1, 2, port=None)
    await made.until_it_rests(wanted)
    found = {slot: c.state.limits.memory_bytes // MIB for slot, c in slots(made.world).items()}
    assert found == {"0": 128, "1": 64}
    made.world.clock.elapsed_s = 60.0
    assert (await made.until_it_rests(wanted)).converged
    assert made.is_as_wanted(wanted)


async def test_one_that_was_given_more_by_hand_is_brought_back_and_takes_room_until_then() -> None:
    made = await running(sized(2, 1))
    made.world.engine.update(f"{NAME}-1", Limits(0, 0))  # as the engine has it: no limits
    wanted = sized(3, 1)
    plan, _ = await made.world.look(wanted)
    made.world.held = wanted.footprint
    assert names(plan) == ["FixContainer", "RunContainer"]
    assert (await made.until_it_rests(wanted)).converged
    assert made.is_as_wanted(wanted)


async def test_a_second_one_of_a_slot_changes_nothing_of_the_first_until_it_goes() -> None:
    """Someone renamed it, say, and another took its place."""
    made = await running(sized(1, 4, domains=DOMAIN), routed=True)
    (first,) = slots(made.world).values()
    second = replace(first.state, id="second", name="zz", networks={NETWORK: "10.201.0.77"})
    made.world.engine.containers["second"] = Container(second, first.spec)
    backends = [f"{state.networks[NETWORK]}:80" for state in made.states()]
    made.world.services = {"ingress": ingress_with(backends)}
    made.world.held = sized(2, 4).footprint
    wanted = sized(1, 1, domains=DOMAIN)
    assert (await made.until_it_rests(wanted)).wait is not None
    assert made.done == ["FixContainer"]
    found = {state.name: state.limits.memory_bytes // MIB for state in made.states()}
    assert found == {f"{NAME}-0": 64, "zz": 256}
    assert made.world.held.memory_bytes == 320 * MIB
    assert (await made.until_it_rests(wanted)).converged
    assert made.is_as_wanted(wanted)


SPECS = st.builds(
    sized,
    st.integers(0, 4),
    st.integers(1, 4),
    cpu=st.sampled_from((50, 100, 150, 200)),
    surge=st.integers(0, 2),
    image=st.sampled_from(("shop:1", "shop:2")),
    domains=st.just(DOMAIN),
)


@given(
    routed=st.booleans(),
    first=SPECS,
    edits=st.lists(
        st.tuples(SPECS, st.integers(0, 4), st.sets(st.integers(0, 5), max_size=2)),
        min_size=1,
        max_size=3,
    ),
)
def test_any_edits_end_as_the_last_one_says_and_never_take_more_than_is_held(
    routed: bool, first: App, edits: list[tuple[App, int, set[int]]]
) -> None:
    """Each edit is carried out for a few plans, while some replicas don't serve; the last one to
    its end, once they do."""

    async def main() -> None:
        made = await running(first, routed=routed)
        last = first
        for last, looks, sick in edits:
            made.sick(*sick)
            for _ in range(looks):
                await made.look(last)
        await made.until_it_rests(last)
        made.world.probe.hanging.clear()
        plan = await made.until_it_rests(last)
        for _ in range(MOST_LOOKS):
            if plan.wait is None or plan.wait.reason != "Draining":
                break
            plan = await made.until_it_rests(last)
        assert plan.converged, plan
        assert made.is_as_wanted(last)

    asyncio.run(main())
