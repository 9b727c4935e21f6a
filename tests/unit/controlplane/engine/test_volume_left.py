"""What a record that had no room, or none to grow, leaves when it goes."""

import pytest

from controlplane.records import Key
from tests.support.platform import Platform
from tests.support.virtual import in_virtual_time
from tests.unit.controlplane.engine.quotas import SPACE, begun, database, volume_of


@in_virtual_time
async def test_a_database_that_never_had_room_leaves_no_volume() -> None:
    async with Platform().running() as platform:
        await begun(platform)
        key = await database(platform, "db", "500Gi")
        await platform.delete(key)
        await platform.settle(10)
        assert not platform.store.cache.list("Volume")
        assert platform.ready(await database(platform, "db", "40Gi"))


@in_virtual_time
async def test_nor_a_secret_that_would_be_in_the_way_of_another_engine() -> None:
    async with Platform().running() as platform:
        await begun(platform)
        key = await database(platform, "db", "500Gi")
        await platform.delete(key)
        await platform.settle(10)
        assert not platform.store.cache.list("Secret", "shop")
        await platform.apply("Database", "db", engine="postgres", storage="40Gi")
        await platform.settle(30)
        assert platform.ready(key)


@in_virtual_time
async def test_a_secret_that_was_kept_is_kept_again_by_one_that_never_had_room() -> None:
    """It may open a backup of what its Volume held."""
    async with Platform().running() as platform:
        await begun(platform)
        key = await database(platform, "db", "10Gi")
        secret = Key("Secret", "shop", platform.status(key)["secretRef"]["name"])
        data = (await platform.records.read(platform.get(secret)))["data"]
        kept = volume_of(platform, key)
        for gone in (key, kept):
            await platform.delete(gone)
            await platform.settle(60)
        await database(platform, "db", "500Gi")
        assert not platform.engine.volumes
        await platform.delete(key)
        await platform.settle(60)
        assert (platform.find(key), platform.find(kept)) == (None, None)
        assert (await platform.records.read(platform.get(secret)))["data"] == data


@in_virtual_time
@pytest.mark.parametrize("goes", ["database", "namespace"])
async def test_a_growth_that_waits_goes_with_its_database(goes: str) -> None:
    """The Volume is kept with the disk that it has: nobody is there who wanted more."""
    async with Platform().running() as platform:
        await begun(platform)
        key = await database(platform, "db", "10Gi")
        kept = volume_of(platform, key)
        await database(platform, "db", "60Gi")
        assert platform.condition(kept, "Admitted")["reason"] == "QuotaExceeded"
        await platform.delete(key if goes == "database" else SPACE)
        await platform.settle(120)
        assert platform.find(key) is None
        if goes == "database":
            await platform.apply("Quota", "limit", disk="100Gi")
            await platform.settle(30)
        assert platform.get(kept).obj["spec"]["size"] == "10Gi"
        assert platform.status(kept)["allocation"]["disk"] == "10Gi"
        assert platform.condition(kept, "Admitted")["status"] == "True"
