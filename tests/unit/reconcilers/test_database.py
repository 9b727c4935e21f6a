"""What is planned for a Database: how it serves, what it waits for, how it is mended."""

import asyncio
from typing import Any

import pytest

from controlplane.plan import EnsureChild, Plan
from drivers.containers import Limits, VolumeMount
from reconcilers.database import ASK_AGAIN_S, volume_name
from resources.database import DatabaseStatus
from resources.meta import Condition, Footprint
from tests.unit.reconcilers.databases import NAME, SECRET, VOLUME
from tests.unit.reconcilers.world import NETWORK, NS_UID, UID, World, database, names, world


async def test_records_come_before_anything_outside() -> None:
    made = await world()
    plan, report = await made.look(database())
    assert names(plan) == ["EnsureChild", "EnsureSecret"]
    child = plan.steps[0]
    assert isinstance(child, EnsureChild)
    assert (child.kind, child.name, child.adopt_if_equal) == ("Volume", VOLUME, ("claim",))
    assert child.spec == {
        "claim": {
            "namespace": "shop",
            "namespaceUid": NS_UID,
            "kind": "Database",
            "name": "shop",
            "engine": "postgres",
        },
        "major": "18",
        "username": "app",
        "database": "app",
        "size": "1Gi",
        "secretRef": {"namespace": "shop", "name": "shop-credentials"},
    }
    assert report.reason == "NotCreated"


@pytest.mark.parametrize("engine", ["postgres", "redis"])
async def test_it_serves_as_the_spec_says(engine: str) -> None:
    made = await world()
    report = await made.settle(database(engine, plan="basic"))
    assert report.ready
    assert report.reason == "Serving"
    container = made.engine.by_name(NAME)
    spec = container.spec
    assert spec is not None
    assert container.state.limits == Limits(500, 512 * 2**20)
    assert container.state.aliases == {NETWORK: ("shop",)}
    assert spec.user == "999:999"
    assert not spec.keep_caps
    volume = f"volume-{volume_name(database(engine), NS_UID)}"
    path = {"postgres": "/var/lib/postgresql", "redis": "/data"}[engine]
    assert spec.volumes == (VolumeMount(volume, path),)
    assert not container.secret_env
    assert "generated" not in repr(spec)
    folder = made.files.folders[UID]
    assert folder.user == (999, 999)
    assert all(b"generated-shop-credentials" in content for content in folder.files.values())
    assert report.in_use == Footprint(500, 512 * 2**20, 0)


async def test_its_secret_says_how_to_reach_it() -> None:
    made = await world()
    report = await made.settle(database(username="me", database="shop"))
    password = "generated-shop-credentials"
    assert made.values.data[SECRET] == {
        "type": b"postgresql",
        "provider": b"bunker",
        "host": b"shop",
        "port": b"5432",
        "username": b"me",
        "password": password.encode(),
        "database": b"shop",
        "uri": f"postgresql://me:{password}@shop:5432/shop".encode(),
    }
    status = report.status.model_dump(by_alias=True, exclude_none=True)
    assert status["endpoint"] == "shop:5432"
    assert status["secretRef"] == {"name": "shop-credentials"}
    assert (status["version"], status["volume"]) == ("18", VOLUME)


async def test_a_converged_database_plans_nothing() -> None:
    made = await world()
    await made.settle(database())
    before = dict(made.engine.writes)
    plan, report = await made.look(database())
    assert plan == Plan()
    assert report.recheck_after_s == 60.0
    assert dict(made.engine.writes) == before


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(lambda e: e.kill(NAME), id="killed"),
        pytest.param(lambda e: e.pause(NAME), id="paused"),
        pytest.param(lambda e: e.remove(NAME), id="removed"),
        pytest.param(lambda e: e.break_removal(NAME), id="half removed"),
        pytest.param(lambda e: e.rename(NAME, "other"), id="renamed"),
        pytest.param(lambda e: e.update(NAME, Limits(1, 2)), id="limits"),
        pytest.param(lambda e: e.forbid_restarts(NAME), id="restart policy"),
        pytest.param(lambda e: e.disconnect(NAME, NETWORK), id="disconnected"),
    ],
)
async def test_what_others_do_to_it_is_mended(harm: Any) -> None:
    made = await world()
    await made.settle(database())
    before = made.engine.by_name(NAME).state
    harm(made.engine)
    _, report = await made.look(database())
    assert report.reason in ("Starting", "NotRunning", "NotCreated", "Serving")
    report = await made.settle(database())
    now = made.engine.by_name(NAME)
    assert report.ready
    assert (now.state.limits, now.state.aliases) == (before.limits, before.aliases)
    assert now.state.restarts
    assert now.spec is not None
    assert now.spec.volumes[0].volume == f"volume-{VOLUME}"


async def test_it_waits_for_its_network_and_its_port() -> None:
    made = World()
    plan, _ = await made.look(database())
    assert plan.wait is not None
    assert plan.wait.reason == "NamespaceNotReady"
    await made.network()
    made.ports = ()
    plan, _ = await made.look(database(publish={}))
    assert plan.wait is not None
    assert plan.wait.reason == "PortPending"
    made.ports = (30005,)
    report = await made.settle(database(publish={}))
    assert report.status.model_dump()["published"] == "127.0.0.1:30005"
    spec = made.engine.by_name(NAME).spec
    assert spec is not None
    assert [(p.container_port, p.host_port) for p in spec.ports] == [(5432, 30005)]


async def test_one_that_keeps_dying_says_why_and_what_to_do() -> None:
    made = await world()
    await made.settle(database())
    made.engine.restart_loop(NAME, exit_code=3)
    plan, report = await made.look(database())
    assert plan.wait is not None
    assert plan.wait.reason == report.reason == "CrashLooping"
    assert "code 3" in report.message
    made.engine.set_state(NAME, "container oom", oom_killed=True)
    _, report = await made.look(database())
    assert "more memory" in report.message


async def test_a_starting_server_is_waited_for() -> None:
    made = await world()
    made.servers.silent = True
    report = await made.settle(database())
    assert report.reason == "Starting"
    plan, _ = await made.look(database())
    assert plan.wait is not None
    assert plan.wait.recheck_after_s == 0.005


@pytest.mark.parametrize("answers", [True, False])
async def test_one_that_served_is_asked_again_before_its_silence_is_told(answers: bool) -> None:
    made = await world()
    await made.settle(database())
    made.clock.elapsed_s = 60.0
    ready = Condition(type="Ready", status="True", reason="Serving")
    served = database().model_copy(update={"status": DatabaseStatus(conditions=(ready,))})
    made.servers.silent = True
    look = asyncio.create_task(made.look(served))
    await made.clock.advance(ASK_AGAIN_S / 2)
    made.servers.silent = not answers
    await made.clock.advance(ASK_AGAIN_S)
    _, report = await look
    assert report.ready == answers


async def test_one_that_dies_while_it_is_asked_is_healed_at_once() -> None:
    made = await world()
    await made.settle(database())
    made.clock.elapsed_s = 60.0
    ready = Condition(type="Ready", status="True", reason="Serving")
    served = database().model_copy(update={"status": DatabaseStatus(conditions=(ready,))})
    made.servers.asked = lambda: made.engine.kill(NAME)
    async with asyncio.timeout(5):  # whoever waits does so for ever, on a clock that stands still
        plan, _ = await made.look(served)
    assert names(plan) == ["StartContainer"]


async def test_a_missing_image_is_fetched_first() -> None:
    made = await world()
    made.containers = type(made.containers)(made.engine, images="upstream")
    await made._carry_out(made.reconciler("Database"), (await made.look(database()))[0], database())
    plan, _ = await made.look(database())
    assert names(plan) == ["EnsureImage", "WriteSecrets", "RunContainer"]


async def test_it_serves_on_while_the_image_it_runs_from_has_lost_its_name() -> None:
    made = await world()
    await made.settle(database())
    made.engine.images.clear()
    made.containers = type(made.containers)(made.engine, images="local")
    assert (await made.look(database()))[0] == Plan()
    published = database(publish={})
    plan, _ = await made.look(published)
    assert names(plan) == ["EnsureImage", "RemoveContainer", "RunContainer"]
    with pytest.raises(AssertionError):
        await made.settle(published, most=3)
    assert made.engine.by_name(NAME).state.running
    assert (await made.look(database()))[1].ready
