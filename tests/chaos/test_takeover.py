"""Two control planes on one store, on a busy host: one leads, the other stands by. How long until
the other leads, and until what broke meanwhile runs again.

The first figure is what docs/architecture.md bounds; the second has the start of a container in it,
which the engine takes as long for as the host lets it.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.chaos.load import (
    CHAOS,
    NS,
    STOPPED_S,
    busy,
    recovered,
    runs,
    serves,
    told,
    under_load,
)
from tests.e2e import records
from tests.e2e.cloud import Cloud, condition, eventually

pytestmark = CHAOS
LOOPS = 10 * (os.cpu_count() or 1)
"""The host is asked for ten times what it has."""
INSTANCE = "bunker.cloud/instance"


@contextmanager
def standing_by(cloud: Cloud) -> Iterator[Cloud]:
    """A second one on the same store, that has started, and doesn't lead."""
    second = Cloud(cloud.data, cloud.instance, cloud.extra_env, octet=cloud.octet)
    second.launch()
    try:
        eventually(lambda: ready(second) is False, within_s=60, what="a second one answers")
        yield second
    finally:
        second.kill()


def ready(cloud: Cloud) -> bool | None:
    """Whether it leads; None while it doesn't answer."""
    try:
        return cloud.call("GET", "/readyz", token="", timeout_s=5).status == 200
    except OSError:
        return None


def heals(cloud: Cloud, loops: int) -> None:
    """The App's container is killed and runs again; beside it what the engine takes for a start
    of the same image that nobody else has a part in."""
    with cloud.engine() as engine:
        (container,) = cloud.containers("web", NS, engine=engine)
        image, labels = container.attrs["Config"]["Image"], {INSTANCE: cloud.instance}
        container.kill()
        recovered(f"takeover{how(loops)}: then a killed container runs", lambda: runs(cloud))
        bare = engine.containers.create(image, labels=labels)
        began_s = time.monotonic()
        bare.start()
        told(f"takeover{how(loops)}: a bare start of a container then", began_s)
        bare.remove(force=True)


@pytest.mark.parametrize("loops", [0, LOOPS])
def test_takeover_from_one_that_was_killed(private_cloud: Cloud, loops: int) -> None:
    cloud = private_cloud
    with under_load(cloud), standing_by(cloud) as second, busy(loops):
        cloud.kill()
        began_s = time.monotonic()
        eventually(lambda: ready(second), within_s=60, what="the second one leads")
        told(f"takeover{how(loops)}: leader killed, to another leading", began_s)
        heals(cloud, loops)
        second.kill()
        cloud.start()


@pytest.mark.parametrize("loops", [0, LOOPS])
def test_takeover_from_one_that_is_frozen(private_cloud: Cloud, loops: int) -> None:
    """It can't be known to be gone, so its lease has to end; and when it goes on, it does nothing
    any more: neither what it was at, nor what it is asked for."""
    cloud = private_cloud
    assert cloud.process is not None
    with under_load(cloud), standing_by(cloud) as second:
        cloud.apply(records.app("late", NS))  # to be in the midst of something
        os.kill(cloud.process.pid, signal.SIGSTOP)
        began_s = time.monotonic()
        try:
            with busy(loops):
                eventually(lambda: ready(second), within_s=60, what="the second one leads")
                told(f"takeover{how(loops)}: leader frozen, to another leading", began_s)
                heals(cloud, loops)
            eventually(lambda: late_serves(second), within_s=60, what="late serves")
            before = containers(cloud)
            time.sleep(max(0.0, STOPPED_S - (time.monotonic() - began_s)))
        finally:
            os.kill(cloud.process.pid, signal.SIGCONT)
        recovered("former leader, thawed: serves the API", lambda: serves(cloud))
        assert ready(cloud) is False
        time.sleep(5)
        assert ready(second) is True
        assert containers(cloud) == before
        second.kill()
        eventually(lambda: ready(cloud), within_s=60, what="the first one leads again")


def late_serves(cloud: Cloud) -> bool:
    """Asked of this one's own API; the kubeconfig names the frozen one's."""
    answer = cloud.call("GET", f"/apis/bunker.cloud/v1/namespaces/{NS}/apps/late")
    return condition(answer.body, "Ready").get("status") == "True"


def containers(cloud: Cloud) -> set[tuple[str, str]]:
    """What runs, and since when."""
    with cloud.engine() as engine:
        found = [
            each for name in ("web", "late") for each in cloud.containers(name, NS, engine=engine)
        ]
        return {(each.id or "", each.attrs["State"]["StartedAt"]) for each in found}


def how(loops: int) -> str:
    return f" on a host {loops // (os.cpu_count() or 1)} times busy" if loops else ""
