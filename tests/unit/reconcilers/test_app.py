"""What is planned for an App, and that its plans lead where the spec says."""

from dataclasses import replace
from typing import Any

import pytest

from controlplane.errors import RetryableError
from controlplane.plan import Plan
from drivers.containers import LABEL_SLOT, Limits
from drivers.fake.engine import Container
from resources.meta import Footprint
from tests.unit.reconcilers.apps import NAME, slots
from tests.unit.reconcilers.test_app_room import of_2, running, sized
from tests.unit.reconcilers.world import NETWORK, UID, World, app, names, world


async def test_it_runs_as_the_spec_says() -> None:
    made = await world()
    wanted = app(
        replicas=2,
        command=["serve", "now"],
        env=[{"name": "A", "value": "b"}],
        resources={"cpu": "100m", "memory": "64Mi"},
    )
    report = await made.settle(wanted)
    assert report.ready
    assert report.reason == "Serving"
    assert (report.status.model_dump()["serving"], report.in_use) == (
        "2/2",
        Footprint(200, 128 * 2**20, 0),
    )
    for slot, container in slots(made).items():
        spec = container.spec
        assert spec is not None
        assert container.state.name == f"{NAME}-{slot}"
        assert (spec.image, spec.command, spec.env) == ("shop:1", ("serve", "now"), {"A": "b"})
        assert container.state.limits == Limits(100, 64 * 2**20)
        assert container.state.aliases == {NETWORK: ("shop",)}
        assert container.state.running


async def test_a_converged_app_plans_nothing_and_is_asked_again_in_time() -> None:
    made = await world()
    wanted = app(replicas=2, healthCheck={"path": "/healthz", "intervalSeconds": 7})
    await made.settle(wanted)
    before = dict(made.engine.writes)
    plan, report = await made.look(wanted)
    assert plan == Plan()
    assert report.recheck_after_s == 7.0
    assert dict(made.engine.writes) == before


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(lambda e: e.kill(f"{NAME}-0"), id="killed"),
        pytest.param(lambda e: e.pause(f"{NAME}-0"), id="paused"),
        pytest.param(lambda e: e.remove(f"{NAME}-0"), id="removed"),
        pytest.param(lambda e: e.rename(f"{NAME}-0", "other"), id="renamed"),
        pytest.param(lambda e: e.update(f"{NAME}-0", Limits(1, 2)), id="limits"),
        pytest.param(lambda e: e.disconnect(f"{NAME}-0", NETWORK), id="disconnected"),
    ],
)
async def test_what_others_do_to_it_is_mended(harm: Any) -> None:
    made = await world()
    await made.settle(app())
    old = slots(made)["0"].state
    harm(made.engine)
    report = await made.settle(app())
    now = slots(made)["0"].state
    assert report.ready
    assert (now.name, now.limits, now.aliases) == (old.name, old.limits, old.aliases)
    assert now.running
    assert not now.paused


async def test_a_network_that_was_made_anew_is_joined_again() -> None:
    made = await world()
    await made.settle(app())
    made.engine.remove_network(NETWORK)
    plan, _ = await made.look(app())
    assert plan.wait is not None
    assert plan.wait.reason == "NamespaceNotReady"
    await made.network()
    assert (await made.settle(app())).ready


async def test_a_change_goes_one_replica_at_a_time_and_waits_for_it_to_serve() -> None:
    made = await world()
    await made.settle(app(replicas=3))
    made.probe.hanging.add((slots(made)["0"].state.networks[NETWORK], 80))
    changed = app(replicas=3, image="shop:2")
    report = await made.settle(changed)
    assert [c.state.image for _, c in sorted(slots(made).items())] == ["shop:2", "shop:1", "shop:1"]
    assert report.ready  # two of three serve while it goes on
    made.probe.hanging.clear()
    plan, _ = await made.look(changed)
    assert names(plan) == ["RemoveContainer", "RunContainer"]
    assert (await made.settle(changed)).ready
    assert {c.state.image for c in slots(made).values()} == {"shop:2"}


async def test_a_broken_change_stops_after_one_replica_and_can_be_taken_back() -> None:
    made = await world()
    await made.settle(app(replicas=2))
    made.engine.restart_loop(f"{NAME}-0")
    plan, report = await made.look(app(replicas=2))
    assert plan.wait is not None
    assert plan.wait.reason == report.reason == "CrashLooping"
    assert "code 1" in report.message
    plan, _ = await made.look(app(replicas=2, image="shop:2"))
    assert names(plan) == ["RemoveContainer", "RunContainer"]


async def test_scaling_down_removes_the_highest_and_frees_what_it_held() -> None:
    made = await world()
    await made.settle(app(replicas=3))
    report = await made.settle(app(replicas=1))
    assert list(slots(made)) == ["0"]
    assert report.in_use == Footprint(250, 256 * 2**20, 0)
    report = await made.settle(app(replicas=0))
    assert not slots(made)
    assert report.ready
    assert report.reason == "ScaledToZero"


@pytest.mark.parametrize(
    ("room", "left"),
    [
        pytest.param(3, ["0", "1"], id="one stands in"),
        pytest.param(2, ["0", "1"], id="just room for it"),
        pytest.param(1, ["0"], id="no room for it"),
    ],
)
async def test_scaling_down_leaves_it_to_one_that_serves_until_the_others_do(
    room: int, left: list[str]
) -> None:
    made = await world()
    await made.settle(app(replicas=3, port=None))
    each = Footprint(250, 256 * 2**20, 0)
    made.held = each.times(room)
    made.engine.crash(f"{NAME}-0")
    report = await made.settle(app(replicas=1, port=None))
    assert sorted(slots(made)) == left
    assert report.ready == (len(left) == 2)
    assert report.in_use == each.times(len(left))
    made.clock.elapsed_s = 60.0
    report = await made.settle(app(replicas=1, port=None))
    assert sorted(slots(made)) == ["0"]
    assert report.ready
    assert report.in_use == each


async def test_a_stand_in_leaves_room_for_a_replica_that_is_still_to_be_made() -> None:
    made = await world()
    await made.settle(app(replicas=3))
    each = Footprint(250, 256 * 2**20, 0)
    made.held = each.times(3)
    made.engine.remove(f"{NAME}-0")
    made.engine.remove(f"{NAME}-2")
    plan, report = await made.look(app(replicas=1))
    assert names(plan) == ["RunContainer"]
    assert report.ready
    assert report.in_use == each.times(2)


async def test_scaled_to_zero_leaves_no_secret_files() -> None:
    made = await world()
    made.bind("db")
    await made.settle(app(databaseRefs=[{"name": "db"}]))
    assert UID in made.files.folders
    await made.settle(app(databaseRefs=[{"name": "db"}], replicas=0))
    assert made.files.folders == {}


async def test_limits_change_without_a_restart() -> None:
    made = await world()
    await made.settle(app())
    before = slots(made)["0"]
    await made.settle(app(resources={"cpu": "300m", "memory": "512Mi"}))
    after = slots(made)["0"]
    assert after.state.limits == Limits(300, 512 * 2**20)
    assert (after.state.id, after.starts) == (before.state.id, before.starts)


async def test_a_second_container_of_a_slot_and_one_of_no_slot_are_removed() -> None:
    made = await world()
    await made.settle(app())
    first = slots(made)["0"]
    made.engine.rename(f"{NAME}-0", "other")
    double = Container(first.state, first.spec)
    await made.settle(app())  # renamed back
    made.engine.containers["double"] = Container(
        _with(double.state, id="double", name="double"), double.spec
    )
    made.engine.containers["none"] = Container(
        _with(double.state, id="none", name="none", labels=_without_slot(double)), double.spec
    )
    await made.settle(app())
    assert [c.state.name for c in made.engine.containers.values()] == [f"{NAME}-0"]


def _with(state: Any, **changes: Any) -> Any:
    return replace(state, **changes)


def _without_slot(container: Container) -> dict[str, str]:
    return {k: v for k, v in container.state.labels.items() if k != LABEL_SLOT}


async def test_deleting_removes_containers_and_files() -> None:
    made = await world()
    made.bind("db")
    await made.settle(app(replicas=2, databaseRefs=[{"name": "db"}]))
    report = await made.settle(app(replicas=2, databaseRefs=[{"name": "db"}], deleting=True))
    assert not made.engine.containers
    assert not made.files.folders
    assert not report.ready
    assert report.in_use == Footprint()


async def test_an_image_that_is_missing_is_fetched_before_anything_is_removed() -> None:
    made = await world()
    made.containers = type(made.containers)(made.engine, images="upstream")
    plan, _ = await made.look(app())
    assert names(plan) == ["EnsureImage", "RunContainer"]
    await made.settle(app())
    plan, _ = await made.look(app(image="shop:2"))
    assert names(plan) == ["EnsureImage", "RemoveContainer", "RunContainer"]


def pruned(made: World) -> None:
    """As after `docker image prune --all`: a running container keeps its image, not each name."""
    made.engine.images.clear()
    made.containers = type(made.containers)(made.engine, images="local")


async def test_what_serves_stays_while_the_image_it_runs_from_has_lost_its_name() -> None:
    made = await world()
    await made.settle(app())
    pruned(made)
    assert (await made.look(app()))[0] == Plan()
    wanted = app(env=[{"name": "A", "value": "b"}])
    plan, _ = await made.look(wanted)
    assert names(plan) == ["EnsureImage", "RemoveContainer", "RunContainer"]
    with pytest.raises(AssertionError):
        await made.settle(wanted, most=3)
    (kept,) = slots(made).values()
    assert (kept.state.running, kept.spec and dict(kept.spec.env)) == (True, {})
    made.engine.add_image("shop:1")
    assert (await made.settle(wanted)).ready
    (now,) = slots(made).values()
    assert now.spec is not None
    assert now.spec.env == {"A": "b"}


async def test_an_image_is_fetched_before_one_that_does_not_start_is_made_anew() -> None:
    made = await world()
    wanted = app(replicas=3)
    await made.settle(wanted)
    pruned(made)
    made.engine.set_state(f"{NAME}-0", "container die", running=False, error="already exists")
    made.engine.update(f"{NAME}-1", Limits(1, 2))
    made.engine.kill(f"{NAME}-2")
    plan, _ = await made.look(wanted)
    # what needs no image is not kept waiting for it
    assert names(plan) == [
        "StartContainer",
        "FixContainer",
        "EnsureImage",
        "RemoveContainer",
        "RunContainer",
    ]
    with pytest.raises(AssertionError):
        await made.settle(wanted, most=3)
    found = {slot: each.state for slot, each in slots(made).items()}
    assert [slot for slot, each in sorted(found.items()) if each.running] == ["1", "2"]
    assert found["1"].limits == found["2"].limits
    made.engine.add_image("shop:1")
    assert (await made.settle(wanted)).ready


async def test_an_image_is_looked_for_before_one_goes_for_others_to_have_its_room() -> None:
    made = await running(sized(2, 16))
    made.without_an_answer("shop:2")
    await made.until_it_rests(of_2(sized(4, 8)))
    before = made.states()
    assert [state.image for state in before].count("shop:2") == 2
    made.world.containers = type(made.world.containers)(made.world.engine, images="local")
    wanted = sized(3, 10, image="shop:absent")
    for _ in range(3):
        with pytest.raises(RetryableError) as failed:
            await made.look(wanted)
        assert failed.value.reason == "ImageNotFound"
    assert made.states() == before
    made.world.engine.add_image("shop:absent")
    assert (await made.until_it_rests(wanted)).converged
    assert made.is_as_wanted(wanted)


async def test_a_container_of_somebody_else_is_not_touched() -> None:
    made = await world()
    foreign = made.engine.add_foreign("precious")
    await made.settle(app())
    await made.settle(app(deleting=True))
    assert made.engine.containers[foreign.id].state == foreign
