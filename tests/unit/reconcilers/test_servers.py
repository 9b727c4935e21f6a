"""What a database server's answer means, and how its password is set."""

from typing import Any

import pytest

from controlplane.errors import RetryableError
from drivers.containers import ContainerSpec, Limits, Owner
from drivers.fake.containers import FakeContainers
from drivers.fake.postgres import FakePostgres, FakePostgresServer
from drivers.fake.redis import FakeRedis, FakeRedisServer
from reconcilers._servers import Login, NetworkServers, Told

PLACE = ("10.201.0.2", 5432)
LOGIN = Login("app", "app")


def servers(postgres: FakePostgresServer | None, redis: FakeRedisServer | None) -> NetworkServers:
    return NetworkServers(
        FakePostgres({PLACE: postgres} if postgres else {}),
        FakeRedis({PLACE: redis} if redis else {}),
        FakeContainers(),
    )


def postgres(**changes: Any) -> FakePostgresServer:
    made = {"passwords": {"app": "right"}, "databases": {"app"}, **changes}
    return FakePostgresServer(**made)


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        pytest.param(None, "silent", id="nothing there"),
        pytest.param(postgres(), "serving", id="serves"),
        pytest.param(postgres(passwords={"app": "other"}), "denied", id="wrong password"),
        pytest.param(postgres(databases=set()), "denied", id="no database"),
        pytest.param(postgres(refuse_with="57P03"), "silent", id="starting"),
        pytest.param(postgres(refuse_with="53300"), "serving", id="full, and so serving"),
        pytest.param(postgres(hanging=True), "silent", id="hanging"),
    ],
)
async def test_a_postgres_answers(server: FakePostgresServer | None, expected: str) -> None:
    told = await servers(server, None).ask("postgres", *PLACE, LOGIN, "right")
    assert told.answer == expected


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        pytest.param(None, "silent", id="nothing there"),
        pytest.param(FakeRedisServer("right"), "serving", id="serves"),
        pytest.param(FakeRedisServer("other"), "denied", id="wrong password"),
        pytest.param(FakeRedisServer(""), "denied", id="open to everyone"),
        pytest.param(FakeRedisServer("right", loading=True), "silent", id="loading"),
    ],
)
async def test_a_redis_answers(server: FakeRedisServer | None, expected: str) -> None:
    told = await servers(None, server).ask("redis", *PLACE, LOGIN, "right")
    assert told.answer == expected


async def test_a_redis_tells_its_memory_and_takes_another() -> None:
    made = servers(None, FakeRedisServer("right", maxmemory_bytes=5, used_bytes=3))
    told = await made.ask("redis", *PLACE, LOGIN, "right")
    assert (told, told.used_bytes) == (Told("serving", 5), 3)
    await made.limit(*PLACE, "right", 7)
    assert await made.ask("redis", *PLACE, LOGIN, "right") == Told("serving", 7)


class Shell(FakeContainers):
    """Remembers what was run, and ends with `code`."""

    code = 0
    argv: tuple[str, ...] = ()
    given = b""

    async def exec_container(
        self,
        container_id: str,
        argv: tuple[str, ...],
        /,
        *,
        stdin: bytes = b"",
        timeout_s: float,
        apart: bool = False,
    ) -> tuple[int, str]:
        self.argv, self.given = argv, stdin
        return self.code, "ERROR: near canary-password"


async def test_a_password_is_set_by_its_verifier_through_stdin() -> None:
    shell = Shell()
    made = NetworkServers(FakePostgres(), FakeRedis(), shell)
    await made.heal("postgres", "id", LOGIN, "canary-password")
    assert shell.argv[0] == "psql"
    assert b"SCRAM-SHA-256$" in shell.given
    assert b"canary-password" not in shell.given
    assert "canary-password" not in " ".join(shell.argv)


async def test_a_password_that_cannot_be_set_is_told_without_it() -> None:
    shell = Shell()
    shell.code = 3
    made = NetworkServers(FakePostgres(), FakeRedis(), shell)
    with pytest.raises(RetryableError) as caught:
        await made.heal("postgres", "id", LOGIN, "canary-password")
    assert "canary" not in str(caught.value)


def test_the_spec_of_a_container_holds_no_place_for_a_secret() -> None:
    spec = ContainerSpec("n", Owner("u", "K", "ns", "n"), "i", "", Limits(1, 1))
    assert "secret_env" not in ContainerSpec.__slots__
    assert spec.env == {}
