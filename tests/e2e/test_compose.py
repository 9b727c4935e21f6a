"""compose.yaml as it stands: three containers, rights split, a tenant served and gone."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import docker
import pytest

from tests.e2e.cloud import ROOT, Filters, eventually, free_port, remove_all

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.docker,
    pytest.mark.timeout(900),
    # the control plane's own image takes minutes to build, and compose is no part of the product
    pytest.mark.skipif(
        os.environ.get("CP_TEST_PROFILE") != "long" or not shutil.which("docker-compose"),
        reason="with --long, where docker-compose is installed",
    ),
]


class Composed:
    """The project under a name of its own."""

    def __init__(self, folder: Path) -> None:
        self.name, self.port, self.folder = f"compose-e2e-{os.getpid()}", free_port(), folder
        self.kubeconfig = folder / "kubeconfig"

    def compose(self, *args: str) -> str:
        ours = {
            "CP_IMAGES": "local",
            "CP_POSTGRES_IMAGE": "bunker.local/postgres:18",
            "CP_INSTANCE": self.name,
            "CP_API_PORT": str(self.port),
        }
        command = ["docker-compose", "--project-name", self.name, *args]
        return self._run(command, {**os.environ, **ours})

    def kubectl(self, *args: str) -> str:
        return self._run(["kubectl", "--kubeconfig", str(self.kubeconfig), *args], None)

    def take_kubeconfig(self) -> None:
        """As compose.yaml says, and with the port that it was given."""
        inside = "/var/lib/bunker/kubeconfig"
        tool = ("python", "-m", "controlplane", "kubeconfig", "--out", inside)
        self.compose("exec", "-T", "api", *tool)
        text = self.compose("exec", "-T", "api", "cat", inside)
        self.kubeconfig.write_text(text.replace(":8443", f":{self.port}"))

    def _run(self, command: list[str], env: dict[str, str] | None) -> str:
        done = subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture
def composed(tmp_path: Path) -> Iterator[Composed]:
    subprocess.run(
        [ROOT / "scripts/images", "--source", "local", "--only", "control-plane"], check=True
    )
    made = Composed(tmp_path)
    try:
        made.compose("up", "--detach")
        yield made
    finally:
        made.compose("down", "--volumes")
        with closing(docker.from_env()) as engine:
            remove_all(engine, made.name)  # what the agent made is none of the project's
        shutil.rmtree(f"/dev/shm/compose-{made.name}", ignore_errors=True)  # its own


def test_it_comes_up_serves_a_tenant_and_leaves_nothing(composed: Composed) -> None:
    composed.take_kubeconfig()
    composed.kubectl("apply", "-f", "manifests/quickstart.yaml")
    for kind in ("database/shop-db", "database/shop-cache", "app/shop"):
        composed.kubectl("wait", "--for=condition=Ready", kind, "-n", "shop", "--timeout=120s")
    engine = docker.from_env()
    try:
        (api,) = engine.containers.list(filters={"name": f"{composed.name}_api"})
        assert not [m for m in api.attrs["Mounts"] if "docker.sock" in m["Source"]]
        assert api.attrs["HostConfig"]["CapDrop"] == ["ALL"]
        composed.kubectl("delete", "namespace", "shop", "--timeout=120s")
        ours: Filters = {"label": f"bunker.cloud/instance={composed.name}"}
        eventually(
            lambda: not engine.containers.list(all=True, filters=ours),
            within_s=30,
            what="nothing of the tenant is left",
        )
    finally:
        engine.close()
