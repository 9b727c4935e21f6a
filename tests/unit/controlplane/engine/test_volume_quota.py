"""Quotas on disk: a Volume is in no namespace, and counts in the one that its claim names."""

from dataclasses import replace
from typing import Any

from controlplane.records import Key
from drivers.fake.models import FakeFile
from resources.kinds import MODELS
from tests.support.platform import Platform
from tests.support.running import USER
from tests.support.virtual import in_virtual_time
from tests.unit.controlplane.engine.quotas import QUOTA, SPACE, begun, database, disk, volume_of


async def volume(
    platform: Platform, name: str, uid: str, space: str = "shop", size: str = "40Gi"
) -> Key:
    """As an administrator writes one."""
    claim = {"namespace": space, "namespaceUid": uid, "name": "db", "engine": "redis"}
    key = await platform.apply("Volume", name, claim=claim, size=size)
    await platform.settle(5)
    return key


@in_virtual_time
async def test_a_volume_beyond_its_namespaces_quota_is_refused_and_its_database_says_so() -> None:
    async with Platform().running() as platform:
        await begun(platform)
        key = await database(platform, "db", "60Gi")
        found = volume_of(platform, key)
        refused = platform.condition(found, "Admitted")
        assert refused["reason"] == "QuotaExceeded"
        assert "quota of namespace 'shop' is short of 10Gi disk" in refused["message"]
        told = platform.condition(key)
        assert told["reason"] == "QuotaExceeded"
        assert found.name in told["message"]
        assert refused["message"] in told["message"]
        assert not platform.engine.volumes
        assert disk(platform) == "0"
        await platform.apply("Quota", "limit", disk="60Gi")
        await platform.settle(30)
        assert platform.ready(key)
        assert disk(platform) == "60Gi"


@in_virtual_time
async def test_what_is_retained_counts_until_it_is_deleted_and_then_wakes_who_waits() -> None:
    async with Platform().running() as platform:
        await begun(platform)
        first = await database(platform, "first", "40Gi")
        kept = volume_of(platform, first)
        await platform.delete(first)
        await platform.settle(60)
        assert platform.status(kept)["phase"] == "Retained"
        assert disk(platform) == "40Gi"
        second = await database(platform, "second", "20Gi")
        assert not platform.ready(second)
        assert str(kept) in platform.condition(second)["message"], "who holds it"
        await platform.delete(kept)
        await platform.settle(30)
        assert platform.ready(second)
        assert disk(platform) == "20Gi"


@in_virtual_time
async def test_a_namespace_made_anew_answers_for_nothing_that_its_predecessor_left() -> None:
    async with Platform().running() as platform:
        await begun(platform)
        kept = volume_of(platform, await database(platform, "first", "40Gi"))
        await platform.delete(SPACE)
        await platform.settle(120)
        assert platform.find(SPACE) is None
        assert platform.ready(kept)
        await platform.apply("Namespace", "shop")
        await begun(platform)
        assert disk(platform) == "0"
        assert platform.ready(await database(platform, "first", "40Gi"))
        assert disk(platform) == "40Gi"
    async with platform.running():
        await platform.settle(30)
        assert disk(platform) == "40Gi"


@in_virtual_time
async def test_a_restart_adds_up_the_same_and_keeps_who_waits() -> None:
    async with Platform().running() as platform:
        await begun(platform)
        first = await database(platform, "first", "40Gi", deletionPolicy="Delete")
        second = await database(platform, "second", "20Gi")
        refused = platform.condition(volume_of(platform, second), "Admitted")
    async with platform.running():
        await platform.settle(30)
        assert disk(platform) == "40Gi"
        assert platform.condition(volume_of(platform, second), "Admitted") == refused
        await platform.delete(first)
        await platform.settle(30)
        assert platform.ready(second)


@in_virtual_time
async def test_what_is_beyond_the_quota_already_serves_on_and_does_not_grow() -> None:
    async with Platform().running() as platform:
        await platform.settle(2)
        key = await database(platform, "db", "60Gi")
        await begun(platform)
        assert platform.condition(QUOTA)["reason"] == "Exceeded"
        assert platform.ready(key)
        await database(platform, "db", "70Gi")
        assert platform.ready(key)
        synced = platform.condition(key, "Synced")
        assert (synced["status"], synced["reason"]) == ("False", "QuotaExceeded")
        assert "quota of namespace 'shop'" in synced["message"]
        assert disk(platform) == "60Gi"
        # it is looked at as often as any other: nothing tells of this death
        (server,) = platform.of(key)
        platform.engine.containers[server.id].state = replace(server, running=False)
        await platform.settle(80)
        assert [each.running for each in platform.of(key)] == [True]
        assert platform.ready(key)
    async with platform.running():
        await platform.settle(30)
        assert platform.ready(key)
        await platform.apply("Quota", "limit", disk="70Gi")
        await platform.settle(5)
        assert platform.condition(key, "Synced")["status"] == "True"
        assert disk(platform) == "70Gi"


def may_become(platform: Platform, key: Key, **spec: Any) -> bool:
    """Whether the API takes that edit."""
    obj, model = platform.get(key).obj, MODELS[key.kind]
    new = model.model_validate({**obj, "spec": {**obj["spec"], **spec}})
    return not new.check_update(model.model_validate(obj))


@in_virtual_time
async def test_a_size_without_room_is_taken_back_to_what_there_was() -> None:
    async with Platform().running() as platform:
        await begun(platform)
        key = await database(platform, "db", "10Gi")
        found = volume_of(platform, key)
        await database(platform, "db", "1000Gi")
        assert platform.status(key)["storage"] == "10Gi"
        assert not may_become(platform, key, storage="9Gi")
        assert not may_become(platform, found, size="9Gi")
        assert may_become(platform, found, size="10Gi")
        assert may_become(platform, key, storage="10Gi")
        await database(platform, "db", "10Gi")
        assert platform.get(found).obj["spec"]["size"] == "10Gi"
        assert platform.status(found)["allocation"] == {"cpu": "0", "memory": "0", "disk": "10Gi"}
        assert platform.condition(key, "Synced")["status"] == "True"
        assert platform.condition(found, "Admitted")["status"] == "True"
        assert platform.status(key)["storage"] == "10Gi"
        assert disk(platform) == "10Gi"


@in_virtual_time
async def test_so_is_the_storage_of_a_model() -> None:
    async with Platform().running() as platform:
        await begun(platform)
        source = {"url": "http://models.test/tiny.gguf"}
        key = await platform.apply("Model", "tiny", source=source, storage="10Gi")
        await platform.settle(60)
        found = volume_of(platform, key)
        await platform.apply("Model", "tiny", storage="1000Gi")
        await platform.settle(60)
        assert platform.status(key)["storage"] == "10Gi"
        assert not may_become(platform, key, storage="9Gi")
        assert may_become(platform, key, storage="10Gi")
        await platform.apply("Model", "tiny", storage="10Gi")
        await platform.settle(60)
        assert platform.get(found).obj["spec"]["size"] == "10Gi"
        assert platform.ready(key)
        assert disk(platform) == "10Gi"


BIG = "http://models.test/big.gguf"
TINY = "http://models.test/tiny.gguf"


async def small_model(platform: Platform) -> Key:
    """In 10Gi, with a file at hand that is larger than the whole quota."""
    await begun(platform)
    platform.llamacpp.sources[BIG] = FakeFile("sha256:" + "a" * 64, 90 << 30)
    key = await platform.apply("Model", "tiny", source={"url": TINY}, storage="10Gi")
    await platform.settle(60)
    assert platform.ready(key)
    return key


@in_virtual_time
async def test_a_model_is_fetched_into_no_more_than_its_volume_has() -> None:
    async with Platform().running() as platform:
        key = await small_model(platform)
        await platform.apply("Model", "tiny", source={"url": BIG}, storage="100Gi")
        await platform.settle(60)
        assert not platform.ready(key)
        assert platform.status(key).get("size") != "90Gi"
        told = platform.condition(key)
        assert told["reason"] == "QuotaExceeded"
        assert volume_of(platform, key).name in told["message"]
        assert platform.condition(key, "Stalled")["status"] == "False", "room mends it, too"
        assert disk(platform) == "10Gi"
    async with platform.running():
        await platform.settle(30)
        assert platform.condition(key)["reason"] == "QuotaExceeded"
        await platform.apply("Quota", "limit", disk="100Gi")
        await platform.settle(30)
        assert platform.ready(key)
        assert platform.status(key)["size"] == "90Gi"
        assert disk(platform) == "100Gi"


@in_virtual_time
async def test_a_model_whose_storage_may_not_grow_is_served_and_mended_in_what_it_has() -> None:
    async with Platform().running() as platform:
        key = await small_model(platform)
        (before,), pulls = platform.of(key), platform.llamacpp.pulls
        await platform.apply("Model", "tiny", storage="100Gi")
        await platform.settle(60)
        assert platform.ready(key)
        assert platform.condition(key, "Synced")["reason"] == "QuotaExceeded"
        assert platform.llamacpp.pulls == pulls
        platform.llamacpp.held.clear()
        await platform.settle(60)
        assert platform.ready(key)
        assert platform.llamacpp.pulls == pulls + 1
        await platform.apply("Quota", "limit", disk="100Gi")
        await platform.settle(60)
        assert platform.ready(key)
        assert platform.condition(key, "Synced")["status"] == "True"
        assert [each.id for each in platform.of(key)] == [before.id]
        assert platform.llamacpp.pulls == pulls + 1


@in_virtual_time
async def test_a_larger_model_is_fetched_once_its_volume_has_grown() -> None:
    async with Platform().running() as platform:
        key = await small_model(platform)
        await platform.apply("Quota", "limit", disk="100Gi")
        pulls = platform.llamacpp.pulls
        await platform.apply("Model", "tiny", source={"url": BIG})
        await platform.settle(30)
        assert platform.condition(key, "Stalled")["reason"] == "TooLarge"
        await platform.apply("Model", "tiny", storage="100Gi")
        await platform.settle(30)
        assert platform.ready(key)
        assert platform.status(key)["size"] == "90Gi"
        await platform.apply("Model", "tiny", source={"url": TINY})
        await platform.settle(30)
        assert platform.ready(key)
        assert platform.llamacpp.pulls == pulls + 3


@in_virtual_time
async def test_a_size_that_got_room_meanwhile_stays_where_it_is_taken_back() -> None:
    """The disk was given, and may be used: whoever wrote last, and whatever he knew."""
    async with Platform().running() as platform:
        await begun(platform)
        key = await database(platform, "db", "10Gi")
        found = volume_of(platform, key)
        await database(platform, "db", "40Gi")
        assert platform.status(key)["storage"] == "40Gi"
        assert not may_become(platform, key, storage="10Gi")
        assert not may_become(platform, found, size="10Gi")
        # by writes that were decided on before
        await platform.apply("Database", "db", storage="10Gi")
        await platform.apply("Volume", found.name, size="10Gi")
        for _ in range(20):
            await platform.settle(0.05)
            assert platform.status(found)["allocation"]["disk"] == "40Gi"
        await platform.settle(60)
        assert platform.status(found)["allocation"]["disk"] == "40Gi"
        assert platform.get(found).obj["spec"]["size"] == "40Gi"
        assert disk(platform) == "40Gi"


@in_virtual_time
async def test_disk_that_was_given_is_never_given_back_while_the_data_is_there() -> None:
    async with Platform().running() as platform:
        await begun(platform)
        kept = await volume(platform, "kept", platform.get(SPACE).uid, size="40Gi")
        # by a write that was decided on before it was given
        await volume(platform, "kept", platform.get(SPACE).uid, size="10Gi")
        await platform.settle(60)
        assert platform.status(kept)["allocation"]["disk"] == "40Gi"
        assert disk(platform) == "40Gi"
    async with platform.running():
        await platform.settle(30)
        assert disk(platform) == "40Gi"


@in_virtual_time
async def test_a_database_that_never_had_room_may_ask_for_less() -> None:
    async with Platform().running() as platform:
        await begun(platform)
        key = await database(platform, "db", "500Gi")
        assert may_become(platform, key, storage="40Gi")
        assert platform.ready(await database(platform, "db", "40Gi"))
        assert disk(platform) == "40Gi"


@in_virtual_time
async def test_a_volume_that_is_handed_on_counts_where_it_goes() -> None:
    """Though that is more than the quota there: the data is there, whoever answers for it."""
    async with Platform().running() as platform:
        await begun(platform)
        meta = {"name": "limit", "namespace": "default"}
        small = {"apiVersion": "bunker.cloud/v1", "kind": "Quota", "metadata": meta}
        await platform.records.create("Quota", {**small, "spec": {"disk": "1Gi"}}, actor=USER)
        kept = await volume(platform, "kept", platform.get(SPACE).uid)
        waiting = await database(platform, "db", "20Gi")
        assert not platform.ready(waiting)
        assert disk(platform) == "40Gi"
        home = platform.get(Key("Namespace", "", "default")).uid
        await volume(platform, "kept", home, "default")
        await platform.settle(30)
        assert platform.ready(kept)
        assert platform.ready(waiting)
        there = Key("Quota", "default", "limit")
        assert (disk(platform), disk(platform, there)) == ("20Gi", "40Gi")
        assert platform.condition(there)["reason"] == "Exceeded"
    async with platform.running():
        await platform.settle(30)
        assert (disk(platform), disk(platform, there)) == ("20Gi", "40Gi")


@in_virtual_time
async def test_a_volume_for_another_namespace_of_that_name_counts_in_none() -> None:
    async with Platform().running() as platform:
        await begun(platform)
        assert platform.ready(await volume(platform, "old", "another", size="60Gi"))
        assert disk(platform) == "0"
        refused = await volume(platform, "new", platform.get(SPACE).uid, size="60Gi")
        assert platform.condition(refused, "Admitted")["reason"] == "QuotaExceeded"
