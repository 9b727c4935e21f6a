"""Database: its data is never lost by a plan, whoever wrote it."""

from dataclasses import replace
from typing import Any

import pytest

from controlplane.plan import EnsureChild, OrphanChild, Owned, RemoveChild
from tests.unit.reconcilers.databases import NAME, SECRET, VOLUME
from tests.unit.reconcilers.world import World, database, names, world


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


async def test_the_major_of_data_from_elsewhere_is_known_once_it_serves() -> None:
    """A server of another refuses the folder, and a guess would keep the right one off."""
    made = await world()
    handed_on(made)
    made.servers.silent = True
    guess: dict[str, Any] = {"volumeRef": {"name": "kept"}, "version": "16"}
    assert not (await made.settle(database(**guess))).ready
    assert "major" not in made.children[("Volume", "kept")].spec
    await made.settle(database(**guess, deleting=True))
    made.servers.silent = False
    assert (await made.settle(database(volumeRef={"name": "kept"}, version="15"))).ready
    assert made.children[("Volume", "kept")].spec["major"] == "15"


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


def handed_on(made: World, **spec: Any) -> None:
    """A Volume `kept` that somebody has written by hand."""
    told = {"dockerName": "theirs"}
    made.add_volume("theirs")
    made.children[("Volume", "kept")] = Owned("Volume", "kept", "v", True, {**told, **spec}, told)


async def test_a_volume_handed_on_is_used_by_name() -> None:
    made = await world()
    handed_on(made, major="17")
    plan, report = await made.look(database(volumeRef={"name": "kept"}))
    child = plan.steps[0]
    assert isinstance(child, EnsureChild)
    assert (child.name, child.adopt_if_equal) == ("kept", ("claim",))
    status = report.status.model_dump()
    assert (status["volume"], status["version"]) == ("kept", "17")


async def test_a_volume_that_is_not_there_is_waited_for() -> None:
    """It may come a moment later: an empty server would be taken for its data."""
    made = await world()
    report = await made.settle(database(volumeRef={"name": "typo"}))
    plan, _ = await made.look(database(volumeRef={"name": "typo"}))
    assert plan.wait is not None
    assert (plan.wait.reason, report.status.model_dump()["version"]) == ("VolumeNotFound", None)
    assert made.children == {}


async def test_data_of_an_unknown_major_is_left_alone() -> None:
    made = await world()
    handed_on(made)
    plan, report = await made.look(database(volumeRef={"name": "kept"}))
    assert plan.wait is not None
    assert (plan.wait.reason, report.status.model_dump()["version"]) == ("MajorUnknown", None)
    for told in (database(volumeRef={"name": "kept"}, version="16"),
                 database("redis", volumeRef={"name": "kept"})):  # fmt: skip
        plan, report = await made.look(told)
        assert names(plan)[0] == "EnsureChild"
    before = database(volumeRef={"name": "kept"})
    status = before.status.model_copy(update={"version": "17"})
    plan, report = await made.look(before.model_copy(update={"status": status}))
    assert (names(plan)[0], report.status.model_dump()["version"]) == ("EnsureChild", "17")
    handed_on(made, major="14")
    assert (await made.settle(database(volumeRef={"name": "kept"}))).ready


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
