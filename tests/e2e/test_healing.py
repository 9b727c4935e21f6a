"""Harm done behind its back is undone in a second plus a server's start, and no data is lost."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from docker.models.containers import Container

from tests.e2e import data, records
from tests.e2e.cloud import Cloud, Json, eventually
from tests.e2e.conftest import MakeCloud, make_namespace

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(240)]

# 1 s for the event and the passes, and what the slowest server here takes to start on a busy
# two-core machine: 12 s
HEALED_S = 13
NS = "heal"


@pytest.fixture(scope="module")
def healing(make_cloud: MakeCloud) -> Iterator[Cloud]:
    with make_cloud() as cloud:
        make_namespace(cloud, NS)
        cloud.apply(
            records.postgres("pg", NS),
            records.redis("cache", NS),
            records.app("web", NS, publish={}),
        )
        for kind, name in (("database", "pg"), ("database", "cache"), ("app", "web")):
            cloud.wait_ready(kind, name, NS)
        yield cloud


def kill(container: Container) -> None:
    container.kill()


def stop(container: Container) -> None:
    container.stop(timeout=5)


def pause(container: Container) -> None:
    container.pause()


def rename(container: Container) -> None:
    container.rename(f"{container.name}-renamed")


def remove(container: Container) -> None:
    container.remove(force=True)


def shrink(container: Container) -> None:
    container.update(mem_limit=40 * 2**20, memswap_limit=40 * 2**20)


def disconnect(container: Container) -> None:
    (name,) = container.attrs["NetworkSettings"]["Networks"]
    assert container.client is not None
    container.client.networks.get(name).disconnect(container, force=True)


def remove_network(container: Container) -> None:
    (name,) = container.attrs["NetworkSettings"]["Networks"]
    assert container.client is not None
    network = container.client.networks.get(name)
    for attached in network.attrs["Containers"]:
        network.disconnect(attached, force=True)
    network.remove()


HARMS = (kill, stop, pause, rename, remove, shrink, disconnect, remove_network)


@contextmanager
def outrun(cloud: Cloud, harm: Callable[[Container], None]) -> Iterator[None]:
    """Freeze the control plane for a harm of several steps: it reconnects a container faster than
    the next one can be disconnected, and so nobody could remove its network."""
    assert cloud.process is not None
    if harm is remove_network:
        cloud.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        cloud.process.send_signal(signal.SIGCONT)


def shape(container: Container) -> Json:
    """What must be again as it was."""
    attrs = container.attrs
    return {
        "name": container.name,
        "status": container.status,
        "memory": attrs["HostConfig"]["Memory"],
        "cpus": attrs["HostConfig"]["NanoCpus"] or attrs["HostConfig"]["CpuQuota"],
        "networks": sorted(attrs["NetworkSettings"]["Networks"]),
        "volumes": sorted(m["Name"] for m in attrs["Mounts"] if m["Type"] == "volume"),
    }


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
@pytest.mark.parametrize(
    ("kind", "name"), [("database", "pg"), ("database", "cache"), ("app", "web")]
)
def test_harm_is_healed_and_data_kept(
    healing: Cloud,
    kind: str,
    name: str,
    harm: Callable[[Container], None],
    record_property: Callable[[str, object], None],
) -> None:
    record = healing.wait_ready(kind, name, NS)
    value = f"before-{harm.__name__}"
    if kind == "database":
        data.keep(healing, record, value)
    with healing.engine() as engine:
        (victim,) = healing.containers(name, NS, engine=engine)

        def whole() -> bool:
            victim.reload()
            return bool(shape(victim)["networks"])

        # what is ready may not have been looked at since the harm before, which hit all at once
        eventually(whole, within_s=HEALED_S, what=f"{name} has its network back")
        before = shape(victim)
        with outrun(healing, harm):
            harm(victim)
        harmed = time.monotonic()

        def healed() -> bool:
            found = healing.containers(name, NS, engine=engine)
            return len(found) == 1 and shape(found[0]) == before

        eventually(healed, within_s=HEALED_S, what=f"{name} is {before} again")
    after = healing.wait_ready(kind, name, NS, within_s=HEALED_S)
    seconds = time.monotonic() - harmed
    record_property("healed_s", round(seconds, 2))
    assert seconds < HEALED_S
    if kind == "database":
        assert value in data.kept(healing, after)


def test_data_plane_lives_without_the_control_plane(healing: Cloud) -> None:
    with healing.engine() as engine:
        before = {
            name: healing.containers(name, NS, engine=engine)[0] for name in ("pg", "cache", "web")
        }
        ids = {name: str(container.id) for name, container in before.items()}
        healing.stop()
        # a crash, as the engine sees it: process 1 of the container dies by itself
        cache = before["cache"]
        cache.reload()
        crashed_at = cache.attrs["State"]["StartedAt"]
        crash(cache)

        def restarted() -> bool:
            cache.reload()
            state = cache.attrs["State"]
            return bool(state["Running"]) and state["StartedAt"] != crashed_at

        eventually(restarted, within_s=20, what="the engine restarts a crashed container")
        started = {
            name: engine.containers.get(id_).attrs["State"]["StartedAt"]
            for name, id_ in ids.items()
        }
        healing.start()
        for kind, name in (("database", "pg"), ("database", "cache"), ("app", "web")):
            healing.wait_ready(kind, name, NS)
        time.sleep(3)
        for name, id_ in ids.items():
            container = engine.containers.get(id_)
            assert container.attrs["State"]["StartedAt"] == started[name], f"{name} was restarted"


def crash(container: Container) -> None:
    """Kill its processes from the host: unlike `docker kill`, a death the engine didn't cause."""
    for process in container.top()["Processes"]:
        # the first to die may take the rest along
        with suppress(ProcessLookupError):
            os.kill(int(process[1]), signal.SIGKILL)
