"""Buckets and their settings, on a real S3 server and on its fake."""

from dataclasses import replace

import pytest

from controlplane.errors import RetryableError, TerminalError
from drivers.s3 import BucketState, Content
from drivers.s3_documents import CorsRule, LifecycleRule, policy_of
from tests.contract.s3.worlds import World, make_bucket, state_of


async def test_an_absent_bucket_is_none_and_empty_and_may_be_deleted(world: World) -> None:
    assert await world.driver.observe_bucket(world.server, world.bucket) is None
    found = await world.driver.observe_content(world.server, world.bucket, limit=5)
    assert found == Content(0, 0, more=False)
    assert await world.driver.delete_content(world.server, world.bucket, limit=5) == 0
    await world.driver.delete_bucket(world.server, world.bucket)


async def test_a_bucket_is_made_once_and_is_bare(world: World) -> None:
    await make_bucket(world)
    await make_bucket(world)
    assert await state_of(world) == BucketState(world.bucket)
    assert world.bucket in await world.driver.list_buckets(world.server)


async def test_versioning_goes_on_and_off(world: World) -> None:
    await make_bucket(world)
    await world.driver.ensure_versioning(world.server, world.bucket, enabled=True)
    assert (await state_of(world)).versioning == "Enabled"
    await world.driver.ensure_versioning(world.server, world.bucket, enabled=False)
    assert (await state_of(world)).versioning == "Suspended"


async def test_a_policy_is_read_back_with_the_same_meaning(world: World) -> None:
    await make_bucket(world)
    policy = policy_of(
        {
            "Sid": "PublicRead",
            "Effect": "Allow",
            "Principal": "*",
            "Action": ["s3:GetObject"],
            "Resource": f"arn:aws:s3:::{world.bucket}/public/*",
        }
    )
    await world.driver.ensure_policy(world.server, world.bucket, policy)
    assert (await state_of(world)).policy == policy
    for _ in range(2):
        await world.driver.ensure_policy(world.server, world.bucket, None)
    assert (await state_of(world)).policy is None


async def test_a_policy_about_something_else_is_refused(world: World) -> None:
    await make_bucket(world)
    alien = policy_of(
        {
            "Effect": "Allow",
            "Principal": "*",
            "Action": "s3:GetObject",
            "Resource": "arn:aws:s3:::z/*",
        }
    )
    with pytest.raises(TerminalError) as told:
        await world.driver.ensure_policy(world.server, world.bucket, alien)
    assert told.value.reason == "Refused"


def _denied(world: World, resource: str) -> str:
    here = f"arn:aws:s3:::{world.bucket}{resource}"
    return policy_of({"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": here})


async def test_a_bucket_that_its_policy_denies_is_told_from_wrong_credentials(
    world: World,
) -> None:
    await make_bucket(world)
    await world.driver.ensure_policy(world.server, world.bucket, _denied(world, ""))
    with pytest.raises(RetryableError) as told:
        await world.driver.observe_bucket(world.server, world.bucket)
    assert told.value.reason == "BucketDenied"
    with pytest.raises(RetryableError):
        await world.driver.ensure_policy(world.server, world.bucket, None)
    stranger = replace(world.server, secret_key="no")
    with pytest.raises(RetryableError) as told:
        await world.driver.observe_bucket(stranger, world.bucket)
    assert told.value.reason == "AccessRefused"


async def test_a_bucket_whose_objects_a_policy_denies_is_emptied_without_it(world: World) -> None:
    await make_bucket(world)
    world.put("a")
    world.upload("big")
    await world.driver.ensure_policy(world.server, world.bucket, _denied(world, "/*"))
    with pytest.raises(RetryableError) as told:
        await world.driver.delete_content(world.server, world.bucket, limit=9)
    assert told.value.reason == "AccessRefused"
    await world.driver.ensure_policy(world.server, world.bucket, None)
    await world.driver.delete_content(world.server, world.bucket, limit=9)
    assert (await world.driver.observe_content(world.server, world.bucket, limit=9)).empty


async def test_lifecycle_rules_are_read_back(world: World) -> None:
    await make_bucket(world)
    rules = (
        LifecycleRule("all", abort_upload_days=2),
        LifecycleRule("old", "old/", noncurrent_days=30, enabled=False),
        LifecycleRule("tmp", "tmp/", expire_days=3, noncurrent_days=5, abort_upload_days=1),
    )
    await world.driver.ensure_lifecycle(world.server, world.bucket, rules)
    assert (await state_of(world)).lifecycle == rules
    for _ in range(2):
        await world.driver.ensure_lifecycle(world.server, world.bucket, ())
    assert (await state_of(world)).lifecycle == ()


async def test_cors_rules_are_read_back_in_order(world: World) -> None:
    await make_bucket(world)
    rules = (
        CorsRule(("https://shop.test",), ("GET", "PUT"), ("*",), ("ETag",), 600),
        CorsRule(("*",), ("GET",)),
    )
    await world.driver.ensure_cors(world.server, world.bucket, rules)
    assert (await state_of(world)).cors == rules
    for _ in range(2):
        await world.driver.ensure_cors(world.server, world.bucket, ())
    assert (await state_of(world)).cors == ()


async def test_tags_are_read_back(world: World) -> None:
    await make_bucket(world)
    tags = (("bunker.cloud/owner", "0f8-1/shop"), ("team", "a b"))
    await world.driver.ensure_tags(world.server, world.bucket, tags)
    assert (await state_of(world)).tags == tags
    for _ in range(2):
        await world.driver.ensure_tags(world.server, world.bucket, ())
    assert (await state_of(world)).tags == ()


async def test_content_is_counted_up_to_a_limit(world: World) -> None:
    await make_bucket(world)
    for number in range(3):
        world.put(f"k/{number}")
    world.upload("big")
    count = world.driver.observe_content
    assert await count(world.server, world.bucket, limit=10) == Content(3, 1, more=False)
    assert await count(world.server, world.bucket, limit=2) == Content(2, 1, more=True)


async def test_a_bucket_with_anything_in_it_is_not_deleted(world: World) -> None:
    await make_bucket(world)
    world.put("a")
    with pytest.raises(RetryableError) as told:
        await world.driver.delete_bucket(world.server, world.bucket)
    assert told.value.reason == "BucketNotEmpty"
    assert await world.driver.observe_bucket(world.server, world.bucket) is not None


async def test_an_unfinished_upload_keeps_a_bucket(world: World) -> None:
    await make_bucket(world)
    world.upload("big")
    with pytest.raises(RetryableError) as told:
        await world.driver.delete_bucket(world.server, world.bucket)
    assert told.value.reason == "BucketNotEmpty"


async def test_emptying_takes_versions_and_uploads_in_bites(world: World) -> None:
    await make_bucket(world)
    await world.driver.ensure_versioning(world.server, world.bucket, enabled=True)
    world.put("dir/a b+c", versions=3)
    world.put("ü")
    world.upload("up/load")
    assert await world.driver.delete_content(world.server, world.bucket, limit=2) == 2
    assert await world.driver.delete_content(world.server, world.bucket, limit=100) == 3
    found = await world.driver.observe_content(world.server, world.bucket, limit=9)
    assert found.empty
    await world.driver.delete_bucket(world.server, world.bucket)
    assert await world.driver.observe_bucket(world.server, world.bucket) is None
