"""Over-asking: exactly what fits runs, the rest says why, and freeing one starts the next."""

import threading

import pytest

from tests.e2e import records
from tests.e2e.cloud import Cloud, Json, condition, eventually
from tests.e2e.conftest import make_namespace

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(300)]
NS = "budget"
ASKED = 20
# capacity 1 core and 2 GiB; reserved 400m and 1 GiB: room for six Apps of 100m, whatever their
# memory of 64 MiB says
FITS = 6


class Sampler(threading.Thread):
    """Reads the sum of the limits of running containers, over and over; keeps the largest."""

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(daemon=True)
        self._cloud = cloud
        self._stop_asked = threading.Event()
        self.samples = 0
        self.most_cpu_millicores = 0
        self.most_memory_bytes = 0

    def run(self) -> None:
        label = {"label": [f"bunker.cloud/instance={self._cloud.instance}"]}
        with self._cloud.engine() as engine:
            while not self._stop_asked.is_set():
                listed = engine.api.containers(filters=label, quiet=True)
                limits = [engine.api.inspect_container(c["Id"])["HostConfig"] for c in listed]
                cpu = sum(limit["NanoCpus"] // 10**6 for limit in limits)
                self.most_cpu_millicores = max(self.most_cpu_millicores, cpu)
                memory = sum(limit["Memory"] for limit in limits)
                self.most_memory_bytes = max(self.most_memory_bytes, memory)
                self.samples += 1

    def finish(self) -> None:
        self._stop_asked.set()
        self.join(timeout=20)


def apps(cloud: Cloud) -> list[Json]:
    listed = cloud.call("GET", f"/apis/bunker.cloud/v1/namespaces/{NS}/apps")
    assert listed.status == 200
    items: list[Json] = listed.body["items"]
    return items


def names(items: list[Json], kind: str, status: str) -> set[str]:
    return {i["metadata"]["name"] for i in items if condition(i, kind).get("status") == status}


def settled(cloud: Cloud, running: int, asked: int) -> bool:
    items = apps(cloud)
    return (
        len(names(items, "Ready", "True")) == running
        and len(names(items, "Admitted", "False")) == asked - running
    )


def test_exactly_what_fits_runs(private_cloud: Cloud) -> None:
    cloud = private_cloud
    room = {
        "spec": {
            "capacity": {"cpu": "1", "memory": "2Gi", "disk": "100Gi"},
            "reserved": {"cpu": "400m", "memory": "1Gi"},
        }
    }
    path = "/apis/bunker.cloud/v1/hosts/host"
    patched = cloud.call("PATCH", path, room, content_type="application/merge-patch+json")
    assert patched.status == 200, patched.body
    make_namespace(cloud, NS)
    sampler = Sampler(cloud)
    sampler.start()
    size = {"cpu": "100m", "memory": "64Mi"}
    cloud.apply(*(records.app(f"app{n:02}", NS, resources=size) for n in range(ASKED)))
    eventually(lambda: settled(cloud, FITS, ASKED), within_s=60, what=f"{FITS} run, the rest wait")
    items = apps(cloud)
    for item in items:
        admitted = condition(item, "Admitted")
        if admitted["status"] == "False":
            assert admitted["reason"] == "BudgetExceeded"
            assert "cpu" in admitted["message"].lower()
            assert "100m" in admitted["message"]
    running = sorted(names(items, "Ready", "True"))
    waiting = names(items, "Admitted", "False")
    cloud.kubectl("delete", "app", running[0], "-n", NS)
    eventually(
        lambda: settled(cloud, FITS, ASKED - 1), within_s=20, what="the next one starts by itself"
    )
    assert len(names(apps(cloud), "Ready", "True") & waiting) == 1
    sampler.finish()
    assert sampler.samples > 20
    assert sampler.most_cpu_millicores <= 600
    assert sampler.most_memory_bytes <= 2**30
    host = cloud.get("host", "host")
    assert host is not None
    assert host["status"]["allocated"]["cpu"] == "600m"
    assert host["status"]["free"]["cpu"] == "0"


def test_quota_holds_back_what_exceeds_it(cloud: Cloud, namespace: str) -> None:
    quota: Json = {
        "apiVersion": "bunker.cloud/v1",
        "kind": "Quota",
        "metadata": {"name": "small", "namespace": namespace},
        "spec": {"cpu": "100m", "memory": "100Mi"},
    }
    cloud.apply(quota)
    cloud.apply(records.app("first", namespace), records.app("second", namespace))
    cloud.apply(records.app("third", namespace))

    def two_run() -> bool:
        path = f"/apis/bunker.cloud/v1/namespaces/{namespace}/apps"
        items = cloud.call("GET", path).body["items"]
        return (
            len(names(items, "Ready", "True")) == 2 and len(names(items, "Admitted", "False")) == 1
        )

    eventually(two_run, within_s=30, what="two Apps run, one waits for quota")
    cloud.kubectl(
        "patch",
        "quota",
        "small",
        "-n",
        namespace,
        "--type=merge",
        "-p",
        '{"spec":{"cpu":"200m","memory":"200Mi"}}',
    )
    cloud.wait_ready("app", "third", namespace, within_s=20)


def test_limit_is_changed_in_place(cloud: Cloud, namespace: str) -> None:
    cloud.apply(records.app("web", namespace))
    cloud.wait_ready("app", "web", namespace)
    with cloud.engine() as engine:
        (before,) = cloud.containers("web", namespace, engine=engine)
        bigger = {"cpu": "70m", "memory": "70Mi"}
        cloud.apply(records.app("web", namespace, resources=bigger))
        cloud.wait_ready("app", "web", namespace)
        (after,) = cloud.containers("web", namespace, engine=engine)
        assert after.id == before.id
        assert after.attrs["State"]["StartedAt"] == before.attrs["State"]["StartedAt"]
        assert after.attrs["HostConfig"]["Memory"] == 70 * 2**20
