"""Planted bugs: each a small patch that says what it breaks and by which command it is caught.

All by hand, with times: `python -m tests.sim.planting`, or some by name; `--jobs 2` at once. Their
figures go where CP_FIGURES says, else to `.figures/planted.jsonl`. A bug that survives its command
is a hole in the tests; a command that can't run has caught nothing.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.figures import tell

ROOT: Final = Path(__file__).resolve().parents[2]
FOLDER: Final = ROOT / "tests/planted"
COPIED: Final = ("api", "controlplane", "drivers", "manifests", "reconcilers", "resources", "tests")
FILES: Final = ("pyproject.toml",)
IGNORED: Final = shutil.ignore_patterns("__pycache__")
LIMIT_S: Final = 240.0
CAUGHT: Final = 1
"""pytest's exit code when tests ran and some failed; any other tells nothing of the bug."""


@dataclass(frozen=True, slots=True)
class Hunk:
    """A block of lines in one file, and what takes its place."""

    path: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Bug:
    """One planted bug."""

    name: str
    says: str
    caught_by: tuple[str, ...]
    """Arguments of pytest."""
    hunks: tuple[Hunk, ...]

    def problem(self, root: Path = ROOT) -> str:
        """Why it can't be planted; empty if it can."""
        for hunk in self.hunks:
            count = (root / hunk.path).read_text().count(hunk.before)
            if count != 1:
                return (
                    f"tests/planted/{self.name}.patch: {hunk.path} has the lines it changes "
                    f"{count} times; write it anew for the code as it is, or drop it with its code"
                )
        return ""

    def plant(self, root: Path) -> None:
        """Into a copy, never into the tree itself."""
        for hunk in self.hunks:
            file = root / hunk.path
            file.write_text(file.read_text().replace(hunk.before, hunk.after))


@dataclass(frozen=True, slots=True)
class Hunt:
    """How a bug fared."""

    bug: Bug
    code: int
    took_s: float
    told: str

    @property
    def caught(self) -> bool:
        return self.code == CAUGHT


def bugs() -> list[Bug]:
    return [read(path) for path in sorted(FOLDER.glob("*.patch"))]


def read(path: Path) -> Bug:
    """Hunks are found by their lines, not by line numbers: code above them may change."""
    head, _, diff = path.read_text().partition("\n--- ")
    caught = re.search(r"^Caught by: (.+)$", head, re.MULTILINE)
    hunks: list[Hunk] = []
    for part in f"--- {diff}".split("\n--- "):
        file = re.search(r"^\+\+\+ b/(.+)$", part, re.MULTILINE)
        assert file is not None, f"{path.name} names no file"
        for block in re.split(r"^@@ .*\n", part, flags=re.MULTILINE)[1:]:
            hunks.append(_hunk(file[1].strip(), block))
    words = tuple(caught[1].split()) if caught else ()
    return Bug(path.stem, head.splitlines()[0], words, tuple(hunks))


def _hunk(path: str, block: str) -> Hunk:
    lines = [line or " " for line in block.rstrip("\n").split("\n")]
    before = "".join(line[1:] + "\n" for line in lines if line[0] in " -")
    after = "".join(line[1:] + "\n" for line in lines if line[0] in " +")
    return Hunk(path, before, after)


def hunt(bug: Bug) -> Hunt:
    """Plant it in a copy and run its command there."""
    with tempfile.TemporaryDirectory(prefix="planted-") as place:
        root = Path(place)
        for folder in COPIED:
            shutil.copytree(
                ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__")
            )
        for file in FILES:
            shutil.copy(ROOT / file, root / file)
        bug.plant(root)
        began_s = time.monotonic()
        code, told = _run(root, bug.caught_by)
        return Hunt(bug, code, time.monotonic() - began_s, told)


def _run(root: Path, words: tuple[str, ...]) -> tuple[int, str]:
    env = {**os.environ, "PYTHONPATH": str(root), "CP_TEST_PROFILE": "fast", "PYTHONHASHSEED": "0"}
    env.pop("CP_FIGURES", None)
    # its command names few tests, and they may be of another shard than the one that hunts
    env.pop("CP_SIM_SHARD", None)
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *words]
    try:
        done = subprocess.run(
            command, cwd=root, env=env, capture_output=True, text=True, timeout=LIMIT_S
        )
    except subprocess.TimeoutExpired:
        # a loop without end is caught, too: the suite would not pass
        return CAUGHT, "it never ended"
    return done.returncode, (done.stdout + done.stderr)[-2000:]


def told(found: Hunt) -> Hunt:
    """Left for `scripts/test --report`, and handed on."""
    took_s = round(found.took_s, 1)
    tell("planted bugs", 1, caught=found.caught, took_s=took_s, bug=found.bug.name)
    return found


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim.planting")
    parser.add_argument("names", nargs="*", metavar="bug", help="all of them if none is named")
    parser.add_argument("--jobs", type=int, default=1, help="how many at once")
    given = parser.parse_args(argv)
    os.environ.setdefault("CP_FIGURES", str(ROOT / ".figures/planted.jsonl"))
    Path(os.environ["CP_FIGURES"]).parent.mkdir(exist_ok=True)
    wanted = [bug for bug in bugs() if not given.names or bug.name in given.names]
    found = []
    with ThreadPoolExecutor(given.jobs) as jobs:
        for done in jobs.map(lambda bug: told(hunt(bug)), wanted):
            found.append(done)
            verdict = "caught" if done.caught else f"SURVIVED (exit {done.code})"
            print(
                f"{verdict:10} {done.took_s:6.1f} s  {done.bug.name}: {done.bug.says}", flush=True
            )
    times = sorted(each.took_s for each in found if each.caught)
    median_s = times[len(times) // 2] if times else 0.0
    print(f"{len(times)} of {len(found)} caught, median {median_s:.1f} s")
    return 0 if len(times) == len(found) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
