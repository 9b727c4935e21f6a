"""What grows beyond the host's room waits, and what was admitted before is kept up meanwhile:
whatever harm is done to it, it is again as it was, under the old spec; and once there is room, it
is as the new one says.
"""

from collections.abc import Mapping
from typing import Any

import pytest

from controlplane.records import Key
from resources.kinds import MODELS
from resources.meta import Allocation, Footprint
from resources.quantity import format_bytes, format_millicores
from tests.sim.check import condition, problems, said
from tests.sim.snapshot import world_of
from tests.sim.stage import READY_S, SOON_S, Stage, candidates, parsed
from tests.sim.worlds import WORLDS, example
from tests.support.figures import tell
from tests.support.platform import HOST
from tests.support.virtual import run

HOST_KEY = Key("Host", "", "host")
ROOMY: Any = HOST["spec"]
HARMS = ("kill", "pause", "remove", "crash")


def growth(kind: str) -> Mapping[str, Any] | None:
    """The example's spec with one field that makes it bigger."""
    spec = example(kind).get("spec") or {}
    record = parsed(kind, spec)
    size = Footprint() if record is None else record.footprint
    for _, edited in candidates(kind, spec) if size != Footprint() else ():
        grown = parsed(kind, edited)
        if grown is not None and not grown.footprint.fits(size):
            return edited
    return None


KINDS = [kind for kind in WORLDS if growth(kind) is not None]


async def fill(stage: Stage) -> None:
    """The host has what is allocated now, and not a byte more."""
    found = [
        Allocation.model_validate(status["allocation"]).footprint
        for kind in WORLDS
        for stored in stage.platform.store.cache.list(kind)
        if (status := stored.obj.get("status") or {}).get("allocation")
    ]
    held = sum(found, Footprint())
    capacity = {
        "cpu": format_millicores(held.cpu_millicores),
        "memory": format_bytes(held.memory_bytes),
        "disk": format_bytes(held.disk_bytes),
    }
    nothing = {"cpu": "0", "memory": "0", "disk": "0"}
    await stage.edit(HOST_KEY, {"capacity": capacity, "reserved": nothing})


async def alone_on_a_full_host(stage: Stage, kind: str) -> Key:
    await stage.platform.settle(2)
    key = await stage.make(kind)
    await stage.platform.settle(READY_S)
    await fill(stage)
    await stage.platform.settle(5)
    return key


@pytest.mark.parametrize("kind", KINDS)
def test_what_waits_to_grow_is_healed_as_it_was(kind: str) -> None:
    async def main() -> None:
        stage = Stage()
        async with stage.supervised():
            key = await alone_on_a_full_host(stage, kind)
            before = world_of(stage.platform)
            edited = growth(kind)
            assert edited is not None
            await stage.edit(key, edited)
            await stage.platform.settle(SOON_S)
            admitted = condition(stage.platform.get(key), "Admitted")
            assert admitted["reason"] == "BudgetExceeded"
            assert world_of(stage.platform) == before
            stage.adopted = True
            for what in HARMS:
                for name in sorted(state.name for state in stage.platform.of(key)):
                    getattr(stage.platform.engine, what)(name)
                    await stage.platform.settle(SOON_S)
                    assert world_of(stage.platform) == before, f"after {what} of {name}"
            stage.kill()
            for state in stage.platform.of(key):
                stage.platform.engine.remove(state.name)
            await stage.platform.settle(SOON_S)
            assert world_of(stage.platform) == before, "after a restart of the control plane"
            assert "BudgetExceeded" in said(stage.platform.get(key), "Synced")
            await stage.edit(HOST_KEY, ROOMY)
            await stage.platform.settle(SOON_S)
            stored = stage.platform.get(key)
            assert condition(stored, "Admitted")["status"] == "True"
            assert "spec" not in stored.obj["status"]["allocation"]
            assert problems(stage) == []
        assert stage.breaches == []

    run(main)
    tell("growth that waits, healed", 1, kind=kind)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if MODELS[kind].info.scalable])
def test_what_is_scaled_beyond_the_room_waits_as_it_was(kind: str) -> None:
    async def main() -> None:
        stage = Stage()
        async with stage.supervised():
            key = await alone_on_a_full_host(stage, kind)
            before = world_of(stage.platform)
            spec = stage.spec(key)
            more = {**spec, "replicas": spec.get("replicas", 1) + 7}
            await stage.edit(key, more, by="scale")
            await stage.platform.settle(SOON_S)
            assert condition(stage.platform.get(key), "Admitted")["reason"] == "BudgetExceeded"
            assert world_of(stage.platform) == before
            await stage.edit(key, spec, by="scale")
            await stage.platform.settle(SOON_S)
            assert problems(stage) == []
        assert stage.breaches == []

    run(main)
    tell("growth that waits, healed", 1, kind=kind)


def test_most_kinds_that_take_room_can_grow() -> None:
    assert {"App", "Database", "Model", "Platform"} <= set(KINDS)
