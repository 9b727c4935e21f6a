"""Bucket: what becomes of it, its objects and its keys when it is deleted."""

import json
from typing import Any

import pytest

from controlplane.errors import UnderWayError
from controlplane.plan import EnsureSecret, Plan
from drivers.fake.s3 import FakeS3
from drivers.s3 import S3Server
from reconcilers._bucketsteps import (
    MakeKey,
    MakeUser,
    RemoveBucket,
    RemoveObjects,
    RemoveUser,
    SetPolicy,
    SetVersioning,
)
from tests.unit.reconcilers.buckets import NAME, WHERE, BucketWorld, bucket

STATEMENT = {
    "Effect": "Allow",
    "Principal": "*",
    "Action": "s3:PutObject",
    "Resource": f"arn:aws:s3:::{NAME}/*",
}
OPEN = json.dumps({"Version": "2012-10-17", "Statement": [STATEMENT]})


@pytest.fixture
def world() -> BucketWorld:
    return BucketWorld()


async def test_retained_it_keeps_its_objects_and_loses_its_keys(world: BucketWorld) -> None:
    await world.settle(bucket())
    world.found.objects.append("x")
    await world.settle(bucket(deleting=True))
    plan, _ = await world.look(bucket(deleting=True))
    assert plan == Plan()
    assert world.found.objects == ["x"]
    assert world.server.users == {}


@pytest.mark.parametrize(
    "opened", [{"publicRead": True}, {"policy": OPEN}], ids=["public", "policy"]
)
async def test_retained_it_is_open_to_nobody(world: BucketWorld, opened: dict[str, Any]) -> None:
    def policy() -> str | None:
        return world.found.state.policy

    await world.settle(bucket(**opened))
    assert policy() is not None
    await world.settle(bucket(deleting=True, **opened))
    assert policy() is None
    assert (await world.look(bucket(deleting=True, **opened)))[0] == Plan()
    await world.settle(bucket(**opened))
    assert policy() is not None


async def test_retained_its_rules_destroy_nothing_any_more(world: BucketWorld) -> None:
    """No record tells of them."""
    rules: dict[str, Any] = {"lifecycle": [{"name": "tmp", "expireDays": 1}]}
    await world.settle(bucket(**rules))
    world.found.objects.append("x")
    world.found.old.add("x")
    await world.settle(bucket(deleting=True, **rules))
    await world.s3.ensure_expired("c0ffee")
    assert world.found.objects == ["x"]
    assert (await world.look(bucket(deleting=True, **rules)))[0] == Plan()
    await world.settle(bucket(**rules))
    assert len(world.found.state.lifecycle) == 1


async def test_an_empty_one_is_removed_with_its_keys(world: BucketWorld) -> None:
    gone = bucket(deleting=True, deletionPolicy="Delete")
    await world.settle(bucket())
    plan, _ = await world.look(gone)
    assert plan == Plan((RemoveBucket(WHERE, NAME),))
    await world.settle(gone)
    assert (world.server.buckets, world.server.users) == ({}, {})
    assert (await world.look(gone))[0] == Plan()


async def test_one_with_objects_waits_and_its_keys_still_open_it(world: BucketWorld) -> None:
    gone = bucket(deleting=True, deletionPolicy="Delete")
    await world.settle(bucket())
    world.found.objects += ["a", "b"]
    world.found.uploads.append("c")
    report = await world.settle(gone)
    assert report.reason == "BucketNotEmpty"
    assert "2 objects" in report.message
    assert "1 unfinished uploads" in report.message
    assert world.opens(world.secret())


async def test_forced_it_goes_with_its_objects(world: BucketWorld) -> None:
    gone = bucket(deleting=True, deletionPolicy="Delete", forceDelete=True)
    await world.settle(bucket())
    world.found.objects += ["a"] * 2500
    plan, _ = await world.look(gone)
    users = tuple(RemoveUser(WHERE, name) for name in world.server.users)
    assert plan == Plan((*users, RemoveObjects(WHERE, NAME), RemoveBucket(WHERE, NAME)))
    await world.settle(gone)
    assert world.server.buckets == {}


async def test_forced_a_large_one_is_looked_at_again_every_few_seconds(
    world: BucketWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By then somebody may have asked to keep the rest."""
    await world.settle(bucket())
    world.found.objects += ["a"] * 20_000
    empty = FakeS3.delete_content

    async def slowly(s3: FakeS3, server: S3Server, name: str, /, *, limit: int) -> int:
        await world.clock.advance(0.5)
        return await empty(s3, server, name, limit=limit)

    monkeypatch.setattr(FakeS3, "delete_content", slowly)
    with pytest.raises(UnderWayError) as told:
        await world.reconciler("Bucket").apply(RemoveObjects(WHERE, NAME))
    assert told.value.reason == "Emptying"
    assert 10_000 <= len(world.found.objects) < 20_000


async def test_forced_it_goes_with_somebody_writing_all_the_time(
    world: BucketWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.settle(bucket())
    secret, empty = world.secret(), FakeS3.delete_content

    async def emptied(s3: FakeS3, server: S3Server, name: str, /, *, limit: int) -> int:
        count = await empty(s3, server, name, limit=limit)
        if not count and world.opens(secret):
            world.found.objects.append("another")
        return count

    monkeypatch.setattr(FakeS3, "delete_content", emptied)
    world.found.objects.append("a")
    await world.settle(bucket(deleting=True, deletionPolicy="Delete", forceDelete=True))
    assert (world.server.buckets, world.server.users) == ({}, {})


@pytest.mark.parametrize(
    ("force", "uploads"), [(True, ["u"]), (False, [])], ids=["forced", "empty"]
)
async def test_it_goes_with_a_policy_that_denies_its_objects_to_everybody(
    world: BucketWorld, force: bool, uploads: list[str]
) -> None:
    statement = {**STATEMENT, "Effect": "Deny", "Action": "s3:*"}
    spec: dict[str, Any] = {
        "policy": json.dumps({"Statement": [statement]}),
        "deletionPolicy": "Delete",
    }
    await world.settle(bucket(**spec))
    world.found.uploads += uploads
    gone = bucket(deleting=True, forceDelete=force, **spec)
    plan, _ = await world.look(gone)
    assert plan.steps[0] == SetPolicy(WHERE, NAME, None)
    await world.settle(gone)
    assert (world.server.buckets, world.server.users) == ({}, {})


async def test_anothers_bucket_is_not_removed(world: BucketWorld) -> None:
    world.add(("bunker.cloud/owner", "other"))
    gone = bucket(deleting=True, deletionPolicy="Delete", forceDelete=True)
    await world.settle(gone)
    assert NAME in world.server.buckets


async def test_retained_it_goes_when_its_server_is_no_more(world: BucketWorld) -> None:
    del world.services["s3"]
    assert (await world.look(bucket(deleting=True)))[0] == Plan()
    plan, _ = await world.look(bucket(deleting=True, deletionPolicy="Delete"))
    assert plan.wait is not None
    assert plan.wait.reason == "ServiceNotReady"


async def test_policies_come_before_users_in_a_plan(world: BucketWorld) -> None:
    """What a crash leaves is found by the user: it is made first, and goes last."""
    await world.settle(bucket(accessKeys=[]))
    plan, _ = await world.look(bucket())
    assert [type(step) for step in plan.steps] == [MakeUser, EnsureSecret, MakeKey]
    assert not any(isinstance(step, SetVersioning) for step in plan.steps)
