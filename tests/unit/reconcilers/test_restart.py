"""A restart of an App: every replica is made anew, one by one, once, and only when asked for."""

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from controlplane.plan import Plan
from drivers.containers import LABEL_RESTARTED
from drivers.digest import container_digest
from reconcilers._container import RemoveContainer, RunContainer
from tests.unit.reconcilers.world import World, app

NOON = "2026-01-31T12:00:00Z"
LATER = "2026-01-31T13:00:00+01:00"
"""The same moment, but asked for anew."""


async def world_of(**spec: Any) -> World:
    made = World()
    await made.network()
    assert (await made.settle(app(**spec))).ready
    return made


def ids(world: World) -> set[str]:
    return set(world.engine.containers)


async def test_each_replica_is_replaced_in_its_turn() -> None:
    world = await world_of(replicas=3)
    old = ids(world)
    wanted = app(replicas=3, restartedAt=NOON)
    for left in (2, 1, 0):
        plan, report = await world.look(wanted)
        away, come = plan.steps
        assert isinstance(away, RemoveContainer)
        assert isinstance(come, RunContainer)
        assert away.container_id in old
        assert report.status.model_dump()["updatedReplicas"] == 2 - left
        for step in plan.steps:
            await world.reconciler("App").apply(step)
        assert len(ids(world)) == 3
        assert len(ids(world) & old) == left
    assert (await world.settle(wanted)).ready
    assert (await world.look(wanted))[0] == Plan()


async def test_with_surge_the_new_one_comes_before_the_old_one_goes() -> None:
    world = await world_of(surge=1)
    wanted = app(surge=1, restartedAt=NOON)
    seen = [type(step) for step in (await world.look(wanted))[0].steps]
    assert seen == [RunContainer]
    assert (await world.settle(wanted)).ready
    assert len(ids(world)) == 1


@pytest.mark.parametrize(
    ("before", "after", "replaced"),
    [
        pytest.param(None, NOON, True, id="first"),
        pytest.param(NOON, LATER, True, id="again"),
        pytest.param(LATER, NOON, True, id="by an older manifest that asks for one itself"),
        pytest.param(NOON, NOON, False, id="the same one"),
        pytest.param(NOON, None, False, id="taken out"),
        pytest.param(None, None, False, id="never"),
    ],
)
async def test_only_another_time_replaces(
    before: str | None, after: str | None, replaced: bool
) -> None:
    world = await world_of(restartedAt=before)
    old = ids(world)
    assert (await world.settle(app(restartedAt=after))).ready
    assert (ids(world) != old) == replaced


async def test_one_made_for_a_restart_that_is_taken_out_is_still_replaced_by_a_change() -> None:
    world = await world_of(restartedAt=NOON)
    await world.settle(app(image="shop:2"))
    (left,) = world.engine.containers.values()
    assert left.state.image == "shop:2"
    assert LABEL_RESTARTED not in left.state.labels


async def test_without_one_containers_are_what_they_always_were() -> None:
    world = await world_of()
    (made,) = world.engine.containers.values()
    assert made.spec is not None
    assert LABEL_RESTARTED not in made.spec.labels
    assert made.state.digest == container_digest(made.spec)


async def test_a_label_that_the_image_brings_is_no_restart() -> None:
    world = await world_of()
    (made,) = world.engine.containers.values()
    labels = {**made.state.labels, LABEL_RESTARTED: NOON}
    made.state = replace(made.state, labels=labels)
    assert (await world.look(app()))[0] == Plan()


@pytest.mark.parametrize(
    "when",
    [
        "now",
        "",
        "2026-01-31",
        "2026-01-31T12:00:00",
        "2026-02-30T12:00:00Z",
        "2026-01-31T25:00:00Z",
        "2026-01-31T12:00:00+24:00",
        "2026-01-31T12:00:00Z\n",
        "2026-01-31T12:00:00." + "0" * 40 + "Z",
        1769860800,
    ],
)
def test_what_is_no_time_is_refused(when: object) -> None:
    with pytest.raises(ValidationError) as told:
        app(restartedAt=when)
    assert [error["loc"] for error in told.value.errors()] == [("spec", "restartedAt")]


@pytest.mark.parametrize("when", [NOON, LATER, "2026-01-31T12:00:00.123456789-00:30"])
def test_any_time_is_kept_as_it_is_written(when: str) -> None:
    assert app(restartedAt=when).spec.restarted_at == when
