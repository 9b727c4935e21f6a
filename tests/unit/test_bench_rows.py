"""What scripts/bench calls met."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).parents[2] / "scripts/bench_lib.py"


@pytest.fixture(scope="module")
def lib() -> Any:
    spec = importlib.util.spec_from_file_location("bench_lib", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_must_never_happen_is_not_met_when_it_happens_in_one_round_of_five(lib: Any) -> None:
    asked = [1000] * 5
    never = lib.none_of("lost", "requests", [0] * 5, "asked", asked, setup="")
    once = lib.none_of("lost", "requests", [0, 0, 1, 0, 0], "asked", asked, setup="")
    assert (never.met, never.value, never.ratio) == (True, 0, 0)
    assert (once.met, once.value, once.ratio) == (False, 1, 1 / 5000)
