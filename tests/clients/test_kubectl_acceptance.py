"""kubectl, as people have it, against a whole API server on the real store.

Records are paused, so that nothing outside is made and no reconciler is needed. The newest
kubectl comes with the environment; a host's own runs beside it. If the acceptance script
(CP_ACCEPTANCE_DIR) is there, it runs whole; our own smoke script always does.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(300)]

ROOT: Final = Path(__file__).resolve().parents[2]
BUNDLED: Final = Path(sys.executable).with_name("kubectl")
SCRIPT: Final = (
    Path(os.environ.get("CP_ACCEPTANCE_DIR") or ROOT.parent / "shared" / "acceptance")
    / "kubectl.sh"
)
PAUSED: Final = {
    "Database": "spec: {engine: postgres, plan: starter, paused: true, priority: 5}",
    "App": (
        "spec: {image: 'bunker.local/demo:1', port: 8080, paused: true, priority: 5, "
        "resources: {cpu: 100m, memory: 64Mi}}"
    ),
}


def _run(command: list[str], folder: Path, kubectl: Path, **extra: str) -> str:
    """Run a script that ends with the number of its failures. Returns the failed lines."""
    environment = {
        **os.environ,
        "KUBECONFIG": str(folder / "admin.kubeconfig"),
        "VIEWER_KUBECONFIG": str(folder / "viewer.kubeconfig"),
        "KUBECTL": str(kubectl),
        **extra,
    }
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    told = [line for line in done.stdout.splitlines() if re.match(r"FAIL| +[$|]", line)]
    assert done.returncode == 0, "\n".join(told) or done.stderr
    return done.stdout


def _kubectls() -> list[Path]:
    host = shutil.which("kubectl")
    return [BUNDLED, *([Path(host)] if host and Path(host).resolve() != BUNDLED.resolve() else [])]


@pytest.mark.parametrize("kubectl", _kubectls(), ids=lambda path: path.parent.name)
def test_our_own_smoke_script_passes(server: Path, kubectl: Path) -> None:
    told = _run([str(ROOT / "tests/clients/kubectl_smoke.sh")], server, kubectl)
    assert told.count("PASS") > 40


def _acceptance(folder: Path, kubectl: Path, kind: str) -> None:
    if not SCRIPT.exists():  # our own smoke script has run instead
        return
    manifest = folder / f"{kind}.yaml"
    manifest.write_text(
        f"apiVersion: bunker.cloud/v1\nkind: {kind}\nmetadata: {{name: accepted}}\n{PAUSED[kind]}\n"
    )
    told = _run(
        ["bash", str(SCRIPT)],
        folder,
        kubectl,
        MANIFEST=str(manifest),
        FIELD="spec.priority",
        SCALE="1" if kind == "App" else "0",
    )
    assert "FAIL=0" in told


@pytest.mark.parametrize("kind", PAUSED)
def test_the_newest_kubectl_is_accepted(server: Path, kind: str) -> None:
    _acceptance(server, BUNDLED, kind)


def test_the_hosts_kubectl_is_accepted(server: Path) -> None:
    """Its smoke test has run already; the whole script only where time is no object."""
    thorough = os.environ.get("CP_TEST_PROFILE") == "long"
    for kubectl in _kubectls()[1:] if thorough else ():
        _acceptance(server, kubectl, "Database")
