"""scripts/bootstrap leaves what a start imports compiled, wherever Python itself may not write."""

import hashlib
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def current_venv(folder: Path, lock: str) -> Path:
    """An environment that bootstrap takes for its own, made from that lock file, and current."""
    folder.joinpath("bin").mkdir(parents=True)
    folder.joinpath("bin/python").symlink_to(sys.executable)
    inputs = [ROOT.joinpath(name).read_bytes() for name in (lock, "pyproject.toml")]
    digest = hashlib.sha256(b"".join(inputs) + f"{ROOT}\n".encode()).hexdigest()
    folder.joinpath(".bootstrapped").write_text(f"{digest}  -\n")
    return folder


def bootstrap(*options: str, **env: str) -> None:
    subprocess.run([ROOT / "scripts/bootstrap", *options], env={**os.environ, **env}, check=True)


def pinned(lock: str) -> dict[str, str]:
    """Each pinned version of a lock file, with its hashes."""
    text = ROOT.joinpath(lock).read_text()
    return dict(re.findall(r"^(\S+==\S+)((?:.*\n {4}.*)*)", text, re.MULTILINE))


@pytest.mark.parametrize(
    ("options", "lock"),
    [
        ((), "requirements-dev.lock"),
        (("--run",), "requirements.lock"),
        (("--run",), "requirements-dev.lock"),
    ],
)
def test_current_environment_is_compiled(
    tmp_path: Path, options: tuple[str, ...], lock: str
) -> None:
    """And left as it is: what is there for developing runs as well."""
    venv = current_venv(tmp_path / "venv", lock)
    compiled = tmp_path / "compiled"
    writing = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": str(compiled)}
    before = venv.joinpath(".bootstrapped").read_bytes()
    bootstrap(*options, CP_VENV=str(venv), **writing)
    below = compiled / ROOT.relative_to("/") / "controlplane"
    names = {path.name.split(".")[0] for path in below.glob("*.pyc")}
    assert names == {path.stem for path in ROOT.joinpath("controlplane").glob("*.py")}
    assert venv.joinpath(".bootstrapped").read_bytes() == before


def test_what_it_makes_can_be_read_by_the_database_s_own_user(tmp_path: Path) -> None:
    venv = current_venv(tmp_path / "venv", "requirements.lock")
    made = tmp_path / "compiled"
    env = {**os.environ, "CP_VENV": str(venv), "PYTHONPYCACHEPREFIX": str(made)}
    subprocess.run([ROOT / "scripts/bootstrap", "--run"], env=env, check=True, umask=0o077)
    assert {path.stat().st_mode & 0o055 for path in made.rglob("*") if path.is_dir()} == {0o055}


def test_a_folder_that_is_no_environment_is_left_as_it_is(tmp_path: Path) -> None:
    kept = tmp_path / "home" / "precious"
    kept.parent.mkdir()
    kept.touch()
    folders = os.environ["PATH"].split(os.pathsep)
    # uv itself would refuse
    without_uv = os.pathsep.join(each for each in folders if not Path(each, "uv").exists())
    with pytest.raises(subprocess.CalledProcessError):
        bootstrap("--run", CP_VENV=str(kept.parent), PATH=without_uv)
    assert kept.exists()


def test_what_runs_is_pinned_alike_where_it_is_developed() -> None:
    runs, develops = pinned("requirements.lock"), pinned("requirements-dev.lock")
    assert runs.items() < develops.items()


def test_what_runs_has_every_dependency_and_no_tool_for_developing() -> None:
    project = tomllib.loads(ROOT.joinpath("pyproject.toml").read_text())["project"]
    names = {each.split("==")[0] for each in pinned("requirements.lock")}
    extras = project["optional-dependencies"]
    assert {name_of(line) for line in project["dependencies"]} <= names
    assert not {name_of(line) for line in (*extras["dev"], *extras["bench"])} & names


def name_of(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found is not None, requirement
    return found[0].lower()
