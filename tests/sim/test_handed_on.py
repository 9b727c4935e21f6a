"""Data that outlived its namespace is handed on as docs/operations.md says."""

import pytest

from controlplane.records import Key
from drivers.containers import VolumeState
from tests.sim.stage import READY_S, Stage
from tests.sim.worlds import SPACE, example
from tests.support.virtual import run


def test_a_volume_of_a_deleted_namespace_is_handed_to_a_new_database() -> None:
    async def main() -> None:
        stage = Stage()
        platform = stage.platform
        async with stage.supervised():
            await platform.settle(2)
            first = await stage.make("Database")
            await platform.settle(READY_S)
            kept = platform.get(first).obj["status"]["volume"]
            volume = Key("Volume", "", kept)
            data = platform.get(volume).obj["status"]["dockerName"]
            await platform.delete(Key("Namespace", "", SPACE))
            await platform.settle(READY_S)
            assert platform.find(first) is None
            status = platform.get(volume).obj["status"]
            assert (status["phase"], status["usedBy"]) == ("Retained", [])

            await stage.make("Namespace", name=SPACE)
            uid = platform.get(Key("Namespace", "", SPACE)).uid
            claim = {**stage.spec(volume)["claim"], "namespaceUid": uid, "name": "again"}
            await stage.edit(volume, {**stage.spec(volume), "claim": claim})
            spec = {**example("Database")["spec"], "volumeRef": {"name": kept}}
            second = await stage.make("Database", spec, name="again")
            await platform.settle(READY_S)

            conditions = platform.get(second).obj["status"]["conditions"]
            assert next(c["status"] for c in conditions if c["type"] == "Ready") == "True"
            (container,) = platform.of(second)
            status = platform.get(volume).obj["status"]
            assert (status["phase"], status["usedBy"]) == ("Bound", ["Database/again"])
            assert status["dockerName"] == data
            made_from = platform.engine.by_name(container.name).spec
            assert made_from is not None
            assert [mount.volume for mount in made_from.volumes] == [data]

    run(main)


def test_data_that_is_there_is_used_by_a_volume_written_by_hand() -> None:
    """As manifests/kinds/volume.yaml says: a restored docker volume, or one from elsewhere."""

    async def main() -> None:
        stage = Stage()
        platform = stage.platform
        async with stage.supervised():
            await platform.settle(2)
            await stage.make("Namespace", name=SPACE)
            platform.engine.volumes["theirs"] = VolumeState("theirs", None)
            await platform.settle(READY_S)
            claim = {
                **example("Volume")["spec"]["claim"],
                "namespaceUid": platform.get(Key("Namespace", "", SPACE)).uid,
            }
            assert "kind" not in claim, "left out there, as by a person"
            written = {"claim": claim, "major": "18", "size": "10Gi", "dockerName": "theirs"}
            volume = await stage.make("Volume", written, name="found")
            spec = {**example("Database")["spec"], "volumeRef": {"name": "found"}}
            database = await stage.make("Database", spec, name=claim["name"])
            await platform.settle(READY_S)

            assert platform.ready(database), platform.condition(database)
            assert platform.status(volume)["usedBy"] == [f"Database/{claim['name']}"]
            (container,) = platform.of(database)
            made_from = platform.engine.by_name(container.name).spec
            assert made_from is not None
            assert [mount.volume for mount in made_from.volumes] == ["theirs"]

            await platform.delete(database)
            await platform.delete(volume)
            await platform.settle(READY_S)
            assert platform.find(volume) is None
            assert "theirs" in platform.engine.volumes, "it was not made by us, and stays"

    run(main)


@pytest.mark.parametrize("wrong", [{"namespaceUid": "another"}, {"engine": ""}], ids=str)
def test_a_volume_that_is_handed_on_half_tells_how_to_do_it_and_not_to_remove_it(
    wrong: dict[str, str],
) -> None:
    async def main() -> None:
        stage = Stage()
        platform = stage.platform
        async with stage.supervised():
            await platform.settle(2)
            await stage.make("Namespace", name=SPACE)
            platform.engine.volumes["theirs"] = VolumeState("theirs", None)
            await platform.settle(READY_S)
            uid = platform.get(Key("Namespace", "", SPACE)).uid
            claim = {**example("Volume")["spec"]["claim"], "namespaceUid": uid}
            right = {"claim": claim, "major": "18", "size": "10Gi", "dockerName": "theirs"}
            half = {**right, "claim": {**claim, **wrong}}
            volume = await stage.make("Volume", half, name="found")
            spec = {**example("Database")["spec"], "volumeRef": {"name": "found"}}
            database = await stage.make("Database", spec, name=claim["name"])
            await platform.settle(READY_S)

            told = platform.condition(database, "Stalled")
            assert (told["status"], told["reason"]) == ("True", "NotOwned")
            ((path, _),) = wrong.items()
            assert f"set its spec.claim.{path} to '{claim[path]}'" in told["message"]
            assert "remove" not in told["message"]

            await stage.edit(volume, {**stage.spec(volume), "claim": claim})
            await platform.settle(READY_S)
            assert platform.ready(database), platform.condition(database)

    run(main)
