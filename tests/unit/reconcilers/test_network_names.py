"""One name in a namespace's network leads to the containers of one record alone."""

from typing import Any

import pytest

from controlplane.records import Key
from drivers.containers import ContainerState
from resources.app import App
from resources.core import Namespace
from resources.database import Database
from resources.meta import PLATFORM_NAMESPACE
from tests.support.platform import Platform
from tests.support.virtual import in_virtual_time


def answering(platform: Platform, name: str) -> set[str]:
    """Owners of the containers that the network leads to under `name`."""
    return {
        state.owner.uid
        for state in platform.states()
        if state.owner is not None and _answers(state, name)
    }


def neighbours(platform: Platform, name: str) -> set[str]:
    """Owners of the containers that those in the namespace `shop` find under `name`."""
    network = Namespace.model_validate(platform.get(Key("Namespace", "", "shop")).obj).owned_name
    return {
        state.owner.uid
        for state in platform.states()
        if state.owner is not None and name in state.aliases.get(network, ())
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


@pytest.mark.parametrize("first", ["App", "MailDomain"])
@in_virtual_time
async def test_a_name_leads_to_the_app_or_to_the_service_that_neighbours_work_on(
    first: str,
) -> None:
    async with Platform().running() as platform:
        await platform.settle(1)
        await platform.apply("Namespace", PLATFORM_NAMESPACE)
        service = await platform.apply("Platform", "mail", PLATFORM_NAMESPACE, service="mail")
        specs: dict[str, dict[str, Any]] = {
            "App": {"image": "web:1", "port": 25},
            "MailDomain": {"domain": "example.org"},
        }
        second = next(kind for kind in specs if kind != first)
        keys = {}
        for kind in (first, second):
            keys[kind] = await platform.apply(kind, "mail", **specs[kind])
            await platform.settle(60)
        assert platform.ready(keys[first]), platform.condition(keys[first])
        told = platform.condition(keys[second], "Admitted")
        assert (told["status"], told["reason"]) == ("False", "NameTaken")
        whose = {"App": keys["App"], "MailDomain": service}
        assert neighbours(platform, "mail") == {platform.get(whose[first]).uid}

        await platform.delete(keys[first])
        await platform.settle(60)
        assert platform.ready(keys[second]), platform.condition(keys[second])
        assert neighbours(platform, "mail") == {platform.get(whose[second]).uid}


@in_virtual_time
async def test_namespaces_have_names_of_their_own() -> None:
    async with Platform().running() as platform:
        await platform.settle(1)
        await platform.apply("App", "blog", image="web:1", port=80)
        await platform.apply("Namespace", "other")
        database = await platform.apply("Database", "blog", "other", engine="redis")
        await platform.settle(60)
        assert platform.ready(database)


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
