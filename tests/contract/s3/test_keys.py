"""Users and keys, on a real S3 server and on its fake."""

from dataclasses import replace

import pytest

from controlplane.errors import RetryableError
from tests.contract.s3.worlds import KEY, KEY_SECRET, Did, World, allowing


async def _try(world: World) -> str:
    mine = replace(world.server, access_key=KEY, secret_key=KEY_SECRET)
    return await world.driver.observe_key(mine, world.bucket)


async def test_a_user_is_read_back_with_policy_and_key(world: World, user: str) -> None:
    state = await world.driver.observe_user(world.server, user)
    assert state is not None
    assert state.policy == allowing(world, "GetObject", "PutObject", "DeleteObject")
    assert (state.keys, state.extra_policies) == (((KEY, True),), ())
    assert await world.driver.list_users(world.server, user[:12]) == (user,)
    assert await world.driver.observe_user(world.server, "bunker-nobody") is None


async def test_a_key_opens_its_bucket_and_no_other(world: World, user: str) -> None:
    await world.driver.ensure_bucket(world.server, f"{world.bucket}-other")
    world.put("a")
    dids: tuple[Did, ...] = ("put", "get", "list", "delete")
    assert [world.may(did, "a") for did in dids] == [True] * 4
    assert not any(world.may(did, "a", bucket=f"{world.bucket}-other") for did in dids)


async def test_a_policy_narrowed_is_narrowed_at_once(world: World, user: str) -> None:
    world.put("a")
    await world.driver.ensure_user(world.server, user, allowing(world, "GetObject"))
    assert [world.may("get", "a"), world.may("put", "a")] == [True, False]
    await world.driver.ensure_user(world.server, user, allowing(world, "PutObject", prefix="in/"))
    assert [world.may("put", "in/a"), world.may("put", "a"), world.may("get", "a")] == [
        True,
        False,
        False,
    ]


async def test_a_key_is_tried_with_its_secret(world: World, user: str) -> None:
    assert await _try(world) == "valid"
    await world.driver.ensure_key(world.server, user, KEY, "another-Secret_0123456789")
    assert await _try(world) == "refused"
    await world.driver.ensure_key(world.server, user, KEY, KEY_SECRET)
    assert await _try(world) == "valid"


async def test_a_key_switched_off_shows_and_is_mended(world: World, user: str) -> None:
    world.stop_key(user)
    state = await world.driver.observe_user(world.server, user)
    assert state is not None
    assert state.keys == ((KEY, False),)
    assert await _try(world) == "refused"
    await world.driver.ensure_key(world.server, user, KEY, KEY_SECRET)
    assert await _try(world) == "valid"


async def test_a_deleted_key_opens_nothing(world: World, user: str) -> None:
    for _ in range(2):
        await world.driver.delete_key(world.server, user, KEY)
    assert await _try(world) == "refused"
    for _ in range(2):
        await world.driver.delete_user(world.server, user)
    assert await world.driver.observe_user(world.server, user) is None


async def test_a_users_key_cannot_manage(world: World, user: str) -> None:
    mine = replace(world.server, access_key=KEY, secret_key=KEY_SECRET)
    driver, name = world.driver, world.bucket
    with pytest.raises(RetryableError) as told:
        await driver.ensure_tags(mine, name, (("bunker.cloud/owner", "me"),))
    assert told.value.reason == "AccessRefused"
    with pytest.raises(RetryableError):
        await driver.ensure_policy(mine, name, allowing(world, "GetObject"))
    with pytest.raises(RetryableError):
        await driver.ensure_user(mine, user, allowing(world, "GetObject"))
