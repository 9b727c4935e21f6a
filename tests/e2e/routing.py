"""An App behind the ingress, and clients that ask it again and again."""

import http.client
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from reconcilers._images import DEMO
from tests.e2e.cloud import ROOT, Cloud, Json, eventually

CLIENTS = 6


def with_ingress(cloud: Cloud) -> str:
    """Start the ingress; returns where it takes requests on the host, as address:port."""
    folder = ROOT / "manifests/platform"
    for name in ("00-namespace", "ingress"):
        cloud.kubectl("apply", "-f", str(folder / f"{name}.yaml"))
    record = cloud.wait_ready("platform", "ingress", "platform", within_s=90)
    where: str = record["status"]["published"]["web"]
    return where


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


@dataclass
class Load:
    """Clients that ask again and again, half of them over one connection."""

    where: str
    host: str
    stopped: threading.Event = field(default_factory=threading.Event)
    told: list[tuple[str, float]] = field(default_factory=list)
    """Of each request: its status, or what was raised, and the seconds it took. (A list, as many
    clients add to it at once: a counter could lose some.)"""

    @property
    def asked(self) -> int:
        return len(self.told)

    @property
    def answers(self) -> Counter[str]:
        return Counter(answer for answer, _ in self.told)

    def client(self, *, keep: bool) -> None:
        link = http.client.HTTPConnection(self.where, timeout=10)
        while not self.stopped.is_set():
            began_s = time.monotonic()
            try:
                link.request("GET", "/healthz", headers={"Host": self.host})
                answer = link.getresponse()
                answer.read()
                said = str(answer.status)
            except (OSError, http.client.HTTPException) as exc:
                said = type(exc).__name__
                link.close()
            self.told.append((said, time.monotonic() - began_s))
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
