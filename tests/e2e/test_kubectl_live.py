"""kubectl's verbs on records that are really reconciled: tests/clients/kubectl_live.sh."""

import os
import subprocess
from pathlib import Path
from typing import Final

import pytest
import yaml

from tests.clients.kubectls import NEWEST
from tests.e2e.cloud import ROOT, Cloud

pytestmark = [pytest.mark.docker, pytest.mark.e2e, pytest.mark.timeout(420)]

LIVE: Final = {"App": "1", "Database": "0"}
"""Kinds that need nothing but the engine, and whether they have a scale subresource."""


@pytest.mark.parametrize("kind", LIVE)
def test_kubectl_works_on_live_records(cloud: Cloud, kind: str, tmp_path: Path) -> None:
    example = yaml.safe_load((ROOT / f"manifests/kinds/{kind.lower()}.yaml").read_text())
    example["spec"].pop("version", None)  # the newest: its image is built for every run
    manifest = tmp_path / "record.yaml"
    manifest.write_text(yaml.safe_dump(example))
    done = subprocess.run(
        [str(ROOT / "tests/clients/kubectl_live.sh")],
        env={
            **os.environ,
            "KUBECONFIG": str(cloud.kubeconfig),
            "KUBECTL": str(NEWEST),
            "MANIFEST": str(manifest),
            "PLURAL": f"{kind.lower()}s.bunker.cloud",
            "SCALE": LIVE[kind],
        },
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_our_smoke_script_passes_on_a_live_control_plane(cloud: Cloud) -> None:
    done = subprocess.run(
        [str(ROOT / "tests/clients/kubectl_smoke.sh")],
        env={
            **os.environ,
            "KUBECONFIG": str(cloud.kubeconfig),
            "KUBECTL": str(NEWEST),
            "LIVE": "1",
        },
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
