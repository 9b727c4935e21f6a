"""What a start does, by counts: what it imports, and what is worked out before the first answer."""

import asyncio
import importlib.util
import subprocess
import sys
from pathlib import Path

from api.served import Catalogue
from resources.kinds import KINDS
from tests.clock import ManualClock

ROOT = Path(__file__).resolve().parents[2]
FOR_FEW = (
    "alembic",
    "botocore",
    "dns",
    "docker",
    "hvac",
    "psycopg2",
    "publicsuffixlist",
    "redis",
    "requests",
    "segno",
    "sqlalchemy",
    "sqlmodel",
)
"""Imported where it is used: most starts, or most installations, don't need it."""


def told_by(code: str) -> set[str]:
    """The words that a Python of its own prints."""
    argv = [sys.executable, "-c", code]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_start_imports_nothing_that_few_starts_need() -> None:
    loaded = told_by("import controlplane.__main__, reconcilers.agent, sys; print(*sys.modules)")
    assert "pydantic" in loaded
    assert not loaded & {*FOR_FEW}


def test_an_api_alone_imports_no_reconciler_and_no_driver_but_that_of_its_keys() -> None:
    loaded = told_by("import controlplane.__main__, sys; print(*sys.modules)")
    ours = {name for name in loaded if name.split(".")[0] in {"drivers", "reconcilers"}}
    assert ours == {"drivers", "drivers.threads", "drivers.vault"}


def test_start_builds_no_model_of_a_kind_that_has_no_records() -> None:
    told = told_by(
        "import controlplane.__main__, reconcilers.agent\n"
        "from resources.kinds import KINDS\n"
        "for model in KINDS:\n"
        "    status = model.model_fields.get('status')\n"
        "    parts = (model, status.annotation) if status else (model,)\n"
        "    print(*(f'{part.__name__}:{part.__pydantic_complete__}' for part in parts))\n"
    )
    assert {model.__name__ for model in KINDS} <= {part.split(":")[0] for part in told}
    assert {part for part in told if part.endswith(":True")} == set()


def test_what_few_starts_need_is_named_as_it_is_installed() -> None:
    assert all(importlib.util.find_spec(name) for name in FOR_FEW)


async def test_schemas_are_worked_out_after_the_start_one_at_a_time() -> None:
    catalogue, clock = Catalogue(KINDS), ManualClock()

    def known() -> int:
        return sum("schema" in vars(served) for served in catalogue)

    assert known() == 0
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(catalogue.prepare(clock))
        await clock.advance(0.1)
        assert known() == 1
        await clock.advance(60)
    assert known() == len(KINDS)
