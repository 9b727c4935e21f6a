"""One suite for the PostgreSQL driver on a real server (in our own image) and on its fake."""

import secrets
from collections.abc import Iterator
from typing import Protocol

import pytest

from drivers.fake.postgres import FakePostgres, FakePostgresServer
from drivers.postgres import NetworkPostgres, Postgres, PostgresState
from drivers.postgres_sql import CONNECT, SALT_BYTES, prepare_script
from reconcilers._images import image_for
from tests.clock import settle
from tests.containers import Running, bench, wait_until
from tests.contract.silent import answering

USER, PASSWORD, DATABASE = "shop", "first-Secret'$\\1", "shop"


class World(Protocol):
    """One server that has USER, PASSWORD and DATABASE."""

    driver: Postgres
    host: str
    port: int

    def prepare(self, user: str, password: str, database: str) -> None:
        """Run prepare_script on the server."""
        ...


class FakeWorld:
    host, port = "10.0.0.2", 5432

    def __init__(self) -> None:
        self.server = FakePostgresServer({USER: PASSWORD}, {"postgres", DATABASE})
        self.driver: Postgres = FakePostgres({(self.host, self.port): self.server})

    def prepare(self, user: str, password: str, database: str) -> None:
        script = prepare_script(user, password, database, salt=secrets.token_bytes(SALT_BYTES))
        self.server.alter_password(script, candidates=(password,))
        self.server.databases.add(database)


class RealWorld:
    port = 5432

    def __init__(self, server: Running) -> None:
        self.server = server
        self.driver: Postgres = NetworkPostgres()
        self.host = server.address
        self.prepare(USER, PASSWORD, DATABASE)

    def prepare(self, user: str, password: str, database: str) -> None:
        script = prepare_script(user, password, database, salt=secrets.token_bytes(SALT_BYTES))
        psql = ("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-U", USER, "-d", CONNECT)
        self.server.exec(*psql, stdin=script)


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    image = image_for("postgres", "18", source="local")
    with bench() as made:
        options = (
            f"--user={image.user}",
            "--tmpfs=/tmp",
            "--tmpfs=/run/postgresql",
            f"--volume={made.volume()}:{image.data_path}",
            f"--env=POSTGRES_USER={USER}",
            "--env=POSTGRES_PASSWORD=not-for-long",
        )
        started = made.run(image.reference, options=options)
        wait_until(
            lambda: "accepting" in started.exec("pg_isready", "-h", "127.0.0.1", check=False),
            of=started,
        )
        yield started


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.docker)])
def world(request: pytest.FixtureRequest) -> World:
    if request.param == "fake":
        return FakeWorld()
    return RealWorld(request.getfixturevalue("server"))


async def _observe(
    world: World, *, user: str = USER, password: str = PASSWORD, database: str = DATABASE
) -> PostgresState | None:
    return await world.driver.observe_server(
        host=world.host, port=world.port, user=user, password=password, database=database
    )


async def test_a_serving_server_tells_its_version(world: World) -> None:
    state = await _observe(world)
    assert state == PostgresState(True, True, True, "Serving", version="18.6")


async def test_a_wrong_password_is_told_as_such(world: World) -> None:
    state = await _observe(world, password="wrong")
    assert state is not None
    assert (state.ready, state.auth_ok, state.reason) == (False, False, "WrongPassword")


async def test_an_unknown_role_is_told_as_a_wrong_password(world: World) -> None:
    state = await _observe(world, user="nobody")
    assert state is not None
    assert (state.auth_ok, state.reason) == (False, "WrongPassword")


async def test_a_missing_database_is_told_as_such(world: World) -> None:
    state = await _observe(world, database="nothere")
    assert state is not None
    assert (state.auth_ok, state.database_ok, state.reason) == (True, False, "NoDatabase")


async def test_where_nothing_listens_there_is_no_server(world: World) -> None:
    state = await world.driver.observe_server(
        host=world.host, port=1, user=USER, password=PASSWORD, database=DATABASE
    )
    assert state is None


@pytest.mark.parametrize("password", ["another", "with 'quotes' and \\ $1 :colon", "päßwörd ½"])
async def test_after_preparing_only_the_new_password_opens(world: World, password: str) -> None:
    world.prepare(USER, password, DATABASE)
    new, old = await _observe(world, password=password), await _observe(world)
    assert new is not None
    assert old is not None
    assert (new.reason, old.reason) == ("Serving", "WrongPassword")


async def test_preparing_makes_what_is_missing_and_may_be_repeated(world: World) -> None:
    for _ in range(2):
        world.prepare("other", "its-own", "other_db")
    state = await _observe(world, user="other", password="its-own", database="other_db")
    assert state is not None
    assert state.ready


def _refusal(sqlstate: str) -> bytes:
    """An ErrorResponse: https://www.postgresql.org/docs/current/protocol-message-formats.html"""
    fields = f"SFATAL\0VFATAL\0C{sqlstate}\0Mno\0\0".encode()
    return b"E" + (len(fields) + 4).to_bytes(4) + fields


@pytest.mark.parametrize(
    ("sqlstate", "ready", "reason"),
    [
        pytest.param("57P03", False, "Starting", id="it starts"),
        pytest.param("53300", True, "TooManyConnections", id="it serves others"),
        pytest.param("XX000", False, "Error", id="something unexpected"),
    ],
)
@pytest.mark.parametrize("side", ["fake", "real"])
async def test_a_refusal_is_read_by_its_sqlstate(
    side: str, sqlstate: str, ready: bool, reason: str
) -> None:
    async with answering(_refusal(sqlstate)) as port:
        server = FakePostgresServer(refuse_with=sqlstate)
        fake = FakePostgres({("127.0.0.1", port): server})
        driver: Postgres = fake if side == "fake" else NetworkPostgres()
        state = await driver.observe_server(
            host="127.0.0.1", port=port, user=USER, password=PASSWORD, database=DATABASE
        )
    assert state is not None
    assert (state.ready, state.reason) == (ready, reason)


@pytest.mark.parametrize("side", ["fake", "real"])
async def test_a_hanging_server_is_given_up(side: str) -> None:
    async with answering(b"") as port:
        fake = FakePostgres({("127.0.0.1", port): FakePostgresServer(hanging=True)})
        driver: Postgres = fake if side == "fake" else NetworkPostgres()
        state = await driver.observe_server(
            host="127.0.0.1",
            port=port,
            user=USER,
            password=PASSWORD,
            database=DATABASE,
            timeout_s=0.05,
        )
        await settle()
    assert state is not None
    assert (state.ready, state.reason) == (False, "TimedOut")


async def test_what_is_no_postgres_is_no_server() -> None:
    async with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        state = await NetworkPostgres().observe_server(
            host="127.0.0.1",
            port=port,
            user=USER,
            password=PASSWORD,
            database=DATABASE,
            timeout_s=0.2,
        )
    assert state is None or not state.ready
