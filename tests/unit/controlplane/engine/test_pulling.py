"""Records whose images take long to come: told, given way to, and let go."""

import pytest

from controlplane.records import Key
from resources.meta import PLATFORM_NAMESPACE
from tests.support.platform import Platform
from tests.support.virtual import in_virtual_time

BIG = "big:1"
WORKERS = 4
"""Of each kind, as the platform of the tests has them."""


def events(platform: Platform, of: Key) -> list[str]:
    """Reasons of what was told of a record, each time that it was."""
    return [
        str(stored.obj["reason"])
        for stored in platform.store.cache.list("Event")
        if stored.obj["involvedObject"]["uid"] == platform.get(of).uid
    ]


@in_virtual_time
async def test_it_is_told_once_and_goes_on_when_the_image_is_there() -> None:
    async with Platform().running() as platform:
        await platform.settle(1)
        platform.engine.pulling.add(BIG)
        app = await platform.apply("App", "shop", image=BIG)
        await platform.settle(10)
        told = platform.condition(app)
        assert (told["status"], told["reason"]) == ("False", "Pulling")
        assert told["message"] == "image 'big:1' is being pulled"
        synced = platform.condition(app, "Synced")
        assert (synced["status"], synced["reason"]) == ("False", "Progressing")
        assert "Applied" not in events(platform, app)

        before = len(platform.store.writes)
        await platform.settle(600)
        assert [str(w.key) for w in platform.store.writes[before:] if w.key == app] == []
        assert "Applied" not in events(platform, app)

        platform.engine.pulling.clear()
        await platform.settle(5)
        assert platform.ready(app), platform.condition(app)


@in_virtual_time
async def test_what_served_before_serves_on_and_is_not_called_done() -> None:
    async with Platform().running() as platform:
        await platform.settle(1)
        app = await platform.apply("App", "shop", image="small:1")
        await platform.settle(30)
        platform.engine.pulling.add(BIG)
        await platform.apply("App", "shop", image=BIG)
        await platform.settle(60)
        assert platform.ready(app), platform.condition(app)
        synced = platform.condition(app, "Synced")
        assert (synced["status"], synced["message"]) == ("False", "image 'big:1' is being pulled")
        platform.engine.pulling.clear()
        await platform.settle(60)
        assert platform.condition(app, "Synced")["status"] == "True"
        assert [each.image for each in platform.of(app)] == [BIG]


@pytest.mark.parametrize("harm", ["kill", "pause"])
@pytest.mark.parametrize("kind", ["App", "Platform"])
@in_virtual_time
async def test_what_served_before_is_healed_meanwhile(kind: str, harm: str) -> None:
    async with Platform().running() as platform:
        await platform.settle(1)
        await platform.apply("Namespace", PLATFORM_NAMESPACE)
        more = {"service": "registry"} if kind == "Platform" else {}
        record = await platform.apply(kind, "shop", PLATFORM_NAMESPACE, image="small:1", **more)
        await platform.settle(30)
        platform.engine.pulling.add(BIG)
        await platform.apply(kind, "shop", PLATFORM_NAMESPACE, image=BIG)
        await platform.settle(30)
        (before,) = platform.of(record)
        getattr(platform.engine, harm)(before.name)
        await platform.settle(5)
        (state,) = platform.of(record)
        assert (state.id, state.running, state.paused) == (before.id, True, False)
        assert platform.ready(record), platform.condition(record)
        platform.engine.pulling.clear()
        await platform.settle(60)
        assert [each.image for each in platform.of(record)] == [BIG]


@in_virtual_time
async def test_pulls_for_all_workers_keep_no_other_record_from_being_healed() -> None:
    async with Platform().running() as platform:
        await platform.settle(1)
        shop = await platform.apply("App", "shop", image="small:1")
        await platform.settle(30)
        for number in range(4 * WORKERS):
            image = f"big:{number}"
            platform.engine.pulling.add(image)
            await platform.apply("App", f"big-{number}", image=image)
        await platform.settle(10)
        platform.engine.kill(platform.of(shop)[0].name)
        await platform.settle(1)
        assert platform.of(shop)[0].running


@in_virtual_time
async def test_a_record_whose_image_is_being_pulled_can_be_corrected_and_deleted() -> None:
    async with Platform().running() as platform:
        await platform.settle(1)
        platform.engine.pulling.add(BIG)
        wrong = await platform.apply("App", "wrong", image=BIG)
        gone = await platform.apply("App", "gone", image=BIG)
        await platform.settle(10)
        await platform.apply("App", "wrong", image="small:1")
        await platform.delete(gone)
        await platform.settle(10)
        assert platform.ready(wrong), platform.condition(wrong)
        assert platform.find(gone) is None
