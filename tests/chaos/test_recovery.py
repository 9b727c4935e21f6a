"""Real processes harmed under load: how long until all is well again, as a table.

`scripts/test --chaos`. Every case writes throughout, counts what was acknowledged, and finds all of
it afterwards; the times are in the report (`scripts/test --report`).
"""

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import docker.errors
import pytest

from controlplane.store.embedded import EmbeddedPostgres
from tests.e2e import records
from tests.e2e.cloud import Cloud, eventually
from tests.e2e.conftest import MakeCloud, make_namespace
from tests.e2e.test_outage import private_engine
from tests.support.figures import tell

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.docker,
    pytest.mark.chaos,
    pytest.mark.timeout(500),
]
NS = "chaos"
STOPPED_S = float(os.environ.get("CP_CHAOS_STOPPED_S", "60"))
"""How long a process is stopped (SIGSTOP)."""
WITHIN_S = 120.0
"""The longest any recovery may take on a loaded machine; what it took is in the report."""


@dataclass
class Writer:
    """Writes ConfigMaps as fast as they are acknowledged, and remembers which were."""

    cloud: Cloud
    acknowledged: dict[str, str] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        assert self._thread is not None
        self._thread.join(timeout=60)

    def _write(self) -> None:
        path = f"/api/v1/namespaces/{NS}/configmaps"
        number = 0
        while not self._stop.is_set():
            number += 1
            name = f"w{number}"
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}
            with contextlib.suppress(OSError):
                answer = self.cloud.call("POST", path, body, timeout_s=10)
                if answer.status == 201:
                    self.acknowledged[name] = answer.body["metadata"]["uid"]
                    continue
            time.sleep(0.1)

    def lost(self) -> list[str]:
        """Acknowledged and not there any more."""
        answer = self.cloud.call("GET", f"/api/v1/namespaces/{NS}/configmaps")
        there = {item["metadata"]["name"]: item["metadata"]["uid"] for item in answer.body["items"]}
        return [name for name, uid in self.acknowledged.items() if there.get(name) != uid]


@contextmanager
def under_load(cloud: Cloud) -> Iterator[Writer]:
    """A database, an App that uses it, and a writer; in the end nothing acknowledged is lost."""
    make_namespace(cloud, NS)
    cloud.apply(
        records.redis("cache", NS), records.app("web", NS, databaseRefs=[{"name": "cache"}])
    )
    cloud.wait_ready("app", "web", NS, within_s=120)
    writer = Writer(cloud)
    writer.start()
    try:
        eventually(lambda: len(writer.acknowledged) > 5, within_s=20, what="writes")
        yield writer
    finally:
        writer.stop()
    assert writer.lost() == []
    for name, kind in (("cache", "database"), ("web", "app")):
        cloud.wait_ready(kind, name, NS, within_s=WITHIN_S)
        with cloud.engine() as engine:
            assert len(cloud.containers(name, NS, engine=engine)) == 1, f"one container for {name}"


def recovered(what: str, probe: Callable[[], object], *, within_s: float = WITHIN_S) -> None:
    """Wait until the probe holds, and tell how long that took."""
    began_s = time.monotonic()
    eventually(lambda: probe(), within_s=within_s, what=what)
    tell("recovery", 1, what=what, took_s=round(time.monotonic() - began_s, 2))


def serves(cloud: Cloud) -> bool:
    """A write is acknowledged."""
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "probe-"}}
    try:
        answer = cloud.call("POST", f"/api/v1/namespaces/{NS}/configmaps", body, timeout_s=5)
    except OSError:
        return False
    return answer.status == 201


def healed(cloud: Cloud, name: str, kind: str) -> bool:
    with cloud.engine() as engine:
        found = cloud.containers(name, NS, engine=engine)
        running = [c.status for c in found] == ["running"]
    return running and cloud.is_ready(kind, name, NS) is not None


def stopped(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    time.sleep(STOPPED_S)
    os.kill(pid, signal.SIGCONT)


def test_control_plane_killed_and_stopped(private_cloud: Cloud) -> None:
    cloud = private_cloud
    with under_load(cloud):
        cloud.kill()
        began_s = time.monotonic()
        cloud.start()
        tell("recovery", 1, what="control plane: SIGKILL, to serving again",
             took_s=round(time.monotonic() - began_s, 2))  # fmt: skip
        assert cloud.process is not None
        stopped(cloud.process.pid)
        recovered(f"control plane: SIGSTOP {STOPPED_S:g} s", lambda: serves(cloud))


def test_second_control_plane_takes_over(private_cloud: Cloud) -> None:
    """Two on one store: one leads; when it is killed, the other heals."""
    cloud = private_cloud
    with under_load(cloud):
        second = Cloud(cloud.data, cloud.instance, cloud.extra_env, octet=cloud.octet)
        second.launch()
        try:
            time.sleep(5)
            cloud.kill()
            with cloud.engine() as engine:
                (container,) = cloud.containers("web", NS, engine=engine)
                container.kill()
            recovered("takeover by a second control plane, drift healed", lambda: runs(cloud))
        finally:
            second.kill()
            cloud.start()


def runs(cloud: Cloud) -> bool:
    with cloud.engine() as engine:
        return [c.status for c in cloud.containers("web", NS, engine=engine)] == ["running"]


def test_postgresql_killed_and_stopped(private_cloud: Cloud) -> None:
    cloud = private_cloud
    store = EmbeddedPostgres(cloud.data / "postgres")
    with under_load(cloud):
        pid = store.pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        recovered("PostgreSQL: SIGKILL", lambda: store.pid() != pid and serves(cloud))
        again = store.pid()
        assert again is not None
        # the postmaster's children, too: what serves is what must stand still
        for each in (again, *_children(again)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGSTOP)
        time.sleep(STOPPED_S)
        for each in (again, *_children(again)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGCONT)
        recovered(f"PostgreSQL: SIGSTOP {STOPPED_S:g} s", lambda: serves(cloud))


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


def test_servers_killed_stopped_cut_off_and_starved(private_cloud: Cloud) -> None:
    cloud = private_cloud
    with under_load(cloud), cloud.engine() as engine:
        for kind, name in (("database", "cache"), ("app", "web")):
            (container,) = cloud.containers(name, NS, engine=engine)
            container.kill()
            recovered(f"{name}: SIGKILL", lambda: healed(cloud, name, kind))  # noqa: B023
            (container,) = cloud.containers(name, NS, engine=engine)
            container.pause()
            recovered(f"{name}: frozen", lambda: healed(cloud, name, kind))  # noqa: B023
            (container,) = cloud.containers(name, NS, engine=engine)
            (network,) = container.attrs["NetworkSettings"]["Networks"]
            engine.networks.get(network).disconnect(container, force=True)
            recovered(f"{name}: cut off its network", lambda: healed(cloud, name, kind))  # noqa: B023
            (container,) = cloud.containers(name, NS, engine=engine)
            # below what it holds: refused, or it is killed for it, as the engine's version has it
            with contextlib.suppress(docker.errors.APIError):
                container.update(mem_limit="6m", memswap_limit="6m")
            recovered(f"{name}: starved of memory", lambda: healed(cloud, name, kind))  # noqa: B023


def test_disk_full(make_cloud: MakeCloud, tmp_path: Path) -> None:
    """The data folder's file system is full: writes are refused, and served again with room."""
    with make_cloud() as cloud:
        store = EmbeddedPostgres(cloud.data / "postgres")
        cloud.stop()
        store.stop()
        kept = tmp_path / "kept"
        cloud.data.rename(kept)
        cloud.data.mkdir()
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=400m,mode=0700", "chaos", str(cloud.data)],
            check=True,
        )
        try:
            subprocess.run(["cp", "-a", f"{kept}/.", str(cloud.data)], check=True)
            cloud.start()
            with under_load(cloud):
                ballast = cloud.data / "ballast"
                with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
                    while file.write(b"\0" * 2**20):
                        pass
                eventually(lambda: not serves(cloud), within_s=60, what="the disk is full")
                time.sleep(5)
                ballast.unlink()
                recovered("disk of the store: full, then room", lambda: serves(cloud))
        finally:
            cloud.kill()
            store.stop()
            subprocess.run(["umount", "-l", str(cloud.data)], check=True)


def test_engine_killed_and_stopped(make_cloud: MakeCloud) -> None:
    folder = Path(tempfile.mkdtemp(prefix="engine-", dir="/tmp"))
    images = ("bunker.local/redis:7", "bunker.local/demo:1")
    with (
        private_engine(folder, images) as engine,
        make_cloud(CP_DOCKER_HOST=engine.url) as cloud,
        under_load(cloud),
    ):
        engine.kill()
        engine.start()
        recovered("engine and all it runs: SIGKILL", lambda: healed(cloud, "web", "app"))
        stopped(engine.pid)
        cloud.apply(records.app("late", NS))
        recovered(f"engine: SIGSTOP {STOPPED_S:g} s", lambda: healed(cloud, "late", "app"))
