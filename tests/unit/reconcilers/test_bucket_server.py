"""Bucket: what it asks of its server: a quota, features it may lack, and patience."""

import pytest

from controlplane.errors import DriverUnavailableError, RetryableError
from controlplane.plan import Plan, Wait
from drivers.s3 import QuotaState
from reconcilers._bucketsteps import EnforceQuotas, SetQuota
from resources.quantity import parse_bytes
from tests.unit.reconcilers.buckets import NAME, WHERE, BucketWorld, bucket, told


@pytest.fixture
def world() -> BucketWorld:
    return BucketWorld()


# --- quota, and what a server lacks ------------------------------------------------------------


async def test_a_quota_is_set_enforced_and_taken_off(world: BucketWorld) -> None:
    report = await world.settle(bucket(quota="1500Ki"))
    assert told(report).quota == parse_bytes("2Mi")
    assert report.recheck_after_s == 60
    world.found.quota = QuotaState(3 << 20, 2 << 20)
    plan, _ = await world.look(bucket(quota="1500Ki"))
    assert plan == Plan((EnforceQuotas(WHERE),))
    report = await world.settle(bucket(quota="1500Ki"))
    assert _closed(world)
    assert told(report).used == parse_bytes("3Mi")
    without = bucket(was=told(report))
    plan, _ = await world.look(without)
    assert plan == Plan((SetQuota(WHERE, NAME, 0),))
    report = await world.settle(without)
    assert not _closed(world)
    assert told(await world.settle(bucket(was=told(report)))).quota is None


def _closed(world: BucketWorld) -> bool:
    return world.found.closed


async def test_what_the_server_lacks_is_told_and_the_rest_is_done(world: BucketWorld) -> None:
    world.server.lacks = frozenset({"cors", "lifecycle"})
    wanted = bucket(versioning=True, cors=[{"origins": ["*"]}])
    report = await world.settle(wanted)
    (supported,) = report.conditions
    assert (supported.status, supported.reason) == ("False", "NotSupported")
    assert "cors" in supported.message
    assert "lifecycle" not in supported.message
    assert report.ready
    assert world.found.state.versioning == "Enabled"


async def test_an_external_server_has_no_quota(world: BucketWorld) -> None:
    where = "https://s3.example.org:443"
    world.serve({"s3": where}, address=where, containerId="")
    report = await world.settle(bucket(quota="1Gi"))
    (supported,) = report.conditions
    assert "quota" in supported.message
    assert told(report).endpoint == where
    assert world.secret()["endpoint"] == where


# --- servers that don't serve ------------------------------------------------------------------


async def test_it_waits_for_its_service(world: BucketWorld) -> None:
    world.serve({})
    plan, report = await world.look(bucket())
    wait = Wait("ServiceNotReady", "Platform 's3' is not ready: it starts", 10.0)
    assert plan == Plan(wait=wait)
    assert report.reason == "ServiceNotReady"


async def test_a_service_without_credentials_is_told(world: BucketWorld) -> None:
    del world.values.data[("Secret", "s3-credentials")]["secret-key"]
    with pytest.raises(RetryableError) as told_:
        await world.look(bucket())
    assert told_.value.reason == "ServiceCredentialsMissing"


@pytest.mark.parametrize(
    ("fault", "error"), [("away", DriverUnavailableError), ("garbage", RetryableError)]
)
async def test_a_server_in_trouble_is_an_error_and_no_plan(
    world: BucketWorld, fault: str, error: type[Exception]
) -> None:
    await world.settle(bucket())
    setattr(world.server, fault, True)
    with pytest.raises(error):
        await world.look(bucket())


async def test_a_crash_after_any_change_ends_the_same_way(world: BucketWorld) -> None:
    from drivers.fake.engine import CrashError

    wanted = bucket(versioning=True, quota="1Mi", accessKeys=[{"name": "a"}, {"name": "b"}])
    for changes in range(1, 12):
        made = BucketWorld()
        made.s3.crash_after(changes)
        try:
            await made.settle(wanted)
        except CrashError:
            await made.settle(wanted)
        assert sorted(name.rpartition("-")[2] for name in made.server.users) == ["a", "b"]
        assert [len(user.keys) for user in made.server.users.values()] == [1, 1]
        assert all(made.opens(made.secret(key)) for key in ("a", "b"))
