"""scripts/images by hand: images come from where the installation of this host has them from.

The engine's command is a program of ours that has all images, of their recipes, and keeps a record.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
DOCKER = """#!/bin/sh
echo "$*" >>"{record}"
case "$*" in
  "image inspect "*recipe*" {base}") echo "{digest}" ;;
  "image inspect "*) echo 1 ;;
esac
"""
BASE = f"""
import sys
from collections.abc import Mapping
sys.path[:0] = ["{ROOT}", "{ROOT}/scripts"]
import image_build as build
base = build.Recipe("base", build.catalogue.BASE, build.RECIPES / "base")
print(base.reference, base.digest(build.image_payloads.SUITE))
"""


@pytest.fixture(scope="module")
def base() -> list[str]:
    """Its reference, and the hash of its recipe."""
    told = subprocess.run([sys.executable, "-c", BASE], capture_output=True, text=True, check=True)
    return told.stdout.split()


def images(
    tmp_path: Path,
    base: list[str],
    *options: str,
    script: Path = ROOT / "scripts/images",
    env: Mapping[str, str] | None = None,
) -> "subprocess.CompletedProcess[str]":
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    reference, digest = base
    record = tmp_path / "asked"
    record.touch()
    docker.write_text(DOCKER.format(record=record, base=reference, digest=digest))
    docker.chmod(0o755)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("CP_", "DOCKER"))}
    return subprocess.run(
        [script, "--only", "base", *options],
        cwd=ROOT,
        env={
            **kept,
            "PATH": f"{docker.parent}:{kept['PATH']}",
            "CP_DATA_DIR": str(tmp_path / "data"),
            "CP_VENV": str(Path(sys.executable).parents[1]),
            **(env or {}),
        },
        capture_output=True,
        text=True,
        check=False,
    )


def remember(tmp_path: Path, lines: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "environment").write_bytes(lines.encode())


@pytest.mark.parametrize(
    ("remembered", "given", "options", "source"),
    [
        pytest.param("CP_IMAGES=local\n", {}, (), "local", id="remembered"),
        pytest.param("CP_API_PORT=1\r\nCP_IMAGES=local", {}, (), "local", id="edited by hand"),
        pytest.param("CP_IMAGES=local\n", {"CP_IMAGES": "upstream"}, (), "upstream", id="said now"),
        pytest.param("CP_IMAGES=local\n", {}, ("--source", "upstream"), "upstream", id="asked for"),
        pytest.param("CP_API_PORT=1\n", {}, (), "upstream", id="nothing of images"),
        pytest.param(None, {"CP_IMAGES": ""}, (), "upstream", id="no installation"),
    ],
)
def test_images_are_from_where_the_installation_has_them_from(
    tmp_path: Path,
    base: list[str],
    remembered: str | None,
    given: dict[str, str],
    options: tuple[str, ...],
    source: str,
) -> None:
    """On a host where a registry answers, too: an upgrade needs the local ones of the new version,
    and what was built from the local base must not find another in its place."""
    if remembered is not None:
        remember(tmp_path, remembered)
    done = images(tmp_path, base, *options, env=given)
    assert done.returncode == 0, done.stderr
    asked = (tmp_path / "asked").read_text().splitlines()
    assert any(line.startswith("tag ") for line in asked) is (source == "upstream")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        pytest.param({}, "CP_IMAGES is '\"upstream\"'", id="remembered"),
        pytest.param({"CP_IMAGES": "cloud"}, "CP_IMAGES is 'cloud'", id="said now"),
    ],
)
def test_a_source_that_is_none_is_refused(
    tmp_path: Path, base: list[str], given: dict[str, str], said: str
) -> None:
    """Not taken for "local", to build all for half an hour."""
    remember(tmp_path, 'CP_IMAGES="upstream"\n')
    done = images(tmp_path, base, env=given)
    assert done.returncode == 1
    assert said in done.stderr
    assert f"{tmp_path}/data/environment" in done.stderr
    assert (tmp_path / "asked").read_text() == ""


def test_the_checkout_is_found_whatever_folders_cd_looks_in(
    tmp_path: Path, base: list[str]
) -> None:
    remember(tmp_path, "CP_IMAGES=local\n")
    done = images(tmp_path, base, script=Path("scripts/images"), env={"CDPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
