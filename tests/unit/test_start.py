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


def test_start_imports_nothing_that_few_starts_need() -> None:
    code = "import controlplane.__main__, sys; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert "pydantic" in loaded
    assert not loaded & {*FOR_FEW}


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
