"""Each import contract of pyproject.toml is green on the tree and red on a planted violation."""

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("api", "controlplane", "drivers", "reconcilers", "resources")

PLANTED = {
    "layers: __main__ -> {api | reconcilers} -> drivers -> controlplane -> resources": {
        "resources/planted.py": "import controlplane.errors\n"
    },
    "layers inside controlplane: __main__ -> engine -> store -> the rest": {
        "controlplane/store/planted.py": "import controlplane.engine.planted\n",
        "controlplane/engine/planted.py": "",
    },
    "api imports no driver and no reconciler": {"api/planted.py": "import drivers.containers\n"},
    "drivers know no kind, no record, no store and no engine": {
        "drivers/planted.py": "import resources.meta\n"
    },
    "no kind's model imports another's": {
        "resources/planted.py": "import resources.planted_too\n",
        "resources/planted_too.py": "",
    },
    "no kind's reconciler imports another's": {
        "reconcilers/planted.py": "import reconcilers.planted_too\n",
        "reconcilers/planted_too.py": "",
    },
    "fakes are for tests and --demo": {
        "reconcilers/planted.py": "import drivers.fake.planted\n",
        "drivers/fake/planted.py": "",
    },
    "the Docker SDK stays in drivers.docker_sdk": {
        "reconcilers/planted.py": "import docker.errors\n"
    },
    "botocore stays in drivers.s3_sdk": {"drivers/planted.py": "import botocore\n"},
    "the Vault SDK stays in drivers.vault": {"drivers/planted.py": "import hvac\n"},
    "SQL stays in controlplane.store": {"controlplane/engine/planted.py": "import asyncpg\n"},
    "nothing imports the composition root": {"api/planted.py": "import controlplane.__main__\n"},
}


def contracts() -> list[str]:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return [contract["name"] for contract in config["tool"]["importlinter"]["contracts"]]


def broken_contracts(tree: Path) -> list[str]:
    script = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [str(script), "--no-cache"],
        cwd=tree,
        env={**os.environ, "NO_COLOR": "1", "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Contracts: " in done.stdout, done.stdout + done.stderr
    marker = " BROKEN"
    return [line.partition(marker)[0] for line in done.stdout.splitlines() if marker in line]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("contracts")
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


def test_tree_keeps_every_contract(tree: Path) -> None:
    assert broken_contracts(tree) == []


@pytest.mark.parametrize("contract", contracts())
def test_contract_turns_red_on_a_planted_violation(tree: Path, contract: str) -> None:
    files = {tree / name: text for name, text in PLANTED[contract].items()}
    assert not any(path.exists() for path in files)
    try:
        for path, text in files.items():
            path.write_text(text)
        assert contract in broken_contracts(tree)
    finally:
        for path in files:
            path.unlink(missing_ok=True)


def imports_of(module: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def test_fakes_are_imported_by_tests_and_the_composition_root_only() -> None:
    allowed = {ROOT / "controlplane/__main__.py"}
    guilty = [
        str(module.relative_to(ROOT))
        for package in PACKAGES
        for module in (ROOT / package).rglob("*.py")
        if module not in allowed
        and not module.is_relative_to(ROOT / "drivers/fake")
        and any(name.startswith("drivers.fake") for name in imports_of(module))
    ]
    assert guilty == []
