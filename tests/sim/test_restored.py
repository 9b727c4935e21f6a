"""A backup of the records that is put back: what was made since goes, all but its data; what was
changed or deleted since is as the backup says, or says that its data is gone.
"""

import json
import re
import zlib
from dataclasses import dataclass
from typing import Any

import pytest

from controlplane.records import Stored
from resources.kinds import KIND_INFOS
from tests.sim.conftest import effort_of_the_mode
from tests.sim.snapshot import objects_of
from tests.sim.stage import LATE_S, SOON_S, Stage
from tests.sim.story import Story, lead_up, stories
from tests.sim.worlds import WORLDS
from tests.support.figures import tell
from tests.support.memory import MemoryStore
from tests.support.virtual import run

DATA = re.compile(
    r"containers\.engine\.volumes\[|llamacpp\.held\[|s3\.anywhere\.buckets\[|dns\.anywhere\.zones\["
    r"|mail\.anywhere\.kept\["
)
"""What may hold somebody's data, and so is never swept."""
ANEW = re.compile(r"containers\.engine\.(containers|networks)\[")
"""What has another id when it is made anew: known by name."""


def _in_turn(story: Story) -> bool:
    """Every lifecycle, and one edit in four; at length all of them."""
    edit = story.name.startswith("edit-")
    return effort_of_the_mode().thorough or not edit or zlib.crc32(str(story).encode()) % 4 == 0


STORIES = [
    story
    for kind in WORLDS
    for story in stories(kind)
    if story.name != "restart" and _in_turn(story)
]


@dataclass(frozen=True, slots=True)
class Backup:
    """All records at one moment, as a dump of the store has them."""

    records: tuple[Stored, ...]

    @classmethod
    def of(cls, stage: Stage) -> "Backup":
        cache = stage.platform.store.cache
        return cls(tuple(stored for kind in KIND_INFOS for stored in cache.list(kind)))

    def put_back(self, stage: Stage) -> None:
        """In place of what the store has, while no control plane runs."""
        before = stage.platform.store
        store = MemoryStore(writes=before.writes, on_write=before.on_write)
        store.cache.reset(self.records, max(stored.revision for stored in self.records))
        stage.platform.store = store


@pytest.mark.parametrize("story", STORIES, ids=str)
def test_a_backup_that_is_put_back_comes_true(story: Story) -> None:
    async def main() -> None:
        stage = Stage()
        async with stage.supervised():
            await lead_up(stage, story)
            await stage.platform.settle(LATE_S)
            backup, then = Backup.of(stage), stage.outcome().records
            things = _things(stage)
            await story.act(stage, story.key)
            await stage.platform.settle(SOON_S)
        backup.put_back(stage)
        async with stage.supervised():
            await stage.platform.settle(LATE_S)
            now = stage.outcome().records
            after = _things(stage)
        more, less = after - things, things - after
        assert {thing for thing in more if not DATA.match(thing)} == set(), "made since, and there"
        gone = _without_data(stage)
        assert {thing for thing in less if not any(name in thing for name in gone)} == set()
        now, then = json.loads(now), json.loads(then)
        said = _says_so(now)
        assert len(said) == len(gone)
        assert _whole(now, said) == _whole(then, said)

    run(main)
    tell("backups put back", 1, kind=story.kind)


def _things(stage: Stage) -> set[str]:
    """What is outside, by what stays the same when it is made anew. A container says which
    volumes it is made on."""
    engine = stage.platform.engine
    made = {state.name: engine.containers[state.id].spec for state in stage.platform.states()}
    volumes = {name: [each.volume for each in spec.volumes] for name, spec in made.items() if spec}
    return (
        {thing for thing in objects_of(stage.platform) if not ANEW.match(thing)}
        | {f"container {name} {volumes.get(name)}" for name in made}
        | {f"network {network.name}" for network in engine.networks.values()}
    )


def _without_data(stage: Stage) -> set[str]:
    """Docker volumes of the Volume records that say that it is gone."""
    return {
        str(stage.platform.status(stored.key)["dockerName"])
        for stored in stage.platform.store.cache.list("Volume")
        if stage.platform.condition(stored.key).get("reason") == "DataMissing"
    }


def _says_so(records: dict[str, Any]) -> set[str]:
    """Names of those Volume records, as the records name them."""
    missing = ["Ready", "False", "DataMissing"]
    return {
        key.removeprefix("Volume ")
        for key, record in records.items()
        if missing in record["status"]["conditions"]
    }


def _whole(records: dict[str, Any], gone: set[str]) -> dict[str, Any]:
    """Without those whose data is gone and those that work on it."""
    return {
        key: record
        for key, record in records.items()
        if not gone & {record["status"].get("volume"), key.removeprefix("Volume ")}
    }
