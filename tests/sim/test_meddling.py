"""Whatever somebody does on a server or to a file behind our back: it is again as it was."""

from typing import Any

import pytest

from tests.sim.check import problems
from tests.sim.meddling import meddlings
from tests.sim.snapshot import world_of
from tests.sim.stage import LATE_S, READY_S, Outcome, Stage
from tests.sim.strangers import Strangers
from tests.sim.worlds import WORLDS, example
from tests.support.figures import tell
from tests.support.virtual import run

FULLER = {"quota": "64Mi", "versioning": True, "publicRead": True}
"""A Bucket with settings of every sort; the plain one asks for none."""
RECORDS: list[tuple[str, dict[str, Any]]] = [
    (kind, {}) for kind in WORLDS if WORLDS[kind].lives
] + [("Bucket", FULLER), ("Database", {"engine": "redis", "version": "7"})]


@pytest.mark.parametrize(("kind", "more"), RECORDS)
def test_what_is_changed_behind_our_back_is_changed_back(kind: str, more: dict[str, Any]) -> None:
    wrong: list[str] = []

    async def main() -> int:
        stage = Stage()
        stage.adopted = True
        strangers = Strangers.on(stage)
        async with stage.supervised():
            await stage.platform.settle(2)
            await stage.make(kind, {**example(kind)["spec"], **more} if more else None)
            await stage.platform.settle(READY_S)
            wanted = world_of(stage.platform)
            count = len(meddlings(stage.platform))
            for number in range(count):
                done = meddlings(stage.platform)[number]
                done.do()
                await stage.platform.settle(LATE_S)
                found = world_of(stage.platform)
                if found != wanted or problems(stage):
                    told = Outcome(wanted, "", {}).unlike(Outcome(found, "", {}))
                    wrong.append(f"{done}: {problems(stage)}\n{told}")
                    break
            wrong.extend(strangers.untouched(stage))
        return count

    tell("meddlings healed", run(main), kind=kind)
    assert wrong == [], "\n".join(wrong)
