"""scripts/bootstrap leaves what a start imports compiled, wherever Python itself may not write."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def current_venv(folder: Path) -> Path:
    """An environment that bootstrap takes for its own, and current."""
    folder.joinpath("bin").mkdir(parents=True)
    folder.joinpath("bin/python").symlink_to(sys.executable)
    inputs = [ROOT.joinpath(name).read_bytes() for name in ("requirements.lock", "pyproject.toml")]
    digest = hashlib.sha256(b"".join(inputs) + f"{ROOT}\n".encode()).hexdigest()
    folder.joinpath(".bootstrapped").write_text(f"{digest}  -\n")
    return folder


def test_current_environment_is_compiled(tmp_path: Path) -> None:
    env = {
        **os.environ,
        "CP_VENV": str(current_venv(tmp_path / "venv")),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPYCACHEPREFIX": str(tmp_path / "compiled"),
    }
    subprocess.run([ROOT / "scripts/bootstrap"], env=env, check=True)
    compiled = tmp_path / "compiled" / ROOT.relative_to("/")
    names = {path.name.split(".")[0] for path in compiled.joinpath("controlplane").glob("*.pyc")}
    assert names == {path.stem for path in ROOT.joinpath("controlplane").glob("*.py")}
