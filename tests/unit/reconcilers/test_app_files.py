"""App: the Databases it names arrive as files."""

from controlplane.plan import Plan
from reconcilers import _container as box
from tests.unit.reconcilers.apps import NAME, slots
from tests.unit.reconcilers.world import UID, app, names, world


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


async def test_files_that_somebody_changed_go_as_well_when_no_database_is_named() -> None:
    made = await world()
    made.bind("db")
    await made.settle(app(databaseRefs=[{"name": "db"}]))
    made.files.tamper(UID, "bindings/db/password", b"evil")
    made.refs.clear()
    assert (await made.settle(app())).ready
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


def test_a_version_of_files_tells_changes_apart() -> None:
    one = box.SecretFolder("bindings/db", box.SecretSource("Secret", "s", "a"))
    two = box.SecretFolder("bindings/db", box.SecretSource("Secret", "s", "b"))
    assert box.version_of((one,)) != box.version_of((two,))
