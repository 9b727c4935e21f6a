"""A Quota tells how many records its namespace holds, soon and in few writes."""

from controlplane.records import Key
from tests.support.platform import Platform
from tests.support.running import USER
from tests.support.virtual import in_virtual_time

MANY = 200
QUOTA = Key("Quota", "shop", "limit")


async def note(platform: Platform, name: str) -> Key:
    """A ConfigMap: a record of which nothing is outside."""
    meta = {"name": name, "namespace": "shop"}
    obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {}}
    await platform.records.create("ConfigMap", obj, actor=USER)
    return Key("ConfigMap", "shop", name)


def held(platform: Platform) -> int:
    return int(platform.status(QUOTA)["used"]["records"])


@in_virtual_time
async def test_it_follows_what_comes_and_goes() -> None:
    async with Platform().running() as platform:
        await platform.settle(2)
        await platform.apply("Quota", "limit", records=1000)
        await platform.settle(3)
        alone = held(platform)
        names = [await note(platform, f"note-{number}") for number in range(3)]
        await platform.settle(3)
        assert held(platform) == alone + 3
        await platform.delete(names[0])
        await platform.settle(3)
        assert held(platform) == alone + 2


@in_virtual_time
async def test_a_burst_is_told_in_one_write_and_other_quotas_are_left_alone() -> None:
    async with Platform().running() as platform:
        await platform.settle(2)
        await platform.apply("Quota", "limit", records=1000)
        meta = {"name": "other", "namespace": "default"}
        other = {"apiVersion": "bunker.cloud/v1", "kind": "Quota", "metadata": meta}
        await platform.records.create("Quota", {**other, "spec": {"cpu": "1"}}, actor=USER)
        await platform.settle(3)
        alone, writes = held(platform), platform.store.writes_to(QUOTA)
        elsewhere = platform.store.writes_to(Key("Quota", "default", "other"))
        for number in range(MANY):
            await note(platform, f"note-{number}")
        await platform.settle(3)
        assert held(platform) == alone + MANY
        assert platform.store.writes_to(QUOTA) - writes <= 2, "one, and one for who came late"
        assert platform.store.writes_to(Key("Quota", "default", "other")) == elsewhere
        await platform.apply("Quota", "limit", records=10)
        await platform.settle(3)
        assert platform.condition(QUOTA)["reason"] == "Exceeded"
        assert "records" in platform.condition(QUOTA)["message"]
