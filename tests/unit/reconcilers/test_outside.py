"""What the sweep finds on servers of our own, and what it leaves alone."""

from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from controlplane.records import Key, Stored
from drivers.fake.s3 import FakeS3, FakeS3Server, FakeUser
from reconcilers.outside import S3UserSweeper
from tests.unit.reconcilers.world import Values

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
    status = {"endpoints": {"s3": "10.0.0.2:8333"}, "secretRef": {"name": "s3-credentials"}}
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


async def test_a_server_that_is_away_keeps_no_other_sweep(server: FakeS3Server) -> None:
    server.away = True
    assert await sweeper(server, platform()).list_owned() == []
