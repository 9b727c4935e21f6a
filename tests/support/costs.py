"""The guard on costs: counts of what work takes, held against what it took when last looked at.

Counts don't depend on the machine or its load: statements, calls of drivers, bytes, allocations,
calls of Python functions (which follow instructions closely enough to see a regression). What
takes more than its entry in tests/costs.json allows fails; after a gain, or a cost that is worth
it, CP_COSTS=write writes the file anew, for the diff to be read (docs/testing.md).
"""

import gc
import json
import os
import sys
import tracemalloc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

EXPECTED: Final = Path(__file__).parents[1] / "costs.json"
TOLERANCE: Final = 0.1
"""Rising costs up to this are let pass: the same code differed by at most 4 % between runs and
machines (dictionary growth, batches that formed otherwise)."""


def hold(name: str, counts: Mapping[str, float]) -> None:
    """Fails if anything counted rose above what is expected of `name`."""
    known: dict[str, dict[str, float]] = json.loads(EXPECTED.read_text())
    if os.environ.get("CP_COSTS") == "write":
        known[name] = {what: round(count, 2) for what, count in sorted(counts.items())}
        EXPECTED.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
        return
    assert name in known, f"no costs are known of '{name}': run it with CP_COSTS=write"
    expected = known[name]
    assert counts.keys() == expected.keys()
    risen = {
        what: f"{expected[what]:g} -> {count:g}"
        for what, count in counts.items()
        if count > expected[what] * (1 + TOLERANCE)
    }
    assert risen == {}, f"{name} costs more than it did"


@dataclass(slots=True)
class Count:
    """What a block took."""

    calls: int = 0
    """Of Python functions, in this thread."""
    kept_bytes: int = 0
    """Allocated in it and still there at its end."""


@contextmanager
def python_calls(*, most: int | None = None) -> Iterator[Count]:
    """Count the calls of Python functions. AssertionError in the midst of the block at the first
    one past `most`, for work that might never end."""
    found = Count()

    def profile(frame: FrameType, event: str, arg: Any) -> None:
        del frame, arg
        if event == "call":
            found.calls += 1
            if most is not None and found.calls > most:
                raise AssertionError(f"more than {most} calls of Python functions")

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        yield found
    finally:
        sys.setprofile(before)


@contextmanager
def kept_memory() -> Iterator[Count]:
    """Count the bytes that stay."""
    found = Count()
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    try:
        yield found
    finally:
        gc.collect()
        found.kept_bytes = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
