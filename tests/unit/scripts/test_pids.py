"""Pid files of the scripts: which process is taken for the one that was remembered."""

import subprocess
import sys
from pathlib import Path

LIB = Path(__file__).resolve().parents[3] / "scripts/lib.sh"


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
