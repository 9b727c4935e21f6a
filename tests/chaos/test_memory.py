"""Memory taken away under load, from the control plane and from PostgreSQL: first so much that all
that can be taken back is, then until the kernel kills. Nothing acknowledged is lost, and all is
well again by itself once there is memory: PostgreSQL is started by the control plane, the control
plane by its service manager, which is the test here.
"""

import os
import subprocess
import time
from collections.abc import Iterator

import pytest

from controlplane.store.embedded import EmbeddedPostgres
from tests.chaos.load import Writer, children, recovered, serves, told, under_load
from tests.chaos.memory import MemoryGroup, memory_group, why_not
from tests.e2e.cloud import Cloud, eventually

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.docker,
    pytest.mark.chaos,
    pytest.mark.timeout(500),
    pytest.mark.skipif(why_not() != "", reason=why_not()),
]
SPARE = 4 * 2**20
"""What a squeezed one may have more than what can't be taken from it, in bytes."""
SQUEEZED_S = 10.0
STARVED_S = 10.0
"""How long there is too little after the first one was killed for it."""


@pytest.fixture
def group() -> Iterator[MemoryGroup]:
    with memory_group(f"bunker-chaos-{os.getpid()}") as made:
        yield made


def squeezed(writer: Writer, group: MemoryGroup, who: str) -> None:
    """For a while all that can be is taken back from it again and again: it serves all the same."""
    before, began_s = len(writer.acknowledged), time.monotonic()
    while time.monotonic() < began_s + SQUEEZED_S:
        group.squeeze(SPARE)
        time.sleep(0.2)
    assert group.killed() == 0
    assert len(writer.acknowledged) > before
    recovered(f"{who}: squeezed, to the next write", lambda: serves(writer.cloud))


def starve(cloud: Cloud, group: MemoryGroup) -> None:
    """Less and less, under load, until the kernel kills."""

    def dead() -> bool:
        group.squeeze()
        serves(cloud)
        return group.killed() > 0

    eventually(dead, within_s=120, what="the kernel kills for want of memory")


def test_control_plane_short_of_memory(group: MemoryGroup, private_cloud: Cloud) -> None:
    """What its service manager starts meanwhile is killed, too, wherever it is by then."""
    cloud = private_cloud
    cloud.stop()
    cloud.within = group.entering()
    cloud.start()
    assert cloud.process is not None
    assert group.pids() == {cloud.process.pid}
    with under_load(cloud) as writer:
        squeezed(writer, group, "control plane")
        enough = group.usage()
        starve(cloud, group)
        cloud.process.wait(timeout=30)
        for part in range(1, 10):
            group.allow(enough * part // 10)
            cloud.launch()
            if not ended(cloud.process, STARVED_S):
                break
        cloud.kill()
        group.free()
        began_s = time.monotonic()
        cloud.start()
        told("control plane: killed for want of memory, started again with room", began_s)
    cloud.stop()


def ended(process: subprocess.Popen[bytes], within_s: float) -> bool:
    try:
        return process.wait(timeout=within_s) is not None
    except subprocess.TimeoutExpired:
        return False


def test_postgresql_short_of_memory(group: MemoryGroup, private_cloud: Cloud) -> None:
    """What the control plane starts meanwhile has as little."""
    cloud = private_cloud
    store = EmbeddedPostgres(cloud.data / "postgres")
    cloud.stop()
    store.stop()
    cloud.within = group.entering()
    cloud.control_plane("migrate")
    cloud.within = ()
    assert store.pid() in group.pids()
    cloud.start()
    with under_load(cloud) as writer:
        squeezed(writer, group, "PostgreSQL")
        starve(cloud, group)
        began_s = time.monotonic()
        while time.monotonic() < began_s + STARVED_S:
            if (pid := store.pid()) is not None:
                group.take((pid, *children(pid)))
            group.squeeze()
            time.sleep(0.1)
        group.free()
        recovered("PostgreSQL: killed for want of memory, then room", lambda: serves(cloud))
    cloud.stop()
    store.stop()
