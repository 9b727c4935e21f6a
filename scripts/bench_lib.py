"""What all benchmarks share: rows, medians, and the two ways to tell them.

A row is one figure of ours beside a limit or a peer that was measured in the same run, in rounds
that alternate, so that a neighbour's load hits both alike. What counts is the ratio.
"""

import json
import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

Better = Literal["more", "less"]


@dataclass(frozen=True, slots=True)
class Row:
    """One measured figure. `ratio` is ours / the peer's, or / the limit where that is the peer."""

    name: str
    value: float
    unit: str
    peer_name: str
    peer: float
    ratio: float
    goal: float
    """The ratio to reach."""
    better: Better
    spread: tuple[float, float]
    """Least and greatest ratio of the rounds."""
    rounds: int
    setup: str
    """What was the same on both sides, and what was not."""

    @property
    def met(self) -> bool:
        return self.ratio >= self.goal if self.better == "more" else self.ratio <= self.goal

    def told(self) -> str:
        """One line for a person."""
        sign = ">=" if self.better == "more" else "<="
        low, high = self.spread
        return (
            f"{'met ' if self.met else 'MISS'}  {self.name:34} {_number(self.value):>9} "
            f"{self.unit:9} {self.peer_name:>26} {_number(self.peer):>9}   "
            f"ratio {self.ratio:5.2f} ({low:.2f}..{high:.2f}), goal {sign} {self.goal:g}"
        )


def beside(
    name: str,
    unit: str,
    ours: Sequence[float],
    peer_name: str,
    peers: Sequence[float],
    *,
    goal: float,
    better: Better,
    setup: str,
) -> Row:
    """A row from rounds that alternated: medians of each, and of the ratios round by round."""
    ratios = [mine / other for mine, other in zip(ours, peers, strict=True)]
    return Row(
        name=name,
        value=statistics.median(ours),
        unit=unit,
        peer_name=peer_name,
        peer=statistics.median(peers),
        ratio=statistics.median(ratios),
        goal=goal,
        better=better,
        spread=(min(ratios), max(ratios)),
        rounds=len(ratios),
        setup=setup,
    )


def within(
    name: str,
    unit: str,
    ours: Sequence[float],
    limit: float,
    *,
    better: Better = "less",
    setup: str,
) -> Row:
    """A row that is held to a fixed limit: the ratio is the part of it that is used."""
    limits = [limit] * len(ours)
    return beside(name, unit, ours, "limit", limits, goal=1.0, better=better, setup=setup)


def none_of(
    name: str,
    unit: str,
    bad: Sequence[float],
    peer_name: str,
    all_: Sequence[float],
    *,
    setup: str,
) -> Row:
    """A row of something that must not happen even once in any round: sums, not medians."""
    ratios = [mine / whole for mine, whole in zip(bad, all_, strict=True)]
    return Row(
        name=name,
        value=sum(bad),
        unit=unit,
        peer_name=peer_name,
        peer=sum(all_),
        ratio=sum(bad) / sum(all_),
        goal=0.0,
        better="less",
        spread=(min(ratios), max(ratios)),
        rounds=len(ratios),
        setup=setup,
    )


def quantile(values: Sequence[float], part: float) -> float:
    """The value that `part` of them are at most: 0.99 for p99."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def tell(rows: Sequence[Row]) -> None:
    """One line a row, and the same as JSON lines into the file named by BENCH_JSON."""
    for row in rows:
        print(row.told(), flush=True)
        print(f"      {row.setup}", flush=True)
    target = _target()
    if target is not None:
        with target.open("a", encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps({**asdict(row), "met": row.met}) + "\n")


def _target() -> Path | None:
    name = os.environ.get("BENCH_JSON")
    return Path(name) if name else None


def _number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.3f}"
