"""Installing from the distribution while a fresh host's own upgrades hold apt's locks."""

import os
import subprocess
from pathlib import Path

import pytest

LIB = Path(__file__).resolve().parents[3] / "scripts" / "lib.sh"
LOCKED = "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 1 (apt-get)"
APT = """#!/bin/sh
echo "$*" >>{folder}/asked
case "$*" in
  *install*) [ -f {folder}/lists ] ;;
  update)
    if [ $(grep -c '^update$' {folder}/asked) -gt {busy} ]; then {then}; fi
    echo '{locked}'
    exit 100 ;;
esac
"""


def install(folder: Path, *, busy: int, then: str) -> "subprocess.CompletedProcess[str]":
    """With lists that are locked so often, and no package known before they are fresh."""
    programs = folder / "bin"
    programs.mkdir()
    scripts = {
        "apt-get": APT.format(folder=folder, busy=busy, then=then, locked=LOCKED),
        "id": "#!/bin/sh\necho 0\n",
    }
    for name, text in scripts.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    quickly = "sleep() { command sleep 0.01; }"
    code = f"source {LIB}; {quickly}; apt_install docker.io; echo went on"
    env = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "INSTALL": "yes"}
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )


def test_locks_of_others_are_waited_for(tmp_path: Path) -> None:
    done = install(tmp_path, busy=2, then=f": >{tmp_path}/lists; exit 0")
    assert (done.returncode, done.stdout) == (0, "went on\n"), done.stderr
    asked = (tmp_path / "asked").read_text().splitlines()
    wanted = "-o DPkg::Lock::Timeout=300 install -y docker.io"
    assert asked == [wanted, "update", "update", "update", wanted]


@pytest.mark.parametrize(
    ("busy", "then", "tries"),
    [
        pytest.param(0, "echo Temporary failure resolving; exit 100", 1, id="no network"),
        pytest.param(1000, ":", 31, id="locked for too long"),
    ],
)
def test_lists_that_cannot_be_had_are_told(
    tmp_path: Path, busy: int, then: str, tries: int
) -> None:
    done = install(tmp_path, busy=busy, then=then)
    assert (done.returncode, done.stdout) == (1, "")
    assert "error: apt-get update failed" in done.stderr
    assert (tmp_path / "asked").read_text().splitlines().count("update") == tries
