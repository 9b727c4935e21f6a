"""Requests from outside reach the App that has the name, and none is lost when it changes."""

import time
from collections.abc import Iterator
from http.client import HTTPConnection

import pytest

from tests.e2e.cloud import ROOT, Cloud, Json, condition, eventually
from tests.e2e.conftest import MakeCloud, make_namespace
from tests.e2e.routing import ask, load, routed, web, with_ingress

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(420)]
DEPLOYS = 5


@pytest.fixture(scope="module")
def outside(make_cloud: MakeCloud) -> Iterator[tuple[Cloud, str]]:
    """A cloud with an ingress and two tenants; and where the ingress is on the host."""
    with make_cloud() as cloud:
        where = with_ingress(cloud)
        for tenant in ("red", "blue"):
            make_namespace(cloud, tenant)
            cloud.apply(web(tenant, f"{tenant}.example.org"))
        for tenant in ("red", "blue"):
            routed(cloud, tenant)
        yield cloud, where


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


def test_a_name_more_or_less_is_routed_at_once(outside: tuple[Cloud, str]) -> None:
    """Nothing else of the App changes: no replica is exchanged."""
    cloud, where = outside
    hosts = [{"host": "blue.example.org"}, {"host": "more.example.org"}]
    cloud.apply(web("blue", "blue.example.org", domains=hosts))
    eventually(lambda: ask(where, "more.example.org") == 200, within_s=10, what="one more")
    cloud.apply(web("blue", "blue.example.org"))
    eventually(lambda: ask(where, "more.example.org") == 404, within_s=10, what="one less")
    assert ask(where, "blue.example.org") == 200


def test_an_edit_that_asks_for_anothers_name_gets_none_of_its_requests(
    outside: tuple[Cloud, str],
) -> None:
    cloud, where = outside
    hosts = [{"host": "blue.example.org"}, {"host": "login.red.example.org"}]
    cloud.apply(web("blue", "blue.example.org", domains=hosts))

    def refused() -> bool:
        record = cloud.get("app", "web", "blue") or {}
        return condition(record, "Admitted").get("reason") == "NameTaken"

    eventually(refused, within_s=30, what="the edit is refused")
    for _ in range(20):
        assert ask(where, "login.red.example.org") == 404
        assert ask(where, "blue.example.org") == ask(where, "red.example.org") == 200
        time.sleep(0.1)
    cloud.apply(web("blue", "blue.example.org"))
    routed(cloud, "blue")


def test_an_open_connection_outlives_the_first_app_of_a_new_tenant(
    outside: tuple[Cloud, str],
) -> None:
    """The engine moves published ports to another network if the first by name is a new one."""
    cloud, where = outside
    link = HTTPConnection(where, timeout=10)

    def answer() -> int:
        link.request("GET", "/healthz", headers={"Host": "red.example.org"})
        reply = link.getresponse()
        reply.read()
        return reply.status

    assert answer() == 200
    opened = link.sock
    make_namespace(cloud, "a-first")
    cloud.apply(web("a-first", "first.example.org"))
    routed(cloud, "a-first")
    assert answer() == 200
    cloud.kubectl("delete", "namespace", "a-first", "--wait=true", "--timeout=90s")
    assert answer() == 200
    assert opened is not None
    assert link.sock is opened  # http.client opens another one by itself
    link.close()


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
            before = running.asked
            # every other time the port moves as well, which is then nothing to the old replica
            port = 8080 + number // 2
            told = {"VERSION": str(number), "PORT": str(port)}
            env = [{"name": name, "value": value} for name, value in told.items()]
            cloud.apply(web("blue", "blue.example.org", env=env, port=port, **shape))
            routed(cloud, "blue")
            assert running.asked > before
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
