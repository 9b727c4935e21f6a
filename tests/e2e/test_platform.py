"""The whole platform from manifests/platform: up, hurt, resized, upgraded in place, and gone."""

import base64
import hashlib
import http.client
import json

import pytest
import yaml

from tests.e2e.cloud import ROOT, Cloud, Json, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(420)]
FOLDER = ROOT / "manifests/platform"
UPGRADED = "bunker-test/registry:upgraded"


def services() -> list[str]:
    bodies = (yaml.safe_load(path.read_text()) for path in sorted(FOLDER.glob("*.yaml")))
    return [body["metadata"]["name"] for body in bodies if body["kind"] == "Platform"]


class Registry:
    """A client of the registry, as far as keeping one blob goes."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        values = cloud.secret("registry-credentials", "platform")
        login = f"{values['username']}:{values['password']}"
        self.headers = {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}

    def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
        record = self.cloud.get("platform", "registry", "platform") or {}
        link = http.client.HTTPConnection(record["status"]["endpoint"], timeout=20)
        try:
            link.request(method, path, body, self.headers)
            answer = link.getresponse()
            return answer.status, dict(answer.headers), answer.read()
        finally:
            link.close()

    def push(self, blob: bytes) -> str:
        _, headers, _ = self.ask("POST", "/v2/shop/blobs/uploads/")
        place = headers["Location"].partition("/v2/")[2]
        digest = "sha256:" + hashlib.sha256(blob).hexdigest()
        status, _, _ = self.ask("PUT", f"/v2/{place}&digest={digest}", blob)
        assert status == 201
        return digest

    def pull(self, digest: str) -> bytes:
        status, _, body = self.ask("GET", f"/v2/shop/blobs/{digest}")
        assert status == 200
        return body


def test_the_whole_platform_comes_up_heals_is_upgraded_and_goes(private_cloud: Cloud) -> None:
    cloud = private_cloud
    cloud.kubectl("apply", "-f", str(FOLDER))
    for name in services():
        cloud.wait_ready("platform", name, "platform", within_s=180)
    cloud.wait_ready("vpnnetwork", "vpn", "platform", within_s=90)
    registry = Registry(cloud)
    digest = registry.push(b"precious" * 1000)
    heals_and_is_resized(cloud)
    is_upgraded_in_place(cloud, registry, digest)
    moves_out_and_back(cloud)
    assert registry.pull(digest) == b"precious" * 1000
    watches_itself(cloud)
    goes(cloud)


def heals_and_is_resized(cloud: Cloud) -> None:
    with cloud.engine() as engine:
        for container in cloud.containers("metrics", "platform", engine=engine):
            container.kill()
        for container in cloud.containers("registry", "platform", engine=engine):
            container.remove(force=True)
    patch(cloud, "registry", {"resources": {"cpu": "100m", "memory": "192Mi"}})
    for name in ("metrics", "registry"):
        cloud.wait_ready("platform", name, "platform", within_s=90)
    with cloud.engine() as engine:
        (container,) = cloud.containers("registry", "platform", engine=engine)
        assert container.attrs["HostConfig"]["Memory"] == 192 * 2**20
        found = cloud.containers("metrics", "platform", engine=engine)
        assert [each.status for each in found] == ["running"] * 3


def is_upgraded_in_place(cloud: Cloud, registry: Registry, digest: str) -> None:
    before = (cloud.get("platform", "registry", "platform") or {})["status"]
    with cloud.engine() as engine:
        # another name is another image: what of it differs is not this test's business
        engine.images.get(before["image"]).tag(UPGRADED)
        try:
            patch(cloud, "registry", {"image": UPGRADED})
            after = cloud.wait_ready("platform", "registry", "platform", within_s=60)["status"]
            assert after["image"] == UPGRADED
            assert after["containerId"] != before["containerId"]
            assert after["volume"] == before["volume"]
            assert registry.pull(digest) == b"precious" * 1000
            patch(cloud, "registry", {"image": None})
            cloud.wait_ready("platform", "registry", "platform", within_s=60)
        finally:
            engine.images.remove(UPGRADED)


def moves_out_and_back(cloud: Cloud) -> None:
    """To a server of somebody else (another of ours will do), and back to the data."""
    other = (cloud.get("platform", "metrics", "platform") or {})["status"]["endpoint"]
    patch(cloud, "registry", {"external": {"endpoint": other}})
    status = cloud.wait_ready("platform", "registry", "platform", within_s=60)["status"]
    assert status["endpoints"] == {"api": other}
    with cloud.engine() as engine:
        assert cloud.containers("registry", "platform", engine=engine) == []
    patch(cloud, "registry", {"external": None})
    cloud.wait_ready("platform", "registry", "platform", within_s=60)


def watches_itself(cloud: Cloud) -> None:
    """Prometheus has the control plane's metrics, by itself."""
    values = cloud.secret("metrics-credentials", "platform")
    login = base64.b64encode(f"{values['username']}:{values['password']}".encode()).decode()

    def leading() -> list[Json]:
        record = cloud.get("platform", "metrics", "platform") or {}
        link = http.client.HTTPConnection(record["status"]["endpoints"]["prometheus"], timeout=10)
        try:
            headers = {"Authorization": f"Basic {login}"}
            link.request("GET", "/api/v1/query?query=controlplane_leading", headers=headers)
            found: list[Json] = json.loads(link.getresponse().read())["data"]["result"]
            return found
        except OSError:
            return []
        finally:
            link.close()

    told = eventually(leading, within_s=60, what="metrics of the control plane in Prometheus")
    assert told[0]["value"][1] == "1"


def goes(cloud: Cloud) -> None:
    uids = []
    for name in services():
        patch(cloud, name, {"deletionPolicy": "Delete"})
        uids.append((cloud.get("platform", name, "platform") or {})["metadata"]["uid"])
    cloud.kubectl("delete", "-f", str(FOLDER), "--wait=false")
    cloud.wait_gone("namespace", "platform", within_s=120)
    for uid in uids:
        eventually(lambda uid=uid: not cloud.leftovers(uid), within_s=20, what="nothing left")  # type: ignore[misc]  # the usual default
    eventually(
        lambda: not [left for left in cloud.leftovers() if "platform" in left],
        within_s=30,
        what="no container, network or volume of the platform",
    )


def patch(cloud: Cloud, name: str, spec: Json) -> None:
    body = json.dumps({"spec": spec})
    cloud.kubectl("patch", "platform", name, "-n", "platform", "--type=merge", "-p", body)
