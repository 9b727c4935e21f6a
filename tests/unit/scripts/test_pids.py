"""Pid files of the scripts: which process is the one that was remembered, and how old it is."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts"
LIB = SCRIPTS / "lib.sh"


def alive(folder: Path, pid: int, *, remember: bool = False) -> bool:
    """What live_pid says of the pid file; remembered first if asked for."""
    before = f"remember_pid {folder}/pid {pid}; " if remember else ""
    command = f"source {LIB}; {before}live_pid {folder}/pid"
    return subprocess.run(["bash", "-uc", command], check=False).returncode == 0


def test_a_process_that_was_killed_counts_as_gone_before_it_is_reaped(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    try:
        assert alive(tmp_path, process.pid, remember=True)
        process.kill()
        state = Path(f"/proc/{process.pid}/stat")
        while state.read_text().rpartition(") ")[2][0] != "Z":
            pass
        assert not alive(tmp_path, process.pid)
    finally:
        process.communicate()


def test_code_that_changed_after_the_start_is_newer(tmp_path: Path) -> None:
    written = tmp_path / "pid"
    written.touch()

    def newer() -> bool:
        command = f"source {LIB}; source {SCRIPTS}/installation.sh; code_is_newer {written}"
        return subprocess.run(["bash", "-uc", command], check=False).returncode == 0

    os.utime(written, (2**32, 2**32))
    assert not newer()
    os.utime(written, (0, 0))
    assert newer()
