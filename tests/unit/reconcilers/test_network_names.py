"""One name in a namespace's network leads to the containers of one record alone."""

import pytest

from controlplane.records import Key
from drivers.containers import ContainerState
from resources.app import App
from resources.database import Database
from tests.support.platform import Platform
from tests.support.running import USER
from tests.support.virtual import in_virtual_time


def answering(platform: Platform, name: str) -> set[str]:
    """Owners of the containers that the network leads to under `name`."""
    return {
        state.owner.uid
        for state in platform.states()
        if state.owner is not None and _answers(state, name)
    }


def _answers(state: ContainerState, name: str) -> bool:
    return any(name in aliases for aliases in state.aliases.values())


@in_virtual_time
async def test_the_second_kind_of_a_name_waits_until_the_first_is_gone() -> None:
    async with Platform().running() as platform:
        await platform.settle(1)
        app = await platform.apply("App", "blog", image="web:1", port=80)
        await platform.settle(30)
        database = await platform.apply("Database", "blog", engine="postgres")
        await platform.settle(30)
        told = platform.condition(database, "Admitted")
        assert (told["status"], told["reason"]) == ("False", "NameTaken")
        assert "'blog in shop' is taken by App 'blog' of this namespace" in told["message"]
        assert not platform.of(database)
        assert answering(platform, "blog") == {platform.get(app).uid}

        await platform.delete(app)
        await platform.settle(60)
        assert platform.ready(database), platform.condition(database)
        assert answering(platform, "blog") == {platform.get(database).uid}


@in_virtual_time
async def test_namespaces_have_names_of_their_own() -> None:
    async with Platform().running() as platform:
        await platform.settle(1)
        await platform.apply("App", "blog", image="web:1", port=80)
        meta = {"name": "other"}
        space = {"apiVersion": "v1", "kind": "Namespace", "metadata": meta}
        await platform.records.create("Namespace", space, actor=USER)
        found = {
            "apiVersion": "bunker.cloud/v1",
            "kind": "Database",
            "metadata": {"name": "blog", "namespace": "other"},
            "spec": {"engine": "redis"},
        }
        await platform.records.create("Database", found, actor=USER)
        await platform.settle(60)
        assert platform.ready(Key("Database", "other", "blog"))


@in_virtual_time
async def test_a_pair_from_before_names_were_held_runs_on_and_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    platform = Platform()
    with monkeypatch.context() as before:
        for kind in (App, Database):
            before.setattr(kind, "claims", property(lambda _: ()))
        async with platform.running():
            await platform.settle(1)
            pair = (
                await platform.apply("App", "blog", image="web:1", port=80),
                await platform.apply("Database", "blog", engine="redis"),
            )
            lone = await platform.apply("App", "lone", image="web:1")
            await platform.settle(60)
            assert all(platform.ready(key) for key in (*pair, lone))
    async with platform.running():
        await platform.settle(60)
        reasons = [platform.condition(key, "Admitted")["reason"] for key in pair]
        assert sorted(reasons) == ["Admitted", "NameTaken"]
        platform.engine.kill(platform.of(pair[0])[0].name)
        platform.engine.kill(platform.of(pair[1])[0].name)
        await platform.settle(60)
        for key in pair:
            assert platform.ready(key), platform.condition(key)
        names = platform.status(lone)["allocation"]["names"]
        assert [each["name"] for each in names] == ["lone in shop"]
