"""A chart of benchmark rows: each ratio as a part of its goal, one bar a row. SVG, no library.

python scripts/bench_chart.py rows.json chart.svg
"""

import json
import sys
from html import escape
from pathlib import Path
from typing import Any, Final

ROW: Final = 26
LEFT: Final = 300
WIDTH: Final = 860
SCALE: Final = 160
"""Pixels to the goal's line."""
MET: Final = "#2a7f4f"
MISSED: Final = "#b3412e"


def part(row: dict[str, Any]) -> float:
    """How far it got: 1 is the goal, more is better, whichever way the figure counts."""
    ratio, goal = row["ratio"], row["goal"]
    if row["better"] == "more":
        return float(ratio / goal)
    return float(goal / ratio) if ratio > 0 else 3.0


def bar(index: int, row: dict[str, Any]) -> str:
    top = 40 + index * ROW
    length = min(3.0, part(row)) * SCALE
    colour = MET if row["met"] else MISSED
    sign = ">=" if row["better"] == "more" else "<="
    told = f"{row['ratio']:.2f} (goal {sign} {row['goal']:g})"
    return (
        f'<text x="{LEFT - 8}" y="{top + 14}" text-anchor="end">{escape(row["name"])}</text>'
        f'<rect x="{LEFT}" y="{top}" width="{length:.0f}" height="18" fill="{colour}"/>'
        f'<text x="{LEFT + length + 6:.0f}" y="{top + 14}">{escape(told)}</text>'
    )


def chart(rows: list[dict[str, Any]]) -> str:
    """The whole picture; rows without a goal are left out ("less", of 0, is one)."""
    shown = [row for row in rows if row["goal"] or row["better"] == "less"]
    height = 60 + len(shown) * ROW
    line = LEFT + SCALE
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="12">'
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>'
        f'<text x="{line}" y="24" text-anchor="middle">goal</text>'
        f'<line x1="{line}" y1="30" x2="{line}" y2="{height - 10}" stroke="#888"/>'
        + "".join(bar(index, row) for index, row in enumerate(shown))
        + "</svg>\n"
    )


def main() -> None:
    source, target = map(Path, sys.argv[1:])
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    target.write_text(chart(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
