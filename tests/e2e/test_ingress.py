"""Requests from outside reach the App that has the name, and none is lost when it changes."""

import http.client
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from reconcilers._images import DEMO
from tests.e2e.cloud import ROOT, Cloud, Json, condition, eventually
from tests.e2e.conftest import MakeCloud, make_namespace

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(420)]
CLIENTS = 6
DEPLOYS = 5


def web(namespace: str, host: str, **spec: object) -> Json:
    return {
        "apiVersion": "bunker.cloud/v1",
        "kind": "App",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {
            "image": DEMO,
            "port": 8080,
            "surge": 1,
            "resources": {"cpu": "200m", "memory": "96Mi"},
            "healthCheck": {"path": "/healthz"},
            "domains": [{"host": host}],
            "env": [{"name": "WHO", "value": namespace}],
            **spec,
        },
    }


@pytest.fixture(scope="module")
def outside(make_cloud: MakeCloud) -> Iterator[tuple[Cloud, str]]:
    """A cloud with an ingress and two tenants; and where the ingress is on the host."""
    with make_cloud() as cloud:
        folder = ROOT / "manifests/platform"
        for name in ("00-namespace", "ingress"):
            cloud.kubectl("apply", "-f", str(folder / f"{name}.yaml"))
        record = cloud.wait_ready("platform", "ingress", "platform", within_s=90)
        for tenant in ("red", "blue"):
            make_namespace(cloud, tenant)
            cloud.apply(web(tenant, f"{tenant}.example.org"))
        for tenant in ("red", "blue"):
            routed(cloud, tenant)
        yield cloud, record["status"]["published"]["web"]


def routed(cloud: Cloud, tenant: str) -> Json:
    def settled() -> Json | None:
        record = cloud.is_ready("app", "web", tenant)
        status = (record or {}).get("status") or {}
        whole = status.get("replicas") == status.get("updatedReplicas")
        return record if status.get("routed") and whole else None

    found = eventually(settled, within_s=90, what=f"App {tenant}/web is routed")
    assert found is not None
    return found


def ask(where: str, host: str, path: str = "/healthz") -> int:
    link = http.client.HTTPConnection(where, timeout=10)
    try:
        link.request("GET", path, headers={"Host": host})
        answer = link.getresponse()
        answer.read()
        return answer.status
    except TimeoutError:
        return 0
    finally:
        link.close()


def test_each_name_leads_to_its_own_app_and_no_other_name_to_any(
    outside: tuple[Cloud, str],
) -> None:
    cloud, where = outside
    status = {t: routed(cloud, t)["status"] for t in ("red", "blue")}
    assert not set(status["red"]["backends"]) & set(status["blue"]["backends"])
    assert ask(where, "red.example.org") == ask(where, "blue.example.org") == 200
    assert ask(where, "example.org") == ask(where, "other.example.org") == 404
    with cloud.engine() as engine:
        (red,) = cloud.containers("web", "red", engine=engine)
        red.stop()  # a name whose App is away is not answered by the other's
        assert ask(where, "red.example.org") != 200 or routed(cloud, "red")
    routed(cloud, "red")
    eventually(lambda: ask(where, "red.example.org") == 200, within_s=30, what="red is back")


def test_a_tenant_cannot_read_the_routes_of_others(outside: tuple[Cloud, str]) -> None:
    cloud, _ = outside
    script = (
        "import urllib.request, urllib.error, sys\n"
        "for path in ('/api/rawdata', '/metrics', '/api/http/routers', '/ping'):\n"
        "    url = 'http://ingress:8080' + path\n"
        "    try: print(path, urllib.request.urlopen(url, timeout=5).status)\n"
        "    except urllib.error.HTTPError as error: print(path, error.code)\n"
    )
    with cloud.engine() as engine:
        (red,) = cloud.containers("web", "red", engine=engine)
        output = red.exec_run(["python3", "-c", script]).output
    assert isinstance(output, bytes)
    said = output.decode().splitlines()
    assert said == ["/api/rawdata 401", "/metrics 401", "/api/http/routers 401", "/ping 200"]


def test_a_name_belongs_to_one_tenant_and_is_given_on_when_it_is_free(
    outside: tuple[Cloud, str],
) -> None:
    cloud, where = outside
    rival = web("blue", "red.example.org")
    rival["metadata"]["name"] = "rival"
    below = web("blue", "shop.red.example.org")
    below["metadata"]["name"] = "below"
    cloud.apply(rival, below)

    def refused(name: str) -> bool:
        record = cloud.get("app", name, "blue") or {}
        found = condition(record, "Admitted")
        assert "red" not in found.get("message", "").replace("red.example.org", "")
        return found.get("reason") == "NameTaken"

    eventually(lambda: refused("rival") and refused("below"), within_s=30, what="both are refused")
    cloud.kubectl("delete", "app", "below", "-n", "blue")
    cloud.kubectl("delete", "app", "web", "-n", "red")
    cloud.wait_ready("app", "rival", "blue", within_s=60)
    eventually(lambda: ask(where, "red.example.org") == 200, within_s=30, what="blue serves it")
    cloud.kubectl("delete", "app", "rival", "-n", "blue")
    eventually(lambda: ask(where, "red.example.org") == 404, within_s=30, what="nobody does")
    cloud.apply(web("red", "red.example.org"))
    routed(cloud, "red")


@dataclass
class Load:
    """Clients that ask again and again, half of them over one connection."""

    where: str
    host: str
    stopped: threading.Event = field(default_factory=threading.Event)
    answers: Counter[str] = field(default_factory=Counter)

    def client(self, *, keep: bool) -> None:
        link = http.client.HTTPConnection(self.where, timeout=10)
        while not self.stopped.is_set():
            try:
                link.request("GET", "/healthz", headers={"Host": self.host})
                answer = link.getresponse()
                answer.read()
                self.answers[str(answer.status)] += 1
            except (OSError, http.client.HTTPException) as exc:
                self.answers[type(exc).__name__] += 1
                link.close()
            if not keep:
                link.close()
            time.sleep(0.01)  # so that the clients leave the machine to the deploys
        link.close()


@contextmanager
def load(where: str, host: str) -> Iterator[Load]:
    made = Load(where, host)
    threads = [
        threading.Thread(target=made.client, kwargs={"keep": number % 2 == 0})
        for number in range(CLIENTS)
    ]
    for thread in threads:
        thread.start()
    try:
        yield made
    finally:
        made.stopped.set()
        for thread in threads:
            thread.join(timeout=30)


@pytest.mark.parametrize(
    "shape", [{"replicas": 1, "surge": 1}, {"replicas": 2, "surge": 0}], ids=["surge", "in turn"]
)
def test_no_request_is_lost_while_the_app_changes_again_and_again(
    outside: tuple[Cloud, str], shape: Json
) -> None:
    cloud, where = outside
    cloud.apply(web("blue", "blue.example.org", **shape))
    routed(cloud, "blue")
    with load(where, "blue.example.org") as running:
        for number in range(DEPLOYS):
            before = sum(running.answers.values())
            env = [{"name": "VERSION", "value": str(number)}]
            cloud.apply(web("blue", "blue.example.org", env=env, **shape))
            routed(cloud, "blue")
            assert sum(running.answers.values()) > before
    assert running.answers.keys() == {"200"}, running.answers
    assert running.answers["200"] > 50 * DEPLOYS


def test_a_name_in_a_zone_of_the_tenant_appears_there_by_itself(
    outside: tuple[Cloud, str],
) -> None:
    cloud, where = outside
    cloud.kubectl("apply", "-f", str(ROOT / "manifests/platform/dns.yaml"))
    settings = '{"spec": {"settings": {"address": "192.0.2.80"}}}'
    cloud.kubectl("patch", "platform", "ingress", "-n", "platform", "--type=merge", "-p", settings)
    zone = {
        "apiVersion": "bunker.cloud/v1",
        "kind": "Zone",
        "metadata": {"name": "net", "namespace": "red"},
        "spec": {"domain": "red.example.net"},
    }
    cloud.apply(zone)
    cloud.wait_ready("zone", "net", "red", within_s=90)
    named = {"host": "www.red.example.net", "zoneRef": {"name": "net"}}
    both = web("red", "red.example.org", domains=[{"host": "red.example.org"}, named])
    cloud.apply(both)
    routed(cloud, "red")

    def published(wanted: str) -> bool:
        record = cloud.get("app", "web", "red") or {}
        return bool(condition(record, "Published").get("status", "") == wanted)

    eventually(lambda: published("True"), within_s=60, what="the zone serves the name")
    (name,) = (cloud.get("app", "web", "red") or {})["status"]["names"]
    spec = (cloud.get("recordset", name, "red") or {})["spec"]
    assert (spec["type"], spec["records"]) == ("A", ["192.0.2.80"])
    eventually(lambda: ask(where, "www.red.example.net") == 200, within_s=30, what="routed")
    cloud.apply(web("red", "red.example.org"))
    cloud.wait_gone("recordset", name, "red", within_s=30)
    eventually(lambda: ask(where, "www.red.example.net") == 404, within_s=30, what="unrouted")
    cloud.kubectl("delete", "zone", "net", "-n", "red")
