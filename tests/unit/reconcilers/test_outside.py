"""What the sweep finds on servers of our own, and what it leaves alone."""

from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from controlplane.errors import SecretsUnavailableError
from controlplane.records import Key, Stored
from drivers.fake.powerdns import FakeDnsServer, FakePowerDns
from drivers.fake.s3 import FakeS3, FakeS3Server, FakeUser
from reconcilers.outside import S3UserSweeper, ZoneSweeper
from tests.unit.reconcilers.world import Values

KEYS = ("api-key", "access-key", "secret-key")
LIVE, GONE = (f"{n}1111111-1111-1111-1111-111111111111" for n in (0, 1))


class Records:
    """A View of a few records."""

    def __init__(self, *records: Stored) -> None:
        self.records = records

    def list(self, kind: str, namespace: str | None = None, /) -> list[Stored]:
        return [each for each in self.records if each.key.kind == kind]


def stored(kind: str, name: str, uid: str, **body: Any) -> Stored:
    obj: Mapping[str, Any] = {"metadata": {"name": name}, **body}
    return Stored(Key(kind, "platform", name), uid, 1, 1, orjson.dumps(obj))


def platform(**spec: Any) -> Stored:
    status = {
        "endpoints": {"s3": "10.0.0.2:8333"},
        "secretRef": {"name": "s3-credentials"},
        "containerId": "c0ffee",
    }
    return stored("Platform", "s3", "p", spec={"service": "s3", **spec}, status=status)


@pytest.fixture
def server() -> FakeS3Server:
    names = (f"bunker-{LIVE}-default", f"bunker-{GONE}-default", "bunker-admin", "somebody")
    return FakeS3Server("bunkeradmin", "secret", users={name: FakeUser() for name in names})


def sweeper(server: FakeS3Server, *records: Stored) -> S3UserSweeper:
    login = {"access-key": b"bunkeradmin", "secret-key": b"secret"}
    values = Values({("Secret", "s3-credentials"): login})
    view: Any = Records(stored("Bucket", "assets", LIVE), *records)
    return S3UserSweeper(FakeS3({"http://10.0.0.2:8333": server}), values, view)


async def test_users_of_buckets_that_are_gone_are_swept(server: FakeS3Server) -> None:
    swept = sweeper(server, platform())
    (found,) = await swept.list_owned()
    assert (found.uid, found.id) == (GONE, f"s3/bunker-{GONE}-default")
    await swept.remove(found)
    assert f"bunker-{GONE}-default" not in server.users
    assert len(server.users) == 3


async def test_a_server_of_somebody_else_is_not_swept(server: FakeS3Server) -> None:
    external = platform(external={"endpoint": "10.0.0.2:8333"})
    assert await sweeper(server, external).list_owned() == []


async def test_nor_while_the_edit_that_lets_go_of_it_waits(server: FakeS3Server) -> None:
    """The status is of the server that was: it tells of no container."""
    was = platform()
    status = {key: value for key, value in was.obj["status"].items() if key != "containerId"}
    let_go = stored("Platform", "s3", "p", spec=was.obj["spec"], status=status)
    assert await sweeper(server, let_go).list_owned() == []


async def test_a_server_that_is_away_keeps_no_other_sweep(server: FakeS3Server) -> None:
    server.away = True
    assert await sweeper(server, platform()).list_owned() == []


class Sealed(Values):
    """A backend of Secrets that is away."""

    async def read(self, kind: str, namespace: str, name: str, /) -> Mapping[str, bytes] | None:
        raise SecretsUnavailableError("cannot read Secret: Vault is sealed")


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(Sealed(), id="sealed"),
        pytest.param(Values(), id="no Secret"),
        pytest.param(Values({("Secret", "login"): {}}), id="no key"),
        pytest.param(Values({("Secret", "login"): dict.fromkeys(KEYS, b"\xff\xfe")}), id="no text"),
        pytest.param(Values({("Secret", "login"): dict.fromkeys(KEYS, b"a\n")}), id="two lines"),
    ],
)
async def test_a_server_whose_key_cannot_be_read_keeps_no_other_sweep(
    values: Values, server: FakeS3Server
) -> None:
    own = [
        stored(
            "Platform",
            service,
            service,
            spec={"service": service},
            status={
                "endpoints": {port: "10.0.0.2:1"},
                "secretRef": {"name": "login"},
                "containerId": "c0ffee",
            },
        )
        for service, port in (("dns", "api"), ("s3", "s3"))
    ]
    view: Any = Records(*own)
    dns = FakePowerDns({"http://10.0.0.2:1": FakeDnsServer()})
    assert await ZoneSweeper(dns, values, view).list_owned() == []
    s3 = FakeS3({"http://10.0.0.2:1": server})
    assert await S3UserSweeper(s3, values, view).list_owned() == []
