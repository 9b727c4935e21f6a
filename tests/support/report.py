"""`scripts/test --report`: what the last runs found out, as a table for a person and the README."""

import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

Row = Mapping[str, Any]


def rows(folder: Path) -> list[Row]:
    return [
        json.loads(line)
        for path in sorted(folder.glob("*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]


def table(found: Iterable[Row]) -> list[str]:
    """Figures by name, planted bugs, recovery times."""
    sums: defaultdict[str, float] = defaultdict(float)
    kinds: defaultdict[str, set[str]] = defaultdict(set)
    planted: dict[str, Row] = {}
    times: defaultdict[str, list[float]] = defaultdict(list)
    for row in found:
        if row["name"] == "planted bugs":
            # some of them are in several runs: the last one counts
            last = planted.get(row["bug"], row)
            planted[row["bug"]] = max(last, row, key=lambda each: float(each["at"]))
        elif row["name"] == "recovery":
            times[row["what"]].append(float(row["took_s"]))
        else:
            sums[row["name"]] += row["count"]
            kinds[row["name"]] |= {row["kind"]} if "kind" in row else set()
    lines = ["| what | figure |", "|---|---|"]
    for name, count in sorted(sums.items()):
        over = f", {len(kinds[name])} kinds" if kinds[name] else ""
        lines.append(f"| {name} | {count:,.0f}{over} |")
    if planted:
        caught = [float(row["took_s"]) for row in planted.values() if row["caught"]]
        middle = f", median {median(caught):.0f} s" if caught else ""
        lines.append(f"| planted bugs caught | {len(caught)} of {len(planted)}{middle} |")
    for what, taken in sorted(times.items()):
        lines.append(f"| recovery: {what} | {median(taken):.1f} s |")
    return lines


def main(argv: list[str]) -> int:
    folder = Path(argv[0])
    found = rows(folder) if folder.is_dir() else []
    if not found:
        print("no figures yet: run scripts/test --sim or --chaos first")
        return 1
    print("\n".join(table(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
