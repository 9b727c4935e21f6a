"""Bucket: how it is made on its server, whose it is, and how it is mended."""

import json
from typing import Any

import pytest

from controlplane.plan import Plan
from drivers.s3_documents import CorsRule, LifecycleRule, canonical_policy
from reconcilers._bucketsteps import MakeBucket, SetTags
from resources.bucket import BucketStatus
from tests.unit.reconcilers.buckets import ARN, MARK, NAME, WHERE, BucketWorld, bucket, told


@pytest.fixture
def world() -> BucketWorld:
    return BucketWorld()


# --- making and keeping it -------------------------------------------------------------------


async def test_it_is_made_and_marked_then_set_up_then_handed_out(world: BucketWorld) -> None:
    plan, report = await world.look(bucket())
    assert plan == Plan((MakeBucket(WHERE, NAME), SetTags(WHERE, NAME, (MARK,))))
    assert (report.ready, report.reason) == (False, "NotCreated")
    report = await world.settle(bucket(versioning=True))
    assert (report.ready, report.reason) == (True, "Serving")
    assert world.found.state.tags == (MARK,)
    assert world.found.state.versioning == "Enabled"
    status = told(report)
    assert (status.bucket, status.endpoint) == (NAME, "http://s3:8333")
    assert [key.name for key in status.access_keys] == ["default"]
    assert status.secret_ref is not None
    assert status.secret_ref.name == "shop-default"


async def test_settled_it_changes_nothing(world: BucketWorld) -> None:
    wanted = bucket(versioning=True, publicRead=True, quota="2Mi", tags={"a": "b"})
    await world.settle(wanted)
    writes = dict(world.s3.writes)
    plan, _ = await world.look(wanted)
    assert plan == Plan()
    assert dict(world.s3.writes) == writes


async def test_its_secret_opens_it_and_tells_where(world: BucketWorld) -> None:
    await world.settle(bucket())
    secret = world.secret()
    assert world.opens(secret)
    assert secret["endpoint"] == "http://s3:8333"
    assert (secret["type"], secret["bucket"], secret["region"]) == ("s3", NAME, "here")
    uri = f"s3://{secret['access-key']}:{secret['secret-key']}@s3:8333/{NAME}"
    assert secret["uri"] == uri


EDITS: list[Any] = [
    pytest.param({"versioning": True}, {"versioning": "Enabled"}, id="versioning"),
    pytest.param(
        {"lifecycle": [{"name": "tmp", "prefix": "tmp/", "expireDays": 3}]},
        {"lifecycle": (LifecycleRule("tmp", "tmp/", expire_days=3),)},
        id="lifecycle",
    ),
    pytest.param(
        {"cors": [{"origins": ["*"], "exposeHeaders": ["ETag"]}]},
        {"cors": (CorsRule(("*",), ("GET",), (), ("ETag",)),)},
        id="cors",
    ),
    pytest.param({"tags": {"team": "web"}}, {"tags": (MARK, ("team", "web"))}, id="tags"),
    pytest.param(
        {"publicRead": True},
        {
            "policy": canonical_policy(
                {
                    "Version": "2012-10-17",
                    "Statement": {
                        "Sid": "PublicRead",
                        "Effect": "Allow",
                        "Principal": "*",
                        "Action": "s3:GetObject",
                        "Resource": f"{ARN}/*",
                    },
                }
            )
        },
        id="public",
    ),
]


@pytest.mark.parametrize(("spec", "found"), EDITS)
async def test_an_edit_there_and_back_is_as_if_it_never_was(
    world: BucketWorld, spec: dict[str, Any], found: dict[str, Any]
) -> None:
    await world.settle(bucket())
    bare = world.found.state
    await world.settle(bucket(**spec))
    assert {name: getattr(world.found.state, name) for name in found} == found
    await world.settle(bucket())
    # S3 has no way back from versioning to never having had it
    world.server.edit(NAME, versioning="Off")
    assert world.found.state == bare


@pytest.mark.parametrize(("spec", "found"), EDITS)
async def test_what_others_change_is_mended(
    world: BucketWorld, spec: dict[str, Any], found: dict[str, Any]
) -> None:
    await world.settle(bucket(**spec))
    state = world.found.state
    world.server.edit(
        NAME, versioning="Suspended", policy="{}", lifecycle=(), cors=(), tags=(("x", "y"),)
    )
    await world.settle(bucket(was=BucketStatus(bucket=NAME), **spec))
    if state.versioning == "Off":
        world.server.edit(NAME, versioning="Off")
    assert world.found.state == state


async def test_a_policy_is_compared_by_meaning(world: BucketWorld) -> None:
    statement = {
        "Effect": "Deny",
        "Principal": {"AWS": ["*"]},
        "Action": "s3:DeleteObject",
        "Resource": [f"{ARN}/kept/*"],
    }
    wanted = bucket(policy=json.dumps({"Statement": [statement]}))
    await world.settle(wanted)
    other = {**statement, "Principal": "*", "Action": ["s3:DeleteObject"]}
    text = json.dumps({"Statement": [other], "Version": "2012-10-17"}, indent=2)
    assert await _changes(world, bucket(policy=text)) == ()


async def _changes(world: BucketWorld, wanted: Any) -> tuple[Any, ...]:
    plan, _ = await world.look(wanted)
    return plan.steps


async def test_a_bucket_deleted_behind_its_back_is_made_anew(world: BucketWorld) -> None:
    await world.settle(bucket())
    del world.server.buckets[NAME]
    report = await world.settle(bucket())
    assert report.ready
    assert world.found.state.tags == (MARK,)


# --- whose it is -----------------------------------------------------------------------------


async def test_anothers_bucket_is_left_alone_and_told_without_a_name(world: BucketWorld) -> None:
    world.add(("bunker.cloud/owner", "other-uid/their-record"))
    plan, report = await world.look(bucket())
    assert plan.wait is not None
    assert plan.wait.reason == report.reason == "BucketTaken"
    assert "their-record" not in plan.wait.message


async def test_an_unmarked_bucket_with_objects_is_not_taken(world: BucketWorld) -> None:
    world.add(objects=1)
    plan, _ = await world.look(bucket())
    assert plan.wait is not None
    assert plan.wait.reason == "BucketTaken"


async def test_an_unmarked_empty_bucket_is_taken(world: BucketWorld) -> None:
    world.add()
    assert (await world.settle(bucket())).ready


async def test_an_administrators_tag_hands_it_over(world: BucketWorld) -> None:
    world.add(("bunker.cloud/owner", "old/one"), ("bunker.cloud/adopt", "shop/shop"), objects=3)
    assert (await world.settle(bucket())).ready
    assert world.found.state.tags == (MARK,)
    assert len(world.found.objects) == 3


async def test_the_next_record_of_its_name_finds_a_retained_one(world: BucketWorld) -> None:
    await world.settle(bucket())
    world.found.objects.append("x")
    await world.settle(bucket(deleting=True))
    assert world.server.users == {}
    assert not any(name.startswith("shop-") for _, name in world.values.data)
    assert (await world.settle(bucket())).ready
    assert world.found.objects == ["x"]
