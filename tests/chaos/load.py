"""The load that everything is harmed under, and how long it is until all is well again."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from tests.e2e import records
from tests.e2e.cloud import Cloud, eventually
from tests.e2e.conftest import make_namespace
from tests.support.figures import tell

CHAOS: Final = [
    pytest.mark.e2e,
    pytest.mark.docker,
    pytest.mark.chaos,
    pytest.mark.timeout(500),
]
"""Marks of a module that harms a whole cloud."""
NS: Final = "chaos"
STOPPED_S: Final = float(os.environ.get("CP_CHAOS_STOPPED_S", "60"))
"""How long a process is stopped (SIGSTOP)."""
WITHIN_S: Final = 120.0
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
    told(what, began_s)


def told(what: str, began_s: float) -> None:
    """A row of the table: what was waited for since `began_s` (monotonic) is there now."""
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


def runs(cloud: Cloud) -> bool:
    with cloud.engine() as engine:
        return [c.status for c in cloud.containers("web", NS, engine=engine)] == ["running"]


def children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:  # it has ended
        return []
    return [int(word) for word in text.split()]


def stopped(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    time.sleep(STOPPED_S)
    os.kill(pid, signal.SIGCONT)


@contextmanager
def busy(loops: int) -> Iterator[None]:
    """So many loops that never wait take what CPU they can get, each a session of its own: the
    kernel shares out between sessions first."""
    argv = [sys.executable, "-c", "while True: pass"]
    running = [subprocess.Popen(argv, start_new_session=True) for _ in range(loops)]
    try:
        yield
    finally:
        for each in running:
            each.kill()
            each.wait()
