"""One suite for the Redis driver on a real server (in our own image) and on its fake."""

from collections.abc import Iterator
from typing import Protocol

import pytest

from controlplane.errors import RetryableError
from drivers.fake.redis import FakeRedis, FakeRedisServer
from drivers.redis import NetworkRedis, Redis, RedisState
from reconcilers._images import image_for
from tests.containers import Running, bench, wait_until
from tests.contract.silent import answering

PASSWORD = "first-secret"


class World(Protocol):
    """One server."""

    driver: Redis
    host: str
    port: int

    def set_password(self, password: str) -> None:
        """Behind the driver's back; "": none."""
        ...


class FakeWorld:
    host, port = "10.0.0.2", 6379

    def __init__(self) -> None:
        self.server = FakeRedisServer(PASSWORD)
        self.driver: Redis = FakeRedis({(self.host, self.port): self.server})

    def set_password(self, password: str) -> None:
        self.server.password = password


class RealWorld:
    port = 6379

    def __init__(self, server: Running) -> None:
        self.server = server
        self.driver: Redis = NetworkRedis()
        self.host = server.address
        self.set_password(PASSWORD)

    def set_password(self, password: str) -> None:
        # `admin` is made when the server starts, for this test alone
        login = ("redis-cli", "--no-auth-warning", "--user", "admin", "--pass", "admin")
        self.server.exec(*login, "config", "set", "requirepass", password)


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    image = image_for("redis", "7", source="local")
    with bench() as made:
        options = (f"--user={image.user}", f"--volume={made.volume()}:{image.data_path}")
        admin = ("--user", "admin", "on", ">admin", "~*", "&*", "+@all")
        command = ("redis-server", *admin, "--protected-mode", "no", "--appendonly", "yes")
        started = made.run(image.reference, *command, options=options)
        wait_until(lambda: "PONG" in started.exec("redis-cli", "ping", check=False), of=started)
        yield started


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.docker)])
def world(request: pytest.FixtureRequest) -> World:
    if request.param == "fake":
        return FakeWorld()
    return RealWorld(request.getfixturevalue("server"))


async def _observe(world: World, password: str = PASSWORD) -> RedisState | None:
    return await world.driver.observe_server(host=world.host, port=world.port, password=password)


async def _ensure(world: World, current: str, wanted: str) -> None:
    await world.driver.ensure_password(
        host=world.host, port=world.port, current=current, wanted=wanted
    )


async def _limit(world: World, maxmemory_bytes: int, password: str = PASSWORD) -> None:
    await world.driver.ensure_maxmemory(
        host=world.host, port=world.port, password=password, maxmemory_bytes=maxmemory_bytes
    )


async def test_a_serving_server_tells_role_and_version(world: World) -> None:
    state = await _observe(world)
    assert state == RedisState(
        True, True, "Serving", role="master", version="7.0.15", maxmemory_bytes=0
    )
    assert state.used_bytes is not None


async def test_a_wrong_password_is_told_as_such(world: World) -> None:
    state = await _observe(world, "wrong")
    assert state is not None
    assert (state.ready, state.auth_ok, state.reason) == (False, False, "WrongPassword")


async def test_an_open_server_is_not_ready(world: World) -> None:
    world.set_password("")
    state = await _observe(world)
    assert state is not None
    assert (state.ready, state.auth_ok, state.reason) == (False, False, "NoPassword")


async def test_where_nothing_listens_there_is_no_server(world: World) -> None:
    assert await world.driver.observe_server(host=world.host, port=1, password="x") is None


@pytest.mark.parametrize("wanted", ["second", 'with "quotes" \r\n and ünicode'])
async def test_ensure_password_replaces_it_and_may_be_repeated(world: World, wanted: str) -> None:
    for _ in range(2):
        await _ensure(world, PASSWORD, wanted)
    new, old = await _observe(world, wanted), await _observe(world, PASSWORD)
    assert new is not None
    assert old is not None
    assert (new.reason, old.reason) == ("Serving", "WrongPassword")


async def test_ensure_password_closes_an_open_server(world: World) -> None:
    world.set_password("")
    await _ensure(world, PASSWORD, PASSWORD)
    state = await _observe(world)
    assert state is not None
    assert state.reason == "Serving"


async def test_ensure_password_needs_a_password_that_opens(world: World) -> None:
    with pytest.raises(RetryableError) as caught:
        await _ensure(world, "not-this", "nor-this")
    assert caught.value.reason == "PasswordUnknown"


async def test_ensure_password_says_that_nothing_answers(world: World) -> None:
    with pytest.raises(RetryableError) as caught:
        await world.driver.ensure_password(host=world.host, port=1, current="a", wanted="b")
    assert caught.value.reason == "ServerUnavailable"


async def test_ensure_maxmemory_is_told_and_may_be_repeated(world: World) -> None:
    for wanted in (100 * 2**20 + 1, 100 * 2**20 + 1, 0):
        await _limit(world, wanted)
        state = await _observe(world)
        assert state is not None
        assert (state.reason, state.maxmemory_bytes) == ("Serving", wanted)


async def test_ensure_maxmemory_needs_the_password(world: World) -> None:
    with pytest.raises(RetryableError) as caught:
        await _limit(world, 1, "not-this")
    assert caught.value.reason == "MemoryRefused"
    state = await _observe(world)
    assert state is not None
    assert state.maxmemory_bytes == 0


async def test_ensure_maxmemory_says_that_nothing_answers(world: World) -> None:
    with pytest.raises(RetryableError) as caught:
        await world.driver.ensure_maxmemory(
            host=world.host, port=1, password=PASSWORD, maxmemory_bytes=1
        )
    assert caught.value.reason == "ServerUnavailable"


@pytest.mark.parametrize("side", ["fake", "real"])
async def test_a_hanging_server_is_given_up(side: str) -> None:
    async with answering(b"") as port:
        fake = FakeRedis({("127.0.0.1", port): FakeRedisServer(hanging=True)})
        driver: Redis = fake if side == "fake" else NetworkRedis()
        state = await driver.observe_server(
            host="127.0.0.1", port=port, password=PASSWORD, timeout_s=0.05
        )
    assert state is not None
    assert (state.ready, state.reason) == (False, "TimedOut")


@pytest.mark.parametrize("side", ["fake", "real"])
async def test_a_loading_server_is_not_ready(side: str) -> None:
    body = b"maxmemory:0\r\nloading:1\r\nrole:master\r\nredis_version:7.0.15\r\n"
    async with answering(b"+OK\r\n$%d\r\n%b\r\n" % (len(body), body)) as port:
        fake = FakeRedis({("127.0.0.1", port): FakeRedisServer(PASSWORD, loading=True)})
        driver: Redis = fake if side == "fake" else NetworkRedis()
        state = await driver.observe_server(host="127.0.0.1", port=port, password=PASSWORD)
    assert state == RedisState(False, True, "Loading", "master", True, "7.0.15", "", 0)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad\r\n\r\n", b"$99999999999\r\n", b"*1\r\n"])
async def test_what_is_no_redis_is_no_server(answer: bytes) -> None:
    async with answering(answer) as port:
        state = await NetworkRedis().observe_server(host="127.0.0.1", port=port, password="x")
    assert state is None
