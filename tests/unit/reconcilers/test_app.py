"""What is planned for an App, and that its plans lead where the spec says."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from controlplane.errors import TerminalError
from controlplane.plan import Plan
from drivers.containers import LABEL_SLOT, Limits
from drivers.fake.engine import Container
from reconcilers import _container as box
from resources.app import App, AppStatus
from resources.meta import Footprint
from tests.unit.reconcilers.world import NETWORK, UID, World, app

NAME = "app-shop-shop-uuuuuuuu"


async def world() -> World:
    made = World()
    await made.network()
    return made


def slots(made: World) -> dict[str, Container]:
    return {c.state.labels[LABEL_SLOT]: c for c in made.engine.containers.values() if c.state.owner}


def names(plan: Plan[Any]) -> list[str]:
    return [type(step).__name__ for step in plan.steps]


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


async def test_databases_arrive_as_files_and_never_as_values() -> None:
    made = await world()
    made.bind("db")
    wanted = app(databaseRefs=[{"name": "db", "envPrefix": "DB"}])
    assert (await made.settle(wanted)).ready
    folder = made.files.folders[UID]
    assert folder.files["bindings/db/password"] == b"pw"
    container = slots(made)["0"]
    assert container.spec is not None
    assert container.spec.secrets_dir == f"/run/bunker/secrets/{UID}"
    assert container.spec.env == {
        "SERVICE_BINDING_ROOT": "/run/secrets/bindings",
        "DB_PASSWORD_FILE": "/run/secrets/bindings/db/password",
        "DB_URI_FILE": "/run/secrets/bindings/db/uri",
    }
    assert dict(container.secret_env) == {
        "DB_HOST": "db",
        "DB_PORT": "5432",
        "DB_USERNAME": "app",
        "DB_DATABASE": "app",
    }


async def test_a_new_password_changes_files_and_restarts_nothing() -> None:
    made = await world()
    made.bind("db")
    wanted = app(databaseRefs=[{"name": "db", "envPrefix": "DB"}])
    await made.settle(wanted)
    before = slots(made)["0"].state.id
    made.values.data[("Secret", "db-credentials")]["password"] = b"new"
    made.bind("db")
    await made.settle(wanted)
    assert made.files.folders[UID].files["bindings/db/password"] == b"new"
    assert slots(made)["0"].state.id == before


async def test_changed_or_lost_secret_files_are_written_again() -> None:
    made = await world()
    made.bind("db")
    wanted = app(databaseRefs=[{"name": "db"}])
    await made.settle(wanted)
    made.files.tamper(UID, "bindings/db/password", b"evil")
    await made.settle(wanted)
    assert made.files.folders[UID].files["bindings/db/password"] == b"pw"
    made.files.reboot()
    await made.settle(wanted)
    assert UID in made.files.folders


async def test_files_go_when_no_database_is_named_any_more() -> None:
    made = await world()
    made.bind("db")
    await made.settle(app(replicas=2, databaseRefs=[{"name": "db"}]))
    made.refs.clear()
    assert (await made.settle(app(replicas=2))).ready
    assert not made.files.folders


async def test_a_reference_that_is_not_ready_holds_back_a_first_start_only() -> None:
    made = await world()
    made.bind("db", ready=False)
    wanted = app(databaseRefs=[{"name": "db"}])
    plan, report = await made.look(wanted)
    assert plan.wait is not None
    assert plan.wait.reason == "DatabaseNotReady"
    assert not report.ready
    made.bind("db")
    await made.settle(wanted)
    made.bind("db", ready=False)
    plan, report = await made.look(wanted)
    assert plan == Plan()
    assert report.ready


async def test_a_reference_that_is_gone_stops_nothing_and_changes_nothing() -> None:
    made = await world()
    made.bind("db")
    wanted = app(databaseRefs=[{"name": "db", "envPrefix": "DB"}])
    await made.settle(wanted)
    made.refs.clear()
    made.bind("db")
    gone = made.refs["spec.databaseRefs[db]"]
    made.refs["spec.databaseRefs[db]"] = type(gone)("Database", "db", None, False, "no such")
    plan, report = await made.look(wanted)
    assert plan.wait is not None
    assert plan.wait.reason == "DatabaseNotReady"
    assert report.ready
    made.engine.kill(f"{NAME}-0")
    assert names((await made.look(wanted))[0]) == ["StartContainer"]


@pytest.mark.parametrize("kind", ["Secret", "ConfigMap"])
async def test_variables_come_from_secrets_and_config_maps(kind: str) -> None:
    made = await world()
    ref = {"secretRef" if kind == "Secret" else "configMapRef": {"name": "s"}, "prefix": "X_"}
    wanted = app(envFrom=[ref])
    plan, _ = await made.look(wanted)
    assert plan.wait is not None
    assert plan.wait.reason == f"{kind}Missing"
    made.values.data[(kind, "s")] = {"KEY": b"one"}
    await made.settle(wanted)
    assert slots(made)["0"].secret_env == {"X_KEY": "one"}
    made.values.data[(kind, "s")] = {"KEY": b"canary"}
    await made.settle(wanted)
    assert slots(made)["0"].secret_env == {"X_KEY": "canary"}
    assert "canary" not in repr(slots(made)["0"].state)


async def with_variables() -> tuple[World, App]:
    """An App that runs, with a variable from a Secret."""
    made = await world()
    made.values.data[("Secret", "s")] = {"KEY": b"one"}
    wanted = app(envFrom=[{"secretRef": {"name": "s"}}])
    await made.settle(wanted)
    return made, wanted


async def test_one_that_cannot_start_again_is_made_anew_with_its_variables() -> None:
    made, wanted = await with_variables()
    made.engine.set_state(f"{NAME}-0", "die", running=False, error="task already exists")
    assert (await made.settle(wanted)).ready
    assert slots(made)["0"].secret_env == {"KEY": "one"}


async def test_one_that_cannot_start_again_is_kept_until_its_variables_can_be_made() -> None:
    made, wanted = await with_variables()
    del made.values.data[("Secret", "s")]
    made.engine.set_state(f"{NAME}-0", "die", running=False, error="task already exists")
    plan, report = await made.look(wanted)
    assert not report.ready
    assert plan.wait is not None
    assert plan.wait.reason == "SecretMissing"
    made.values.data[("Secret", "s")] = {"KEY": b"one"}
    assert (await made.settle(wanted)).ready
    assert slots(made)["0"].secret_env == {"KEY": "one"}


async def test_one_that_goes_while_it_is_corrected_is_made_anew_with_its_variables() -> None:
    made, wanted = await with_variables()
    made.engine.rename(f"{NAME}-0", "another")
    plan, _ = await made.look(wanted)
    assert names(plan) == ["FixContainer"]
    made.engine.remove("another")
    for step in plan.steps:
        await made.reconciler("App").apply(step)
    assert slots(made)["0"].secret_env == {"KEY": "one"}


async def test_a_published_app_waits_for_its_port_and_tells_it() -> None:
    made = await world()
    made.ports = ()
    plan, report = await made.look(app(publish={}))
    assert plan.wait is not None
    assert plan.wait.reason == "PortPending"
    assert not report.ready
    made.ports = (30007,)
    report = await made.settle(app(publish={"address": "0.0.0.0"}))
    assert report.status.model_dump()["published"] == "0.0.0.0:30007"
    spec = slots(made)["0"].spec
    assert spec is not None
    assert [(p.container_port, p.host_port, p.address) for p in spec.ports] == [
        (80, 30007, "0.0.0.0")
    ]


@pytest.mark.parametrize(("lost", "ready"), [(2, True), (3, False)])
async def test_one_that_served_is_asked_again_before_it_counts_as_gone(
    lost: int, ready: bool
) -> None:
    made = await world()
    await made.settle(app())
    made.clock.elapsed_s = 10.0
    answers = [False] * lost
    made.probe.missing = lambda _: bool(answers) and not answers.pop()
    served = app(healthCheck={"path": "/healthz"})
    served = served.model_copy(update={"status": AppStatus(ready_replicas=1)})
    look = asyncio.create_task(made.look(served))
    await made.clock.advance(5.0)
    _, report = await look
    assert report.ready == ready
    assert answers == []


async def test_one_that_does_not_answer_is_asked_less_and_less_often() -> None:
    made = await world()
    made.probe.everything = False
    report = await made.settle(app(healthCheck={"path": "/healthz"}))
    assert report.reason == "NotServing"
    waits = []
    for elapsed_s in (0.0, 0.06, 0.15, 5.0, 100.0):
        made.clock.elapsed_s = elapsed_s
        plan, _ = await made.look(app(healthCheck={"path": "/healthz"}))
        assert plan.wait is not None
        waits.append(plan.wait.recheck_after_s)
    assert waits == pytest.approx([0.005, 0.015, 0.02, 0.5, 10.0])


async def test_without_a_port_running_is_enough_once_it_stays_up() -> None:
    made = await world()
    worker = app(port=None)
    assert (await made.settle(worker)).ready
    made.engine.crash(f"{NAME}-0")
    plan, report = await made.look(worker)
    assert not report.ready
    assert plan.wait is not None
    made.clock.elapsed_s = 3.0
    assert (await made.look(worker))[1].ready


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


async def test_a_container_of_somebody_else_is_not_touched() -> None:
    made = await world()
    foreign = made.engine.add_foreign("precious")
    await made.settle(app())
    await made.settle(app(deleting=True))
    assert made.engine.containers[foreign.id].state == foreign


@pytest.mark.parametrize(
    ("data", "fix"),
    [
        pytest.param({"tls.crt": b"x"}, "no name of a variable", id="name"),
        pytest.param({"KEY": b"\xff"}, "not text", id="bytes"),
        pytest.param({"KEY": b"a\0b"}, "NUL", id="NUL"),
    ],
)
async def test_a_secret_that_cannot_be_variables_is_told_without_its_value(
    data: dict[str, bytes], fix: str
) -> None:
    made = await world()
    made.values.data[("Secret", "s")] = data
    with pytest.raises(TerminalError, match=fix):
        await made.settle(app(envFrom=[{"secretRef": {"name": "s"}}]))
    assert not made.engine.containers


def test_a_version_of_files_tells_changes_apart() -> None:
    one = box.SecretFolder("bindings/db", box.SecretSource("Secret", "s", "a"))
    two = box.SecretFolder("bindings/db", box.SecretSource("Secret", "s", "b"))
    assert box.version_of((one,)) != box.version_of((two,))
