"""scripts/up and scripts/down: twice is once, data stays, and --destroy leaves nothing."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.e2e import data
from tests.e2e.cloud import ROOT, Cloud, free_port

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(600)]
# 30: what a warm start may take on two cores
WARM_S = 30


def script(cloud: Cloud, name: str, *args: str) -> str:
    done = subprocess.run(
        [str(ROOT / "scripts" / name), *args],
        env={**cloud.env, "CP_VENV": str(Path(os.environ.get("VIRTUAL_ENV", ROOT / ".venv")))},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stderr + done.stdout


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    cloud = Cloud(tmp_path_factory.mktemp("up") / "data", f"up-{os.getpid()}", port=free_port())
    yield cloud
    script(cloud, "down", "--destroy")


def started(cloud: Cloud) -> dict[str, str]:
    with cloud.engine() as engine:
        found = engine.containers.list(filters={"label": f"bunker.cloud/instance={cloud.instance}"})
        return {str(c.id): c.attrs["State"]["StartedAt"] for c in found}


def database(cloud: Cloud) -> tuple[str, str]:
    text = (ROOT / "manifests/quickstart.yaml").read_text()
    wanted = next(
        r
        for r in yaml.safe_load_all(text)
        if r["kind"] == "Database" and r["spec"]["engine"] == "postgres"
    )
    return wanted["metadata"]["name"], wanted["metadata"]["namespace"]


def listed(cloud: Cloud) -> object:
    """Every Database with its revision: equal when nothing was written to any."""
    return cloud.call("GET", "/apis/bunker.cloud/v1/databases").body["items"]


def test_up_twice_down_up_destroy(host: Cloud) -> None:
    out = script(host, "up")
    assert "kubectl get databases,apps" in out
    name, namespace = database(host)
    record = host.wait_ready("database", name, namespace)
    data.keep(host, record, "precious")
    assert oct((host.data / "kubeconfig").stat().st_mode)[-3:] == "600"

    running = started(host)
    assert running
    items = listed(host)
    began = time.monotonic()
    script(host, "up")
    assert time.monotonic() - began < WARM_S
    assert started(host) == running
    assert listed(host) == items

    # the quickstart is the user's: what they took out of it stays out
    host.kubectl("delete", "app", "shop", "-n", namespace, "--timeout=60s")
    script(host, "down")
    assert started(host) == {}
    began = time.monotonic()
    script(host, "up")
    assert time.monotonic() - began < WARM_S
    assert host.get("app", "shop", namespace) is None
    record = host.wait_ready("database", name, namespace)
    assert data.kept(host, record) == {"precious"}

    # a dead control plane is no reason to leave anything behind
    pid = int((host.data / "control-plane.pid").read_text().split()[0])
    os.kill(pid, 9)
    script(host, "down", "--destroy")
    assert host.leftovers() == []
    assert not host.data.exists()
    assert [folder for folder in host.runtime_folders if folder.exists()] == []
    assert "no installation" in script(host, "down")
