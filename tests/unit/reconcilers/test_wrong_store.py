"""A control plane that begins on an empty database beside what runs: a mistyped folder, or a backup
that is still to be restored. Nothing that runs is touched.
"""

from controlplane.records import Key
from tests.support.memory import MemoryStore
from tests.support.platform import Platform
from tests.support.virtual import in_virtual_time

LATE_S = 3000.0


def refusals(platform: Platform) -> list[str]:
    """What `kubectl describe host` tells of it."""
    events = [stored.obj for stored in platform.store.cache.list("Event")]
    return [
        event["message"]
        for event in events
        if (event["reason"], event["involvedObject"]["kind"]) == ("SweepRefused", "Host")
    ]


def running(platform: Platform) -> set[tuple[str, str]]:
    return {(state.name, state.id) for state in platform.states() if state.running}


async def serve(platform: Platform) -> tuple[Key, ...]:
    made = (
        await platform.apply("Database", "pg", engine="postgres"),
        await platform.apply("Database", "cache", engine="redis"),
        await platform.apply("App", "web", image="web:1", databaseRefs=[{"name": "pg"}]),
    )
    await platform.settle(60)
    assert all(platform.ready(key) for key in made)
    return made


@in_virtual_time
async def test_an_empty_database_takes_nothing_down_and_the_right_one_goes_on() -> None:
    platform = Platform()
    async with platform.running():
        await platform.settle(1)
        made = await serve(platform)
    before, folders = running(platform), set(platform.files.folders)
    right, platform.store = platform.store, MemoryStore()
    async with platform.running():
        await platform.settle(LATE_S)
        assert running(platform) == before
        assert set(platform.files.folders) == folders
        told = sorted(refusals(platform))
        assert [each[: each.index(" among")] for each in told] == [
            "3 things outside, a folder",
            "5 things outside, a container",
        ]
        assert all("were made before this database was" in each for each in told)
    platform.store = right
    async with platform.running():
        await platform.settle(LATE_S)
        assert all(platform.ready(key) for key in made)
        assert running(platform) == before
        assert refusals(platform) == []


@in_virtual_time
async def test_what_such_a_database_makes_itself_is_swept_as_ever() -> None:
    platform = Platform()
    async with platform.running():
        await platform.settle(1)
        await serve(platform)
    before = running(platform)
    platform.store = MemoryStore()
    async with platform.running():
        await platform.settle(1)
        app = await platform.apply("App", "other", image="web:1")
        await platform.settle(60)
        assert len(running(platform)) == len(before) + 1
        await platform.delete(app)
        await platform.settle(LATE_S)
        assert running(platform) == before
