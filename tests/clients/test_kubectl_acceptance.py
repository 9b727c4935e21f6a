"""kubectl, as people have it, against a whole API server on the real store.

Records are paused, so that nothing outside is made and no reconciler is needed. The newest
kubectl comes with the environment; a host's own runs beside it, and the long suite brings older
ones. If the acceptance script (CP_ACCEPTANCE_DIR) is there, it runs for the kinds that differ
most, and for every kind in the long suite; what each kind has of its own is asked of all.
"""

import os
import re
import subprocess
from pathlib import Path
from typing import Final

import pytest
import yaml

from resources.kinds import MODELS
from resources.meta import KindInfo
from tests.clients.kubectls import NEWEST, called, hosts, older

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(300)]

ROOT: Final = Path(__file__).resolve().parents[2]
SCRIPT: Final = (
    Path(os.environ.get("CP_ACCEPTANCE_DIR") or ROOT.parent / "shared" / "acceptance")
    / "kubectl.sh"
)
LONG: Final = os.environ.get("CP_TEST_PROFILE") == "long"
WHOLE: Final = ("App", "Database")
"""The kinds for which the script always runs whole: with and without a scale subresource."""


def _accepted(info: KindInfo) -> bool:
    """The script works in a namespace of its own, and needs a field that may change."""
    return info.namespaced and info.reconciled and "create" in info.verbs


KINDS: Final = sorted(kind for kind, model in MODELS.items() if _accepted(model.info))


def _run(command: list[str], folder: Path, kubectl: Path, **extra: str) -> str:
    """Run a script that ends with the number of its failures. Returns what it told."""
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


@pytest.mark.parametrize("kubectl", [NEWEST, *hosts(), *older()], ids=called)
def test_our_own_smoke_script_passes(server: Path, kubectl: Path) -> None:
    told = _run([str(ROOT / "tests/clients/kubectl_smoke.sh")], server, kubectl)
    assert told.count("PASS") > 40


def _manifest(kind: str, folder: Path) -> Path:
    """The kind's own example, paused from the start: nothing outside is ever made of it."""
    example = yaml.safe_load((ROOT / f"manifests/kinds/{kind.lower()}.yaml").read_text())
    example["metadata"] = {"name": "accepted"}
    example["spec"] = {**example["spec"], "paused": True, "priority": 5}
    path = folder / f"{kind}.yaml"
    path.write_text(yaml.safe_dump(example))
    return path


def _acceptance(folder: Path, kubectl: Path, kind: str) -> None:
    if not SCRIPT.exists():  # our own smoke script has run instead
        return
    info = MODELS[kind].info
    told = _run(
        ["bash", str(SCRIPT)],
        folder,
        kubectl,
        MANIFEST=str(_manifest(kind, folder)),
        PLURAL=f"{info.plural}.{info.group}",
        FIELD="spec.priority",
        SCALE="1" if info.scalable else "0",
    )
    assert "FAIL=0" in told


@pytest.mark.parametrize("kind", KINDS if LONG else WHOLE)
def test_the_newest_kubectl_is_accepted(server: Path, kind: str) -> None:
    _acceptance(server, NEWEST, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_lives_under_kubectl(server: Path, tmp_path: Path, kind: str) -> None:
    """Schema, columns, defaults and validation are each kind's own; the rest is the same code."""
    info = MODELS[kind].info
    told = _run(
        [str(ROOT / "tests/clients/kubectl_kind.sh")],
        server,
        NEWEST,
        MANIFEST=str(_manifest(kind, tmp_path)),
        PLURAL=f"{info.plural}.{info.group}",
    )
    assert told.count("PASS") > 12


@pytest.mark.parametrize("kubectl", [*hosts(), *older()] if LONG else [], ids=called)
@pytest.mark.parametrize("kind", WHOLE)
def test_older_kubectls_are_accepted(server: Path, kubectl: Path, kind: str) -> None:
    """Their smoke test has run already; the whole script only where time is no object."""
    _acceptance(server, kubectl, kind)
