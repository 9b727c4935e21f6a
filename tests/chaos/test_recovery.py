"""Real processes harmed under load: how long until all is well again, as a table.

`scripts/test --chaos`. Every case writes throughout, counts what was acknowledged, and finds all of
it afterwards; the times are in the report (`scripts/test --report`).
"""

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import docker.errors

from controlplane.store.embedded import EmbeddedPostgres
from tests.chaos.load import (
    CHAOS,
    NS,
    STOPPED_S,
    children,
    healed,
    recovered,
    serves,
    stopped,
    told,
    under_load,
)
from tests.e2e import records
from tests.e2e.cloud import Cloud, eventually
from tests.e2e.conftest import MakeCloud
from tests.e2e.test_outage import private_engine

pytestmark = CHAOS


def test_control_plane_killed_and_stopped(private_cloud: Cloud) -> None:
    cloud = private_cloud
    with under_load(cloud):
        cloud.kill()
        began_s = time.monotonic()
        cloud.start()
        told("control plane: SIGKILL, to serving again", began_s)
        assert cloud.process is not None
        stopped(cloud.process.pid)
        recovered(f"control plane: SIGSTOP {STOPPED_S:g} s", lambda: serves(cloud))


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
        for each in (again, *children(again)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGSTOP)
        time.sleep(STOPPED_S)
        for each in (again, *children(again)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGCONT)
        recovered(f"PostgreSQL: SIGSTOP {STOPPED_S:g} s", lambda: serves(cloud))


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
