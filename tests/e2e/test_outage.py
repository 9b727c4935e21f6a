"""PostgreSQL stopped, and the engine restarted, under it: it waits, says so and goes on."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from controlplane.store.embedded import EmbeddedPostgres
from tests.e2e import data, records
from tests.e2e.cloud import Cloud, Json, condition, eventually
from tests.e2e.conftest import MakeCloud, make_namespace

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.chaos, pytest.mark.timeout(400)]
NS = "outage"
OUTAGE_S = 30
# "never a hang": what a client waits at most for its 503
ANSWER_S = 5
# TEST-NET-1 (RFC 5737): nobody's network
BRIDGE_ADDRESS = "192.0.2.1/24"


def test_postgresql_stopped_for_half_a_minute(private_cloud: Cloud) -> None:
    cloud = private_cloud
    make_namespace(cloud, NS)
    cloud.apply(records.app("web", NS))
    cloud.wait_ready("app", "web", NS)
    store = EmbeddedPostgres(cloud.data / "postgres")
    assert store.pid() is not None, "the bundled PostgreSQL is not where it is looked for"
    store.stop()
    try:
        began = time.monotonic()
        slowest = 0.0
        statuses: set[int] = set()
        while time.monotonic() - began < OUTAGE_S:
            body = records.app("late", NS)
            path = f"/apis/bunker.cloud/v1/namespaces/{NS}/apps"
            answer = cloud.call("POST", path, body)
            statuses.add(answer.status)
            slowest = max(slowest, answer.seconds)
            if answer.status == 503:
                assert int(answer.headers["Retry-After"]) >= 1
                assert answer.body["kind"] == "Status"
            assert cloud.call("GET", "/livez", token="").status == 200
            time.sleep(1)
        assert statuses == {503}
        assert slowest < ANSWER_S
        assert cloud.call("GET", "/readyz", token="").status == 503
        assert cloud.process is not None
        assert cloud.process.poll() is None
    finally:
        store.start()
    eventually(
        lambda: cloud.call("GET", "/readyz", token="").status == 200,
        within_s=15,
        what="ready again",
    )
    cloud.apply(records.app("late", NS))
    cloud.wait_ready("app", "late", NS)


@contextmanager
def private_engine(folder: Path, images: tuple[str, ...]) -> Iterator["Engine"]:
    engine = Engine(folder)
    try:
        engine.start()
        for image in images:
            with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saved:
                subprocess.run(
                    ["docker", "--host", engine.url, "load", "--quiet"],
                    stdin=saved.stdout,
                    stdout=subprocess.DEVNULL,
                    check=True,
                )
            assert saved.returncode == 0
        yield engine
    finally:
        engine.destroy()


class Engine:
    """A dockerd of the test's own, to be restarted at will; other engines on the host stay."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        # a bridge of its own: started with --bridge=none, dockerd removes the host's docker0
        self._bridge = f"brt{os.getpid()}"[:15]
        _ip("link", "add", self._bridge, "type", "bridge")
        _ip("addr", "add", BRIDGE_ADDRESS, "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")

    @property
    def url(self) -> str:
        return f"unix://{self._folder}/docker.sock"

    def start(self) -> None:
        with (self._folder / "engine.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    "dockerd",
                    f"--host={self.url}",
                    f"--data-root={self._folder}/root",
                    f"--exec-root={self._folder}/exec",
                    f"--pidfile={self._folder}/docker.pid",
                    f"--bridge={self._bridge}",
                    # its chains are the host's: made anew at each start, they are away for a
                    # moment, and what another engine starts then with a published port fails
                    "--iptables=false",
                    "--ip6tables=false",
                    "--log-level=warn",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        eventually(self._answers, within_s=60, what=f"an engine; see {self._folder}/engine.log")

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "engine.log").read_text()[-2000:]
        asked = ["docker", "--host", self.url, "version"]
        try:
            done = subprocess.run(asked, capture_output=True, timeout=10, check=False)
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """As kill -9 of the engine and all it runs; as when the power goes, but for the disk."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(timeout=60)
        for pid in _processes_in(self._folder):
            os.kill(pid, signal.SIGKILL)
        # where nobody reaps it, its zombie passes for a containerd that runs
        (self._folder / "exec/containerd/containerd.pid").unlink(missing_ok=True)

    def stop(self) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(timeout=60)

    def destroy(self) -> None:
        if self._process is not None:
            self.stop()
        _ip("link", "delete", self._bridge)
        # one that was killed leaves what it ran, and its mounts
        for pid in _processes_in(self._folder):
            os.kill(pid, signal.SIGKILL)
        for line in reversed(Path("/proc/mounts").read_text().splitlines()):
            if line.split()[1].startswith(f"{self._folder}/"):
                subprocess.run(["umount", "--lazy", line.split()[1]], check=False)
        subprocess.run(["rm", "-rf", str(self._folder)], check=True)


def _processes_in(folder: Path) -> list[int]:
    """Those that name the folder in their arguments: shims and containerd of the test's engine."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes()
        except OSError:
            continue
        if f"{folder}/".encode() in words:
            found.append(int(place.name))
    return found


def _ip(*args: str) -> None:
    subprocess.run(["ip", *args], check=True, capture_output=True)


def test_engine_restarted(make_cloud: MakeCloud) -> None:
    # short: a Unix socket's path has at most 107 characters
    folder = Path(tempfile.mkdtemp(prefix="engine-", dir="/tmp"))
    images = ("bunker.local/redis:7", "bunker.local/demo:1")
    with private_engine(folder, images) as engine, make_cloud(CP_DOCKER_HOST=engine.url) as cloud:
        make_namespace(cloud, NS)
        cloud.apply(records.redis("cache", NS), records.app("web", NS))
        before = cloud.wait_ready("database", "cache", NS)
        cloud.wait_ready("app", "web", NS)
        data.keep(cloud, before, "kept")
        engine.stop()
        cloud.apply(records.app("late", NS))

        def told() -> bool:
            late: Json = cloud.get("app", "late", NS) or {}
            return condition(late, "Synced").get("reason") == "DriverUnavailable"

        eventually(told, within_s=20, what="a condition that says the engine is away")
        assert cloud.call("GET", "/livez", token="").status == 200
        engine.start()
        for name in ("web", "late"):
            cloud.wait_ready("app", name, NS, within_s=40)
        after = cloud.wait_ready("database", "cache", NS, within_s=40)
        assert data.kept(cloud, after) == {"kept"}
