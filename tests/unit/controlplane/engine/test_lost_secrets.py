"""Secrets whose key is gone: they are told, and hold nothing up."""

import asyncio
import random
from dataclasses import dataclass
from typing import Any

import pytest

from controlplane.engine.cache import Cache
from controlplane.engine.garbage import CONTENTS, Garbage
from controlplane.engine.queue import Priority, Queue
from controlplane.engine.values import StoredValues
from controlplane.errors import ConflictError, SecretLostError
from controlplane.records import Key, Stored
from resources.kinds import KIND_INFOS
from tests.support.platform import Platform
from tests.support.running import USER
from tests.support.virtual import LoopClock, in_virtual_time

PG = Key("Database", "shop", "pg")


async def lost_database(platform: Platform, policy: str = "Retain") -> Stored:
    """A Database that serves, and then its Secret's key is gone."""
    await platform.settle(1)
    await platform.apply("Database", "pg", engine="postgres", deletionPolicy=policy)
    await platform.settle(30)
    assert platform.ready(PG)
    secret = secret_of(platform)
    platform.sealer.lost.add(secret.uid)
    return secret


def secret_of(platform: Platform) -> Stored:
    return platform.get(Key("Secret", "shop", platform.status(PG)["secretRef"]["name"]))


@in_virtual_time
async def test_a_lost_key_is_told_and_tried_again_ever_less_often() -> None:
    async with Platform().running() as platform:
        secret = await lost_database(platform)
        platform.engine.kill(platform.of(PG)[0].name)
        await platform.settle(60)
        told = platform.condition(PG, "Synced")
        assert (told["status"], told["reason"]) == ("False", "SecretKeyLost")
        assert f"shop/{secret.key.name}" in told["message"]
        before = platform.sealer.refused
        await platform.settle(3600)
        assert 5 < platform.sealer.refused - before < 120
        assert platform.get(secret.key).body == secret.body


@in_virtual_time
async def test_it_goes_on_once_the_key_is_restored() -> None:
    async with Platform().running() as platform:
        await lost_database(platform)
        platform.engine.kill(platform.of(PG)[0].name)
        await platform.settle(60)
        platform.sealer.lost.clear()
        await platform.settle(600)
        assert platform.ready(PG)
        assert platform.condition(PG, "Synced")["status"] == "True"


@in_virtual_time
async def test_it_goes_on_once_its_values_are_set_again() -> None:
    async with Platform().running() as platform:
        secret = await lost_database(platform)
        data = {"password": "bmV3"}
        await platform.records.update(secret, {**secret.obj, "data": data}, actor=USER)
        await platform.settle(600)
        assert platform.ready(PG)
        again = (await platform.records.read(secret_of(platform)))["data"]
        assert (again["password"], again.keys() > data.keys()) == ("bmV3", True)


@in_virtual_time
async def test_to_label_it_leaves_what_is_sealed() -> None:
    async with Platform().running() as platform:
        secret = await lost_database(platform)
        labelled = {**secret.obj, "metadata": {**secret.meta, "labels": {"a": "b"}}}
        after = await platform.records.update(secret, labelled, actor=USER)
        assert after.labels == {"a": "b"}
        for name in ("sealed", "secretKeys", "contentHmac"):
            assert after.obj[name] == secret.obj[name]


@pytest.mark.parametrize("propagation", ["Background", "Foreground", "Orphan"])
@pytest.mark.parametrize("policy", ["Retain", "Delete"])
@in_virtual_time
async def test_its_owners_deletion_ends(policy: str, propagation: str) -> None:
    async with Platform().running() as platform:
        secret = await lost_database(platform, policy)
        await platform.delete(PG, propagation)
        await platform.settle(1300)
        assert platform.find(PG) is None
        kept = platform.find(secret.key)
        if kept is None:
            assert policy == "Delete"
            return
        assert kept.owner_uids == ()
        assert kept.obj["sealed"] == secret.obj["sealed"]
        platform.sealer.lost.clear()
        opened = await platform.records.read(kept)
        assert sorted(opened["data"]) == secret.obj["secretKeys"]


@in_virtual_time
async def test_the_collection_lets_a_lost_one_go() -> None:
    """Of an owner that was deleted with `--cascade=orphan`, and itself with a finalizer of that."""
    async with Platform().running() as platform:
        await platform.settle(5)
        meta: dict[str, Any] = {"name": "owner", "namespace": "shop"}
        obj: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}
        owner = await platform.records.create("ConfigMap", obj, actor=USER)
        refs = [{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.uid}]
        meta = {"name": "owned", "namespace": "shop", "ownerReferences": refs}
        obj = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": {"a": "Yg=="}}
        secret = await platform.records.create("Secret", obj, actor=USER)
        platform.sealer.lost.add(secret.uid)
        await platform.delete(owner.key, "Orphan")
        await platform.settle(5)
        assert platform.find(owner.key) is None
        assert platform.get(secret.key).owner_uids == ()
        assert platform.get(secret.key).obj["sealed"] == secret.obj["sealed"]
        await platform.delete(secret.key, "Foreground")
        await platform.settle(5)
        assert platform.find(secret.key) is None


@in_virtual_time
async def test_what_is_written_of_metadata_alone_keeps_everybodys_fields() -> None:
    async with Platform().running() as platform:
        secret = await lost_database(platform)
        described = {"metadata": {**secret.meta, "ownerReferences": []}}
        after = await platform.records.update(
            secret, described, actor=USER, subresource="metadata", epoch=platform.epoch
        )
        assert after.owner_uids == ()
        assert after.generation == secret.generation
        assert b'"f:password"' in secret.managed_fields
        assert b'"f:password"' in after.managed_fields


@dataclass
class Late:
    """A view that has it for one look more."""

    secret: Stored
    looks: int = 0

    def get(self, key: Key, /) -> Stored | None:
        self.looks += 1
        return self.secret if self.looks == 1 else None


@in_virtual_time
async def test_one_that_was_just_deleted_is_a_lost_race() -> None:
    platform = Platform()
    async with platform.running():
        secret = await lost_database(platform)
        values = StoredValues(platform.store.cache, platform.records)
        with pytest.raises(SecretLostError):
            await values.read("Secret", "shop", secret.key.name)

        late: Any = Late(secret)
        with pytest.raises(ConflictError):
            await StoredValues(late, platform.records).read("Secret", "shop", secret.key.name)


class Losing:
    """Records of which every write is a lost race."""

    tries = 0

    async def catch_up(self, timeout_s: float, /) -> None:
        del timeout_s
        self.tries += 1
        raise ConflictError("cannot write: another was first")


@in_virtual_time
async def test_the_collection_asks_ever_less_often_after_conflicts() -> None:
    losing: Any = Losing()
    jobs = Queue(LoopClock(), random.Random(1))
    garbage = Garbage(Cache(), losing, KIND_INFOS, lambda: 1, LoopClock(), jobs, lambda: None)
    async with asyncio.TaskGroup() as tasks:
        working = [tasks.create_task(garbage.worker()), tasks.create_task(jobs.run())]
        jobs.add(Key(CONTENTS, "", "gone"), Priority.DEPENDENCY)
        await asyncio.sleep(600)
        for task in working:
            task.cancel()
    assert 5 < losing.tries < 60
