"""One suite for pushing metrics, to a real Pushgateway (in our own image) and to its fake."""

import base64
import urllib.request
from collections.abc import Iterator
from typing import Protocol

import bcrypt
import pytest

from controlplane.errors import DriverUnavailableError, TerminalError
from drivers.fake.pushgateway import FakePushgateway
from drivers.pushgateway import HttpPushgateway, Pushgateway
from reconcilers._images import BASE, service_image
from tests.containers import Running, bench, docker, wait_until

LOGIN = ("bunker", "hush")
ONE = b"# TYPE one gauge\none 1\n"
TWO = b"# TYPE two gauge\ntwo 2\n"


class World(Protocol):
    """One server."""

    driver: Pushgateway
    endpoint: str

    def told(self) -> str:
        """What a Prometheus would collect there."""
        ...


class FakeWorld:
    def __init__(self) -> None:
        self.fake = FakePushgateway()
        self.driver: Pushgateway = self.fake
        self.endpoint = self.fake.endpoint

    def told(self) -> str:
        return "\n".join(
            line.replace(" ", f'{{instance="{instance}",job="controlplane"}} ', 1)
            for instance, text in self.fake.groups.items()
            for line in text.decode().splitlines()
            if not line.startswith("#")
        )


class RealWorld:
    def __init__(self, server: Running) -> None:
        self.server = server
        self.driver: Pushgateway = HttpPushgateway()
        self.endpoint = f"{server.address}:9091"

    def told(self) -> str:
        login = base64.b64encode(":".join(LOGIN).encode()).decode()
        request = urllib.request.Request(
            f"http://{self.endpoint}/metrics", headers={"Authorization": f"Basic {login}"}
        )
        body: bytes = urllib.request.urlopen(request, timeout=5).read()
        return body.decode()


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    image = service_image("pushgateway", source="local")
    hashed = bcrypt.hashpw(LOGIN[1].encode(), bcrypt.gensalt(rounds=4)).decode()
    login = f"basic_auth_users: {{{LOGIN[0]}: '{hashed}'}}"
    with bench() as made:
        volume = made.volume()
        options = (f"--volume={volume}:/c", f"--env=TEXT={login}")
        writer = made.run(BASE, "sh", "-c", 'printf %s "$TEXT" >/c/web.yml', options=options)
        docker("wait", writer.id)
        found = made.run(
            image.reference,
            "--web.config.file=/c/web.yml",
            options=(f"--user={image.user}", f"--volume={volume}:/c:ro"),
        )
        wait_until(lambda: "istening on" in found.logs(), of=found)
        yield found


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.docker)])
def world(request: pytest.FixtureRequest) -> World:
    if request.param == "fake":
        return FakeWorld()
    return RealWorld(request.getfixturevalue("server"))


async def test_what_is_pushed_is_there_under_its_instance(world: World) -> None:
    await world.driver.ensure_metrics(world.endpoint, LOGIN, "home", ONE)
    assert 'one{instance="home",job="controlplane"} 1' in world.told()


async def test_a_later_push_replaces_all_of_the_earlier_one(world: World) -> None:
    await world.driver.ensure_metrics(world.endpoint, LOGIN, "home", ONE)
    await world.driver.ensure_metrics(world.endpoint, LOGIN, "home", TWO)
    told = world.told()
    assert 'two{instance="home",job="controlplane"} 2' in told
    assert 'one{instance="home"' not in told


async def test_instances_are_kept_apart(world: World) -> None:
    await world.driver.ensure_metrics(world.endpoint, LOGIN, "a-b", ONE)
    await world.driver.ensure_metrics(world.endpoint, LOGIN, "c", ONE)
    told = world.told()
    assert 'one{instance="a-b",job="controlplane"} 1' in told
    assert 'one{instance="c",job="controlplane"} 1' in told


async def test_a_wrong_password_is_told_apart(world: World) -> None:
    with pytest.raises(TerminalError) as caught:
        await world.driver.ensure_metrics(world.endpoint, ("bunker", "x"), "home", ONE)
    assert caught.value.reason == "Denied"
    assert "hush" not in str(caught.value)


async def test_what_is_no_exposition_is_refused(world: World) -> None:
    with pytest.raises(DriverUnavailableError):
        await world.driver.ensure_metrics(world.endpoint, LOGIN, "home", b"garbage")


async def test_a_server_that_is_away_is_unavailable(world: World) -> None:
    with pytest.raises(DriverUnavailableError):
        await world.driver.ensure_metrics("127.0.0.1:1", LOGIN, "home", ONE)
