"""Data that outlived its namespace is handed on as docs/operations.md says."""

from controlplane.records import Key
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
