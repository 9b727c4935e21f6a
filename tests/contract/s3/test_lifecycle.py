"""Lifecycle rules carried out, on a real S3 server and on its fake."""

from drivers.s3 import Content
from drivers.s3_documents import LifecycleRule
from tests.contract.s3.worlds import World, make_bucket


async def content(world: World) -> Content:
    return await world.driver.observe_content(world.server, world.bucket, limit=99)


async def test_what_is_due_is_removed_when_told_and_nothing_else(world: World) -> None:
    await make_bucket(world)
    rules = (LifecycleRule("tmp", "tmp/", expire_days=1), LifecycleRule("up", abort_upload_days=2))
    await world.driver.ensure_lifecycle(world.server, world.bucket, rules)
    world.put("tmp/old")
    world.put("kept")
    world.upload("tmp/upload")
    world.age()
    world.put("tmp/new")
    assert await content(world) == Content(3, 1, more=False)
    for _ in range(2):
        await world.quotas.ensure_expired(world.container)
        assert await content(world) == Content(2, 0, more=False)


async def test_of_old_versions_the_current_one_stays(world: World) -> None:
    await make_bucket(world)
    await world.driver.ensure_versioning(world.server, world.bucket, enabled=True)
    rules = (LifecycleRule("old", noncurrent_days=1),)
    await world.driver.ensure_lifecycle(world.server, world.bucket, rules)
    world.put("a", versions=3)
    world.age()
    world.put("b", versions=2)
    await world.quotas.ensure_expired(world.container)
    assert await content(world) == Content(3, 0, more=False)


async def test_what_no_rule_is_about_stays(world: World) -> None:
    await make_bucket(world)
    rules = (
        LifecycleRule("off", expire_days=1, enabled=False),
        LifecycleRule("else", "else/", expire_days=1),
    )
    await world.driver.ensure_lifecycle(world.server, world.bucket, rules)
    world.put("a")
    world.upload("b")
    world.age()
    await world.quotas.ensure_expired(world.container)
    assert await content(world) == Content(1, 1, more=False)
