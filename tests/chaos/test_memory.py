"""Memory taken away under load, from the control plane and from PostgreSQL: first so much that all
that can be taken back is, then until the kernel kills. Nothing acknowledged is lost, and all is
well again by itself once there is memory: PostgreSQL is started by the control plane, the control
plane by its service manager, which is the test here.
"""

import os
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from controlplane.store.embedded import EmbeddedPostgres
from tests.chaos.load import CHAOS, children, recovered, serves, told, under_load
from tests.chaos.memory import MemoryGroup, memory_group, why_not
from tests.e2e.cloud import Cloud, eventually

pytestmark = [
    *CHAOS,
    pytest.mark.skipif(why_not() != "", reason=why_not()),
]
Tighten = Callable[[int], None]
"""Leaves so many bytes more than what can't be taken back."""
SPARE = 16 * 2**20
"""What a squeezed one may have more than what can't be taken from it, in bytes: enough for another
connection of PostgreSQL or some hundred records of the cache, and for no file to stay in memory."""
SQUEEZED_S = 10.0
STARVED_S = 10.0
"""How long there is too little after the first one was killed for it."""


@pytest.fixture
def group() -> Iterator[MemoryGroup]:
    with memory_group(f"bunker-chaos-{os.getpid()}") as made:
        yield made


def squeezed(cloud: Cloud, tighten: Tighten, who: str) -> None:
    """For a while all that can be is taken back from it again and again: it serves all the same."""
    keep(tighten, SPARE, SQUEEZED_S)
    recovered(f"{who}: squeezed, to the next write", lambda: serves(cloud))


def keep(tighten: Tighten, spare: int, during_s: float) -> None:
    began_s = time.monotonic()
    while time.monotonic() < began_s + during_s:
        tighten(spare)
        time.sleep(0.1)


def starve(cloud: Cloud, tighten: Tighten, group: MemoryGroup) -> None:
    """Less and less, under load, until the kernel kills."""
    killed = group.killed()

    def dead() -> bool:
        tighten(0)
        serves(cloud)
        return group.killed() > killed

    eventually(dead, within_s=120, what="the kernel kills for want of memory")


def test_control_plane_short_of_memory(group: MemoryGroup, private_cloud: Cloud) -> None:
    """What its service manager starts meanwhile is killed, too, wherever it is by then."""
    cloud = private_cloud
    cloud.stop()
    cloud.within = group.entering()
    cloud.start()
    assert cloud.process is not None
    assert group.pids() == {cloud.process.pid}
    with under_load(cloud):
        squeezed(cloud, group.squeeze, "control plane")
        enough = group.usage()
        starve(cloud, group.squeeze, group)
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

    def tighten(spare: int) -> None:
        if (pid := store.pid()) is not None:
            group.take((pid, *children(pid)))
        group.squeeze(spare)

    with under_load(cloud):
        squeezed(cloud, tighten, "PostgreSQL")
        starve(cloud, tighten, group)
        keep(tighten, 0, STARVED_S)
        group.free()
        recovered("PostgreSQL: killed for want of memory, then room", lambda: serves(cloud))
    cloud.stop()
    store.stop()
