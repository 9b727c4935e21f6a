"""scripts/new-kind makes a kind that compiles, passes the checks and its own tests."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARTS = (
    "resources",
    "reconcilers",
    "drivers",
    "controlplane",
    "api",
    "scripts",
    "manifests/kinds",
    "manifests/quickstart.yaml",
    "docs/kinds",
    "tests/__init__.py",
    "tests/clock.py",
    "tests/support/__init__.py",
    "tests/support/fakes.py",
    "tests/support/keys.py",
    "tests/unit/__init__.py",
    "tests/unit/reconcilers",
    "tests/unit/test_every_kind_is_complete.py",
    "pyproject.toml",
)
TOOLS = Path(sys.executable).parent


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for part in PARTS:
        source, target = ROOT / part, tmp_path / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    return tmp_path


def run(copy: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(copy)}
    return subprocess.run(argv, cwd=copy, env=env, capture_output=True, text=True, check=False)


def test_it_makes_a_working_kind(copy: Path) -> None:
    """Not the page's Gadget: who has made that one runs this test, too."""
    python = sys.executable
    made = run(copy, python, "scripts/kind_files.py", "Sprocket")
    assert made.returncode == 0, made.stderr
    changed = ["resources", "reconcilers", "tests/unit/reconcilers"]
    for command in (
        (str(TOOLS / "ruff"), "check", "--quiet", "--fix", *changed),
        (str(TOOLS / "ruff"), "format", "--quiet", *changed),
        (python, "scripts/docs_kinds.py"),
        (python, "scripts/docs_kinds.py", "--check"),
        (str(TOOLS / "ruff"), "check", "--quiet", "."),
        (
            python,
            *("-m", "pytest", "-q", "-p", "no:cacheprovider"),
            "tests/unit/reconcilers/test_sprocket.py",
            "tests/unit/test_every_kind_is_complete.py",
        ),
    ):
        done = run(copy, *command)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    again = run(copy, python, "scripts/kind_files.py", "Sprocket")
    assert again.returncode != 0
    assert "already" in again.stderr


@pytest.mark.parametrize("words", [(), ("sprocket",), ("Gad get",), ("../Evil",)])
def test_it_refuses_what_is_no_name_of_a_kind(words: tuple[str, ...]) -> None:
    done = run(ROOT, sys.executable, "scripts/kind_files.py", *words)
    assert done.returncode == 2
    assert "usage" in done.stderr
