"""Quotas, on a real S3 server and on its fake."""

import pytest

from controlplane.errors import RetryableError
from drivers.s3 import QuotaState
from tests.contract.s3.worlds import World, make_bucket


async def test_a_quota_is_set_in_whole_mib_and_taken_off(world: World) -> None:
    await make_bucket(world)
    await world.quotas.ensure_quota(world.container, world.bucket, (2 << 20) - 5)
    found = await world.quotas.list_quotas(world.container)
    assert found[world.bucket] == QuotaState(0, 2 << 20)
    await world.quotas.ensure_enforced(world.container)
    await world.quotas.ensure_quota(world.container, world.bucket, 0)
    assert (await world.quotas.list_quotas(world.container))[world.bucket].quota_bytes == 0


async def test_a_bucket_over_its_quota_is_closed_for_writes_when_told(
    world: World, user: str
) -> None:
    await world.quotas.ensure_quota(world.container, world.bucket, 2 << 20)
    world.fill(3)
    found = (await world.quotas.list_quotas(world.container))[world.bucket]
    assert found.used_bytes >= 3 << 20
    assert found.due
    await world.quotas.ensure_enforced(world.container)
    assert not (await world.quotas.list_quotas(world.container))[world.bucket].due
    assert not world.may("put", "more")
    await world.quotas.ensure_quota(world.container, world.bucket, 0)
    assert world.may("put", "more")


async def test_an_older_list_of_quotas_knows_what_was_set_since(world: World) -> None:
    await make_bucket(world)
    before = await world.quotas.list_quotas(world.container, max_age_s=300)
    assert before[world.bucket].quota_bytes == 0
    await world.quotas.ensure_quota(world.container, world.bucket, 2 << 20)
    after = await world.quotas.list_quotas(world.container, max_age_s=300)
    assert after[world.bucket].quota_bytes == 2 << 20


async def test_a_quota_of_no_bucket_is_refused(world: World) -> None:
    with pytest.raises(RetryableError) as told:
        await world.quotas.ensure_quota(world.container, world.bucket, 1 << 20)
    assert told.value.reason == "ShellRefused"
