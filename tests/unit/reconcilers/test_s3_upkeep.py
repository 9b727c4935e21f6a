"""Buckets whose record went while it could not close them, and what is left alone."""

from typing import Any

import pytest

from drivers.fake.s3 import FakeBucket, FakeS3, FakeS3Server
from drivers.s3 import BucketState
from drivers.s3_documents import LifecycleRule, policy_of
from reconcilers._ownservers import own_servers
from reconcilers.s3upkeep import LOOK_AGAIN_S, S3BucketCloser
from tests.clock import ManualClock
from tests.unit.reconcilers.test_outside import Records, platform, stored
from tests.unit.reconcilers.world import Values

MARK = (("bunker.cloud/owner", "ns-uid/assets"),)
RULES = (LifecycleRule("tmp", expire_days=1),)
NAME = "shop-assets"


def opened(name: str, **changes: Any) -> FakeBucket:
    public = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject"}
    policy = policy_of({**public, "Resource": f"arn:aws:s3:::{name}/*"})
    given = {"policy": policy, "lifecycle": RULES, "tags": MARK, **changes}
    return FakeBucket(BucketState(name, **given), ["precious"])


@pytest.fixture
def server() -> FakeS3Server:
    return FakeS3Server("bunkeradmin", "secret", buckets={NAME: opened(NAME)})


def closer(server: FakeS3Server, *records: Any, clock: ManualClock | None = None) -> S3BucketCloser:
    login = {"access-key": b"bunkeradmin", "secret-key": b"secret"}
    values = Values({("Secret", "s3-credentials"): login})
    view: Any = Records(*records)
    s3 = FakeS3({"http://10.0.0.2:8333": server})
    return S3BucketCloser(s3, values, view, clock or ManualClock())


def is_open(server: FakeS3Server, name: str = NAME) -> bool:
    state = server.buckets[name].state
    return state.policy is not None or state.lifecycle != ()


async def sweep(made: S3BucketCloser) -> list[str]:
    found = await made.list_owned()
    for item in found:
        await made.remove(item)
    return [item.name for item in found]


async def test_a_kept_bucket_without_a_record_is_closed_and_keeps_what_it_holds(
    server: FakeS3Server,
) -> None:
    made = closer(server, platform())
    assert await sweep(made) == [NAME]
    assert not is_open(server)
    assert server.buckets[NAME].objects == ["precious"]
    assert server.buckets[NAME].state.tags == MARK
    assert await sweep(made) == []


async def test_what_a_record_wants_is_left_as_it_is(server: FakeS3Server) -> None:
    named = stored("Bucket", "other", "b", spec={"bucketName": NAME})
    assert await sweep(closer(server, platform(), named)) == []
    server.buckets = {"platform-assets": opened("platform-assets")}
    unnamed = stored("Bucket", "assets", "b", spec={})
    assert await sweep(closer(server, platform(), unnamed)) == []
    elsewhere = stored("Bucket", "assets", "b", spec={"server": "other"})
    assert await sweep(closer(server, platform(), elsewhere)) == ["platform-assets"]


async def test_a_record_made_meanwhile_keeps_its_bucket_open(server: FakeS3Server) -> None:
    (found,) = await closer(server, platform()).list_owned()
    now = closer(server, platform(), stored("Bucket", "new", "b", spec={"bucketName": NAME}))
    await now.remove(found)
    (own,) = own_servers(now.view, "s3", "s3")
    await now.stop_rules(own, lambda: None)
    assert is_open(server)


@pytest.mark.parametrize("tags", [(), (("team", "web"),)])
async def test_a_bucket_made_by_hand_is_left_open(server: FakeS3Server, tags: Any) -> None:
    server.buckets[NAME] = opened(NAME, tags=tags)
    assert await sweep(closer(server, platform())) == []
    assert is_open(server)


async def test_a_server_of_somebody_else_or_away_is_left_alone(server: FakeS3Server) -> None:
    external = platform(external={"endpoint": "10.0.0.2:8333"})
    assert await sweep(closer(server, external)) == []
    server.away = True
    assert await sweep(closer(server, platform())) == []
    assert is_open(server)


async def test_one_that_denies_itself_to_the_platform_keeps_no_other_open(
    server: FakeS3Server,
) -> None:
    """Such a policy was accepted once."""
    here = "arn:aws:s3:::a-locked"
    denied = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": here}
    server.buckets["a-locked"] = opened("a-locked", policy=policy_of(denied))
    made = closer(server, platform())
    assert await sweep(made) == [NAME]
    assert not is_open(server)
    # somebody took off what locked it, and that alone
    server.buckets["a-locked"] = opened("a-locked")
    assert await sweep(made) == ["a-locked"]


async def test_rules_alone_are_left_to_who_has_them_carried_out(server: FakeS3Server) -> None:
    server.buckets[NAME] = opened(NAME, policy=None)
    made = closer(server, platform())
    assert await sweep(made) == []
    (own,) = own_servers(made.view, "s3", "s3")
    await made.stop_rules(own, lambda: None)
    assert not is_open(server)


async def test_whose_namespace_is_there_is_known_without_its_record(server: FakeS3Server) -> None:
    elsewhere = (("bunker.cloud/owner", "another-uid/assets"),)
    server.buckets["strange"] = opened("strange", tags=elsewhere)
    made = closer(server, platform(), stored("Namespace", "shop", "ns-uid"))
    told = {item.name: item.known for item in await made.list_owned()}
    assert told == {NAME: True, "strange": False}


async def test_a_closed_bucket_is_looked_at_again_after_an_hour(server: FakeS3Server) -> None:
    clock = ManualClock()
    server.buckets = {NAME: opened(NAME, policy=None, lifecycle=())}
    made = closer(server, platform(), clock=clock)
    assert await sweep(made) == []
    server.buckets[NAME] = opened(NAME)
    assert await sweep(made) == []
    (own,) = own_servers(made.view, "s3", "s3")
    await made.stop_rules(own, lambda: None)  # whatever is remembered
    assert server.buckets[NAME].state.lifecycle == ()
    await clock.advance(LOOK_AGAIN_S)
    assert await sweep(made) == [NAME]
    assert not is_open(server)


@pytest.mark.parametrize(
    "meanwhile",
    [
        pytest.param((), id="no server"),
        pytest.param((platform(), stored("Bucket", "b", "b", spec={"bucketName": NAME})), id="had"),
    ],
)
async def test_a_bucket_that_may_have_been_opened_since_is_looked_at_at_once(
    server: FakeS3Server, meanwhile: Any
) -> None:
    server.buckets = {NAME: opened(NAME, policy=None, lifecycle=())}
    made = closer(server, platform())
    view: Any = made.view
    assert await sweep(made) == []
    view.records = meanwhile
    assert await sweep(made) == []
    view.records = (platform(),)
    server.buckets[NAME] = opened(NAME)
    assert await sweep(made) == [NAME]
