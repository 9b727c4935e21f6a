"""scripts/images by hand: images come from where the installation of this host has them from.

The engine's command is a program of ours that has all images, of their recipes, and keeps a record.
"""

import os
import subprocess
import sys
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
    docker, record, data = tmp_path / "bin" / "docker", tmp_path / "asked", tmp_path / "data"
    docker.parent.mkdir()
    reference, digest = base
    docker.write_text(DOCKER.format(record=record, base=reference, digest=digest))
    docker.chmod(0o755)
    if remembered is not None:
        data.mkdir()
        (data / "environment").write_bytes(remembered.encode())
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("CP_", "DOCKER"))}
    done = subprocess.run(
        [ROOT / "scripts/images", "--only", "base", *options],
        env={
            **kept,
            "PATH": f"{docker.parent}:{kept['PATH']}",
            "CP_DATA_DIR": str(data),
            "CP_VENV": str(Path(sys.executable).parents[1]),
            **given,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    tagged_over = any(line.startswith("tag ") for line in record.read_text().splitlines())
    assert tagged_over is (source == "upstream")
