"""A script that is asked what it does says so and does nothing: no environment, image or check."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
COMMANDS = sorted(
    path.name
    for path in (ROOT / "scripts").iterdir()
    if path.is_file() and not path.suffix and os.access(path, os.X_OK)
)


@pytest.mark.parametrize("option", ["-h", "--help"])
@pytest.mark.parametrize("command", COMMANDS)
def test_it_says_how_it_is_used_and_does_nothing(command: str, option: str, tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    done = subprocess.run(
        [ROOT / "scripts" / command, option],
        env={**os.environ, "CP_VENV": str(environment), "CP_DATA_DIR": str(tmp_path / "data")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"scripts/{command}" in done.stdout
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []
