"""What is planned for a Database, and that its data is never lost by a plan."""

from dataclasses import replace
from typing import Any

import pytest

from controlplane.errors import TerminalError
from controlplane.plan import EnsureChild, OrphanChild, Owned, Plan, RemoveChild
from drivers.containers import Limits, VolumeMount
from reconcilers.database import volume_name
from resources.database import PLANS, Database
from resources.meta import Footprint
from tests.unit.reconcilers.world import NETWORK, NS_UID, UID, World, database

NAME = "database-shop-shop-uuuuuuuu"
VOLUME = "database-shop-shop-postgres-nnnnnnnn"
SECRET = ("Secret", "shop-credentials")


async def world() -> World:
    made = World()
    await made.network()
    return made


def names(plan: Plan[Any]) -> list[str]:
    return [type(step).__name__ for step in plan.steps]


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
        pytest.param(lambda e: e.rename(NAME, "other"), id="renamed"),
        pytest.param(lambda e: e.update(NAME, Limits(1, 2)), id="limits"),
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
    assert now.spec is not None
    assert now.spec.volumes[0].volume == f"volume-{VOLUME}"


async def test_a_password_set_behind_its_back_is_set_to_the_secrets() -> None:
    made = await world()
    await made.settle(database())
    made.servers.passwords[(UID, 0)] = "changed by hand"
    _, report = await made.look(database())
    assert report.reason == "PasswordRejected"
    assert (await made.settle(database())).ready
    assert made.servers.passwords[(UID, 0)] == "generated-shop-credentials"
    assert made.engine.by_name(NAME).starts == 1


@pytest.mark.parametrize(
    ("plan", "first", "then"),
    [
        pytest.param("pro", ["WriteSecrets", "FixContainer"], ["LimitMemory"], id="grows"),
        pytest.param("starter", ["LimitMemory", "WriteSecrets", "FixContainer"], [], id="shrinks"),
    ],
)
async def test_redis_is_resized_as_it_runs(plan: Any, first: list[str], then: list[str]) -> None:
    """Never more for its data than the container has."""
    made = await world()
    await made.settle(database("redis", plan="basic", storage="50Gi"))
    resized = database("redis", plan=plan, storage="50Gi")
    for steps in (first, then):
        planned, report = await made.look(resized)
        assert names(planned) == steps
        assert report.ready
        await made._carry_out(made.reconciler("Database"), planned, resized)
    assert (await made.look(resized))[0] == Plan()
    container = made.engine.by_name(NAME)
    size = PLANS[plan].resources.memory
    assert (container.starts, container.state.limits.memory_bytes) == (1, size)
    assert container.told == {"maxmemory": size * 3 // 4}
    assert f"maxmemory {size * 3 // 4}\n".encode() in made.files.folders[UID].files["redis.conf"]


BASIC, STARTER = PLANS["basic"].resources, PLANS["starter"].resources
TOO_MUCH = STARTER.memory * 3 // 4 + 1


async def shrinking() -> tuple[World, Database]:
    """A Redis whose record wants less memory than it has."""
    made = await world()
    await made.settle(database("redis", plan="basic", storage="10Gi"))
    made.held = BASIC.footprint
    return made, database("redis", plan="starter", storage="10Gi")


async def test_redis_keeps_its_memory_until_its_data_fits_into_less() -> None:
    made, smaller = await shrinking()
    made.servers.used_bytes = TOO_MUCH
    report = await made.settle(smaller)
    plan, _ = await made.look(smaller)
    assert plan.wait is not None
    assert plan.wait.reason == "MemoryInUse"
    assert "spec.resources.memory to 320Mi or more" in plan.wait.message
    container = made.engine.by_name(NAME)
    assert report.ready
    # its CPU was free to follow
    assert container.state.limits == Limits(STARTER.cpu, BASIC.memory)
    assert container.told == {"maxmemory": BASIC.memory * 3 // 4}

    made.servers.used_bytes = TOO_MUCH - 1
    await made.settle(smaller)
    assert container.state.limits == Limits(STARTER.cpu, STARTER.memory)
    assert (container.told, container.starts) == ({"maxmemory": STARTER.memory * 3 // 4}, 1)


async def test_redis_that_died_before_it_got_less_memory_starts_with_what_it_had() -> None:
    made, smaller = await shrinking()
    made.servers.used_bytes = TOO_MUCH
    made.engine.kill(NAME)
    await made.settle(smaller)
    container = made.engine.by_name(NAME)
    assert (container.state.running, container.state.limits.memory_bytes) == (True, BASIC.memory)


async def test_memory_that_was_never_promised_is_taken_from_a_redis() -> None:
    made = await world()
    await made.settle(database("redis"))
    made.held = STARTER.footprint
    made.servers.used_bytes = TOO_MUCH
    container = made.engine.by_name(NAME)
    container.state = replace(container.state, limits=Limits(STARTER.cpu, 8 * 2**30))
    await made.settle(database("redis"))
    assert container.state.limits.memory_bytes == STARTER.memory


async def test_redis_made_anew_is_not_resized_before() -> None:
    made = await world()
    await made.settle(database("redis", plan="basic", storage="10Gi"))
    smaller = database("redis", plan="starter", storage="10Gi", publish={})
    plan, _ = await made.look(smaller)
    assert names(plan) == ["WriteSecrets", "RemoveContainer", "RunContainer"]


async def test_a_limit_that_somebody_took_off_a_redis_is_set_again() -> None:
    made = await world()
    await made.settle(database("redis"))
    container = made.engine.by_name(NAME)
    right = dict(container.told)
    container.told["maxmemory"] = 0
    assert (await made.settle(database("redis"))).ready
    assert (container.told, container.starts) == (right, 1)


async def test_redis_reads_its_password_again_when_it_refuses_it() -> None:
    made = await world()
    await made.settle(database("redis"))
    made.servers.passwords[(UID, 1)] = "changed by hand"
    plan, _ = await made.look(database("redis"))
    assert names(plan) == ["RestartContainer"]
    assert (await made.settle(database("redis"))).ready


async def test_a_secret_edited_by_hand_is_corrected_and_its_password_used() -> None:
    made = await world()
    await made.settle(database())
    made.values.data[SECRET] |= {"host": b"elsewhere", "password": b"chosen"}
    assert (await made.settle(database())).ready
    assert made.values.data[SECRET]["host"] == b"shop"
    assert made.values.data[SECRET]["uri"] == b"postgresql://app:chosen@shop:5432/app"
    assert made.servers.passwords[(UID, 0)] == "chosen"
    assert made.files.folders[UID].files["password"] == b"chosen"


async def test_a_password_may_hold_any_character_in_a_uri() -> None:
    made = await world()
    await made.settle(database())
    made.values.data[SECRET]["password"] = "p@ss/wörd {x}".encode()
    await made.settle(database())
    assert made.values.data[SECRET]["uri"] == (
        b"postgresql://app:p%40ss%2Fw%C3%B6rd%20%7Bx%7D@shop:5432/app"
    )
    assert made.files.folders[UID].files["password"] == "p@ss/wörd {x}".encode()


@pytest.mark.parametrize("password", [b"x\nloadmodule /tmp/evil.so", b'a"b', b"", b"\xff"])
async def test_a_password_cannot_be_more_than_a_password_to_redis(password: bytes) -> None:
    made = await world()
    await made.settle(database("redis"))
    made.values.data[SECRET]["password"] = password
    with pytest.raises(TerminalError, match="'password'"):
        await made.settle(database("redis"))
    assert b"loadmodule" not in made.files.folders[UID].files["redis.conf"]


async def test_the_major_that_wrote_the_data_is_kept() -> None:
    made = await world()
    made.children[("Volume", VOLUME)] = Owned(
        "Volume",
        VOLUME,
        "v",
        True,
        {"major": "16", "size": "5Gi"},
        {"dockerName": "old"},
        owned=False,
    )
    plan, _ = await made.look(database())
    child = plan.steps[0]
    assert isinstance(child, EnsureChild)
    assert (child.spec["major"], child.spec["size"]) == ("16", "5Gi")
    plan, _ = await made.look(database(version="17"))
    assert plan.wait is not None
    assert plan.wait.reason == "VersionDiffers"
    assert "'16'" in plan.wait.message


@pytest.mark.parametrize(
    ("other", "named"),
    [
        pytest.param({"username": "bob"}, ["spec.username 'app' (not 'bob')"], id="user"),
        pytest.param({"database": "store"}, ["spec.database 'app' (not 'store')"], id="database"),
        pytest.param(
            {"username": "bob", "database": "store", "version": "17"},
            ["spec.version '18'", "spec.username 'app'", "spec.database 'app'"],
            id="all",
        ),
    ],
)
async def test_data_of_another_login_is_left_as_it_is(
    other: dict[str, Any], named: list[str]
) -> None:
    made = await world()
    await made.settle(database())
    await made.settle(database(deleting=True))
    before = dict(made.values.data[SECRET])
    plan, _ = await made.look(database(**other))
    assert plan.wait is not None
    assert plan.wait.reason == ("VersionDiffers" if "version" in other else "LoginDiffers")
    assert all(words in plan.wait.message for words in named)
    assert (plan.steps, made.values.data[SECRET]) == ((), before)
    assert (await made.settle(database(username="app"))).ready


async def test_the_login_of_data_from_elsewhere_is_known_once_it_lets_somebody_in() -> None:
    made = await world()
    await made.settle(database())
    await made.settle(database(deleting=True))
    child = made.children[("Volume", VOLUME)]
    spec = {key: child.spec[key] for key in child.spec if key not in ("username", "database")}
    made.children[("Volume", VOLUME)] = replace(child, spec=spec)
    made.servers.silent = True
    await made.settle(database())
    assert made.children[("Volume", VOLUME)].spec == spec
    made.servers.silent = False
    assert (await made.settle(database())).ready
    assert made.children[("Volume", VOLUME)].spec == child.spec


async def test_it_waits_for_its_volume() -> None:
    made = await world()
    await made.settle(database())
    made.engine.remove(NAME)
    child = made.children[("Volume", VOLUME)]
    for state, reason in (
        (replace(child, ready=False), "VolumePending"),
        (replace(child, deleting=True), "VolumeDeleting"),
        (replace(child, status={}), "VolumePending"),
    ):
        made.children[("Volume", VOLUME)] = state
        plan, _ = await made.look(database())
        assert plan.wait is not None
        assert plan.wait.reason == reason


async def test_a_volume_deleted_under_a_server_stops_nothing() -> None:
    made = await world()
    await made.settle(database())
    child = made.children[("Volume", VOLUME)]
    made.children[("Volume", VOLUME)] = replace(child, deleting=True, ready=False)
    made.engine.kill(NAME)
    assert (await made.settle(database())).ready


async def test_storage_grows_on_the_volume() -> None:
    made = await world()
    await made.settle(database())
    plan, _ = await made.look(database(storage="3Gi"))
    assert names(plan) == ["EnsureChild"]
    await made.settle(database(storage="3Gi"))
    assert made.children[("Volume", VOLUME)].spec["size"] == "3Gi"


async def test_a_volume_handed_on_is_used_by_name() -> None:
    made = await world()
    plan, report = await made.look(database(volumeRef={"name": "kept"}))
    child = plan.steps[0]
    assert isinstance(child, EnsureChild)
    assert (child.name, child.adopt_if_equal) == ("kept", ("claim",))
    assert report.status.model_dump()["volume"] == "kept"


@pytest.mark.parametrize(("policy", "step"), [("Retain", OrphanChild), ("Delete", RemoveChild)])
async def test_deleting_removes_the_container_and_does_with_data_as_told(
    policy: str, step: type[Any]
) -> None:
    made = await world()
    await made.settle(database())
    gone = database(deleting=True, deletionPolicy=policy)
    plan, report = await made.look(gone)
    assert names(plan)[:2] == ["RemoveContainer", "RemoveSecrets"]
    assert plan.steps[2:] == (step("Volume", VOLUME), step("Secret", "shop-credentials"))
    assert not report.ready
    await made.settle(gone)
    assert not made.engine.containers
    assert not made.files.folders
    assert made.engine.writes["remove_volume"] == 0


async def test_a_kept_volume_and_secret_serve_the_next_record_of_the_name() -> None:
    made = await world()
    await made.settle(database())
    password = made.values.data[SECRET]["password"]
    await made.settle(database(deleting=True))
    assert not made.children[("Volume", VOLUME)].owned
    assert (await made.settle(database())).ready
    assert made.values.data[SECRET]["password"] == password


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


async def test_a_missing_image_is_fetched_first() -> None:
    made = await world()
    made.containers = type(made.containers)(made.engine, images="upstream")
    await made._carry_out(made.reconciler("Database"), (await made.look(database()))[0], database())
    plan, _ = await made.look(database())
    assert names(plan) == ["EnsureImage", "WriteSecrets", "RunContainer"]
