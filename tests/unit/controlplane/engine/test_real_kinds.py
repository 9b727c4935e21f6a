"""The real kinds under the real engine on fake drivers: made, healed, adopted, deleted."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from api.qualified import is_value
from controlplane.engine.children import CLAIM_LABEL
from controlplane.errors import ControlPlaneError, RetryableError, TerminalError
from controlplane.records import Key, Write
from controlplane.seam import Call
from drivers.containers import NetworkState
from drivers.fake.engine import Container
from resources.database import Database
from tests.support.platform import Platform
from tests.support.running import USER
from tests.support.virtual import in_virtual_time

SHOP = Key("Namespace", "", "shop")
HOURS_S = 2 * 3600.0


async def quickstart(platform: Platform) -> tuple[Key, Key, Key]:
    pg = await platform.apply("Database", "pg", engine="postgres")
    cache = await platform.apply("Database", "cache", engine="redis")
    web = await platform.apply(
        "App", "web", image="web:1", port=80, databaseRefs=[{"name": "pg"}, {"name": "cache"}]
    )
    await platform.settle(60)
    return pg, cache, web


@in_virtual_time
async def test_quickstart_becomes_ready_and_then_is_silent_for_hours() -> None:
    async with Platform().running() as platform:
        await platform.settle(1)
        keys = await quickstart(platform)
        for key in (SHOP, *keys, Key("Host", "", "host")):
            assert platform.ready(key), f"{key}: {platform.condition(key)}"
        await platform.settle(60)
        mine = [w for w in platform.store.writes if w.key.kind != "Event"]
        changes = sum(platform.engine.writes.values())
        await platform.settle(HOURS_S)
        later = [w for w in platform.store.writes if w.key.kind != "Event"]
        assert [str(w.key) for w in later[len(mine) :]] == []
        assert sum(platform.engine.writes.values()) == changes


@in_virtual_time
async def test_killed_and_removed_containers_are_healed_within_a_second() -> None:
    async with Platform().running() as platform:
        await platform.settle(1)
        _, cache, web = await quickstart(platform)
        platform.engine.kill(platform.of(web)[0].name)
        platform.engine.remove(platform.of(cache)[0].name)
        await platform.settle(1)
        assert platform.of(web)[0].running
        assert platform.of(cache)[0].running
        await platform.settle(30)
        assert platform.ready(web)
        assert platform.ready(cache)


@in_virtual_time
async def test_restart_adopts_all_and_restarts_nothing() -> None:
    async with Platform().running() as platform:
        await platform.settle(1)
        keys = await quickstart(platform)
    before = {key: [each.id for each in platform.of(key)] for key in keys}
    changes = sum(platform.engine.writes.values())
    async with platform.running():
        await platform.settle(700)
        assert {key: [each.id for each in platform.of(key)] for key in keys} == before
        assert sum(platform.engine.writes.values()) == changes


@in_virtual_time
async def test_deleted_database_keeps_its_data_and_the_next_one_adopts_it() -> None:
    platform = Platform()
    secret = Key("Secret", "shop", "pg-credentials")
    async with platform.running():
        await platform.settle(1)
        pg = await platform.apply("Database", "pg", engine="postgres")
        await platform.settle(30)
        name = platform.status(pg)["secretRef"]["name"]
        secret = Key("Secret", "shop", name)
        password = (await platform.records.read(platform.get(secret)))["data"]["password"]
        volumes = set(platform.engine.volumes)
        await platform.delete(pg)
        await platform.settle(1300)
        assert platform.find(pg) is None
        assert set(platform.engine.volumes) == volumes
        assert len(platform.store.cache.list("Volume")) == 1
        await platform.apply("Database", "pg", engine="postgres")
        await platform.settle(30)
        assert platform.ready(pg)
        assert set(platform.engine.volumes) == volumes
        again = (await platform.records.read(platform.get(secret)))["data"]["password"]
        assert again == password


@in_virtual_time
async def test_the_secret_of_a_database_of_a_long_name_can_be_edited_and_is_adopted() -> None:
    name = "database-of-orders-and-of-all-that-is-delivered-from-the-north"
    secret = Key("Secret", "shop", f"{name}-credentials")
    async with Platform().running() as platform:
        await platform.settle(1)
        key = await platform.apply("Database", name, engine="postgres")
        await platform.settle(30)
        (label,) = platform.get(secret).labels.values()
        assert is_value(label), label
        password = (await platform.records.read(platform.get(secret)))["data"]["password"]
        volume = platform.status(key)["volume"]
        await platform.delete(key)
        await platform.settle(30)
        # as an earlier release labelled it
        kept = await platform.records.read(platform.get(secret))
        labelled = {**kept["metadata"], "labels": {CLAIM_LABEL: volume}}
        await platform.edit(platform.get(secret), {**kept, "metadata": labelled})
        await platform.apply("Database", name, engine="postgres")
        await platform.settle(30)
        assert platform.ready(key), platform.condition(key)
        adopted = await platform.records.read(platform.get(secret))
        assert adopted["data"]["password"] == password
        assert adopted["metadata"]["labels"] == {CLAIM_LABEL: label}


@in_virtual_time
async def test_who_asks_for_orphans_keeps_the_data_whatever_its_policy() -> None:
    """As `kubectl delete --cascade=orphan`; also where it is asked for while the record goes."""
    for asked in (("Orphan",), ("Foreground", "Orphan")):
        async with Platform().running() as platform:
            await platform.settle(1)
            policy = {"engine": "postgres", "deletionPolicy": "Delete"}
            pg = await platform.apply("Database", "pg", **policy)
            await platform.settle(30)
            secret = Key("Secret", "shop", platform.status(pg)["secretRef"]["name"])
            password = (await platform.records.read(platform.get(secret)))["data"]["password"]
            volumes = set(platform.engine.volumes)
            for propagation in asked:
                await platform.delete(pg, propagation)
            await platform.settle(1300)
            assert platform.find(pg) is None
            assert platform.engine.containers == {}
            assert len(volumes) == 1
            assert set(platform.engine.volumes) == volumes
            (volume,) = platform.store.cache.list("Volume")
            assert (volume.owner_uids, platform.get(secret).owner_uids) == ((), ())
            await platform.apply("Database", "pg", **policy)
            await platform.settle(30)
            assert platform.ready(pg)
            assert set(platform.engine.volumes) == volumes
            again = (await platform.records.read(platform.get(secret)))["data"]["password"]
            assert again == password


class Slow:
    """Each removal of a container takes its time, as a server's that is shut down."""

    def opened(self, port: str, verbs: Sequence[str], /) -> None:
        pass

    async def __call__(self, call: Call, /) -> Any:
        if (call.port, call.verb) == ("containers", "delete_container"):
            await asyncio.sleep(5)
        return await call.go()


@in_virtual_time
async def test_orphans_may_be_asked_for_while_the_server_is_shut_down() -> None:
    async with Platform(seam=Slow()).running() as platform:
        await platform.settle(1)
        pg = await platform.apply("Database", "pg", engine="postgres", deletionPolicy="Delete")
        await platform.settle(30)
        secret = Key("Secret", "shop", platform.status(pg)["secretRef"]["name"])
        volumes = set(platform.engine.volumes)
        assert len(volumes) == 1
        await platform.delete(pg)
        await platform.settle(1)
        assert platform.of(pg)
        await platform.delete(pg, "Orphan")
        await platform.settle(1300)
        assert platform.find(pg) is None
        assert set(platform.engine.volumes) == volumes
        assert platform.find(secret) is not None
        assert [each.owner_uids for each in platform.store.cache.list("Volume")] == [()]


@in_virtual_time
async def test_delete_policy_leaves_nothing() -> None:
    async with Platform().running() as platform:
        await platform.settle(1)
        pg = await platform.apply("Database", "pg", engine="postgres", deletionPolicy="Delete")
        await platform.settle(30)
        assert platform.ready(pg)
        await platform.delete(pg)
        await platform.settle(60)
        assert platform.find(pg) is None
        assert platform.engine.volumes == {}
        assert platform.store.cache.list("Volume") == []
        assert platform.store.cache.list("Secret") == []
        assert platform.engine.containers == {}


@in_virtual_time
async def test_namespace_takes_all_with_it_but_retained_volumes() -> None:
    async with Platform().running() as platform:
        await platform.settle(1)
        await quickstart(platform)
        await platform.delete(SHOP)
        await platform.settle(120)
        assert platform.find(SHOP) is None
        assert platform.engine.containers == {}
        assert len(platform.engine.volumes) == 2
        assert len(platform.engine.networks) == 1


@in_virtual_time
async def test_host_tells_what_is_allocated() -> None:
    platform = Platform()
    host = Key("Host", "", "host")
    async with platform.running():
        await platform.settle(1)
        for i in range(20):
            await platform.apply(
                "App", f"a{i}", image="web:1", port=80,
                resources={"cpu": "500m", "memory": "64Mi"},
            )  # fmt: skip
        await platform.settle(60)
        ready = [i for i in range(20) if platform.ready(Key("App", "shop", f"a{i}"))]
        assert len(ready) == 7
        status = platform.status(host)
        assert status["free"]["cpu"] == "0"
        assert status["allocated"]["cpu"] == "3500m"


@in_virtual_time
async def test_a_host_of_more_cpu_than_measured_keeps_its_measured_memory() -> None:
    platform = Platform()
    async with platform.running():
        await platform.settle(1)
        await platform.apply("Host", "host", capacity={"cpu": "16"}, reserved={"memory": "1Gi"})
        big = await platform.apply(
            "App", "big", image="web:1", port=80, resources={"cpu": "15", "memory": "1Gi"}
        )
        await platform.settle(60)
        assert platform.ready(big), platform.condition(big)


@in_virtual_time
async def test_an_app_that_serves_tells_what_its_edit_waits_for() -> None:
    platform = Platform()
    async with platform.running():
        await platform.settle(1)
        web = await platform.apply("App", "web", image="web:1", port=80)
        await platform.settle(30)
        await platform.apply("App", "web", envFrom=[{"secretRef": {"name": "keys"}}])
        await platform.settle(30)
        assert platform.ready(web)
        synced = platform.condition(web, "Synced")
        assert (synced["status"], synced["reason"]) == ("False", "SecretMissing")
        assert "'keys'" in synced["message"]
        await platform.records.create(
            "Secret",
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "keys", "namespace": "shop"},
                "data": {"TOKEN": "aHVzaA=="},
            },
            actor=USER,
        )
        await platform.settle(30)
        assert platform.condition(web, "Synced")["status"] == "True"


@in_virtual_time
async def test_a_redis_that_serves_tells_that_its_data_does_not_fit_into_less_memory() -> None:
    async with Platform().running() as platform:
        await platform.settle(1)
        cache = await platform.apply(
            "Database", "cache", engine="redis", plan="basic", storage="10Gi"
        )
        await platform.settle(30)
        platform.servers.used_bytes = 300 * 2**20
        await platform.apply("Database", "cache", plan="starter")
        await platform.settle(120)
        assert platform.ready(cache)
        synced = platform.condition(cache, "Synced")
        assert (synced["status"], synced["reason"]) == ("False", "MemoryInUse")
        assert platform.status(cache)["allocation"]["memory"] == "512Mi"
        written = len(platform.store.writes)
        platform.engine.remove(platform.of(cache)[0].name)
        await platform.settle(120)
        assert platform.of(cache)[0].limits.memory_bytes == 512 * 2**20
        assert platform.status(cache)["allocation"]["memory"] == "512Mi"
        assert len(platform.store.writes) - written < 20

        platform.servers.used_bytes = 0
        await platform.settle(20)
        assert platform.condition(cache, "Synced")["status"] == "True"
        assert platform.of(cache)[0].limits.memory_bytes == 256 * 2**20
        assert platform.status(cache)["allocation"]["memory"] == "256Mi"


@in_virtual_time
async def test_a_plan_that_has_no_room_is_taken_back() -> None:
    async with Platform().running() as platform:
        await platform.settle(1)
        key = await platform.apply("Database", "pg", engine="postgres", plan="starter")
        await platform.settle(30)
        before = platform.get(key).obj
        await platform.apply("Database", "pg", plan="enterprise")
        await platform.settle(30)
        assert platform.condition(key, "Admitted")["reason"] == "BudgetExceeded"
        asked = Database.model_validate(platform.get(key).obj)
        assert Database.model_validate(before).check_update(asked) == ()
        await platform.apply("Database", "pg", plan="starter")
        await platform.settle(30)
        assert platform.condition(key, "Synced")["status"] == "True"
        assert platform.status(key)["allocation"] == before["status"]["allocation"]
        volume = Key("Volume", "", platform.status(key)["volume"])
        assert platform.get(volume).obj["spec"]["size"] == "1Gi"


@in_virtual_time
async def test_the_host_is_told_of_an_app_after_its_first_step() -> None:
    platform = Platform()
    host = Key("Host", "", "host")
    made: list[int] = []

    def written(write: Write) -> None:
        if write.key == host:
            made.append(len(platform.engine.containers))

    async with platform.running():
        await platform.settle(60)
        platform.store.on_write = written
        await platform.apply("App", "web", image="web:1", port=80)
        await platform.settle(60)
    assert made
    assert 0 not in made


@in_virtual_time
async def test_a_namespace_whose_subnet_another_took_gets_another_one() -> None:
    async with Platform().running() as platform:
        await platform.settle(1)
        keys = await quickstart(platform)
        ours = platform.engine.network_named(platform.status(SHOP)["network"])
        assert ours is not None
        platform.engine.remove_network(ours.name)
        theirs = NetworkState(platform.engine.new_id(), "theirs", None, ours.subnet)
        platform.engine.networks[theirs.id] = theirs
        await platform.settle(60)
        again = platform.engine.network_named(ours.name)
        assert again is not None
        assert again.subnet == platform.status(SHOP)["allocation"]["subnet"] != ours.subnet
        assert platform.engine.networks[theirs.id] == theirs
        for key in (SHOP, *keys):
            assert platform.ready(key), f"{key}: {platform.condition(key)}"


REFUSED = "cannot start container: chdir to cwd failed: permission denied"


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(TerminalError(REFUSED, reason="EngineRefused"), id="refused"),
        pytest.param(RetryableError(REFUSED), id="failed"),
    ],
)
@in_virtual_time
async def test_one_that_the_engine_does_not_start_is_made_anew_now_and_then(
    error: ControlPlaneError,
) -> None:
    """Its failed start and its removal are events of it, which wake its record."""
    platform = Platform()
    broken = True

    def refuse(container: Container) -> None:
        # so many would have come to an end: a test that fails is to end, too
        if broken and platform.engine.writes["create_container"] < 100:
            platform.engine.set_state(container.state.name, "network disconnect", error=REFUSED)
            raise error

    platform.engine.when_it_starts(refuse)
    async with platform.running():
        await platform.settle(1)
        web = await platform.apply("App", "web", image="web:1", port=80)
        await platform.settle(60)
        assert platform.condition(web, "Synced")["message"] == REFUSED
        assert 1 < platform.engine.writes["create_container"] <= 12
        broken = False
        await platform.apply("App", "web", image="web:2")
        await platform.settle(1)
        assert platform.ready(web), platform.condition(web)
