"""Every kind's example: apply, Ready, edit, delete, and nothing left."""

from pathlib import Path

import pytest
import yaml

from reconcilers._images import DEMO
from tests.e2e.cloud import ROOT, Cloud, Json, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(240)]
MANIFESTS = sorted((ROOT / "manifests/kinds").glob("*.yaml"))

# What an edit of the spec is, for kinds that have one worth making.
EDITS: dict[str, Json] = {
    "App": {"spec": {"replicas": 2}},
    "Database": {"spec": {"resources": {"cpu": "200m", "memory": "300Mi"}}},
    "Platform": {"spec": {"resources": {"cpu": "100m", "memory": "200Mi"}}},
    "Quota": {"spec": {"memory": "5Gi"}},
    "VpnNetwork": {"spec": {"resources": {"cpu": "200m", "memory": "96Mi"}}},
    "VpnPeer": {"spec": {"allowedIPs": ["192.168.7.0/24"]}},
    "ConfigMap": {"data": {"LOG_LEVEL": "debug"}},
}
KEPT_BY_DESIGN = {"Host"}
WAITED_FOR = frozenset(
    {"Namespace", "App", "Database", "Quota", "Host", "Platform", "VpnNetwork", "VpnPeer"}
)
NEEDS = {"VpnPeer": ("vpnnetwork",)}
"""Kinds that come to nothing without others: the examples of those are applied before."""


def example(path: Path) -> Json:
    """The manifest, with an image that a host without a registry has."""
    record: Json = yaml.safe_load(path.read_text())
    if record["kind"] == "App":
        record["spec"]["image"] = DEMO
    if record["kind"] == "Database":
        record["spec"].pop("version", None)  # the newest: its image is built for every run
    return record


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_example_is_applied_edited_and_deleted(cloud: Cloud, namespace: str, path: Path) -> None:
    record = example(path)
    kind, meta = record["kind"], record["metadata"]
    explained = cloud.kubectl("explain", kind.lower())
    assert "DESCRIPTION" in explained
    place = "" if scope(cloud, kind) else home(cloud, kind, namespace)
    if kind == "Namespace":
        meta["name"] = f"{namespace}-made"
    if place:
        meta["namespace"] = place
    for other in NEEDS.get(kind, ()):
        needed = example(ROOT / f"manifests/kinds/{other}.yaml")
        needed["metadata"]["namespace"] = place
        cloud.apply(needed)
    cloud.apply(record)
    if kind in WAITED_FOR:
        cloud.wait_ready(kind, meta["name"], place, within_s=90)
    edit(cloud, kind, meta["name"], place)
    if kind in KEPT_BY_DESIGN:
        return
    uid = (cloud.get(kind, meta["name"], place) or {})["metadata"]["uid"]
    flags = ["-n", place] if place else []
    cloud.kubectl("delete", kind.lower(), meta["name"], *flags, "--timeout=60s")
    assert cloud.get(kind, meta["name"], place) is None
    eventually(lambda: not cloud.leftovers(uid), within_s=10, what=f"nothing left of {uid}")


def home(cloud: Cloud, kind: str, namespace: str) -> str:
    """The test's own namespace; services of the platform live in one of theirs."""
    if kind != "Platform":
        return namespace
    cloud.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "platform"}})
    cloud.wait_ready("namespace", "platform")
    return "platform"


def scope(cloud: Cloud, kind: str) -> bool:
    """True for a cluster-scoped kind, as discovery says."""
    names = cloud.kubectl("api-resources", "--namespaced=false", "--no-headers").splitlines()
    return kind in {line.split()[-1] for line in names}


def edit(cloud: Cloud, kind: str, name: str, namespace: str) -> None:
    """Label it, and change its spec where that means something; wait until that is so."""
    flags = ["-n", namespace] if namespace else []
    cloud.kubectl("label", kind.lower(), name, *flags, "edited=yes", "--overwrite")
    labelled = cloud.get(kind, name, namespace)
    assert labelled is not None
    assert labelled["metadata"]["labels"]["edited"] == "yes"
    if kind not in EDITS:
        return
    patch = yaml.safe_dump(EDITS[kind])
    cloud.kubectl("patch", kind.lower(), name, *flags, "--type=merge", "-p", patch)
    if kind in ("App", "Database", "VpnNetwork", "VpnPeer"):
        after = cloud.wait_ready(kind, name, namespace)
        assert after["metadata"]["generation"] == labelled["metadata"]["generation"] + 1
        assert after["status"].get("readyReplicas", 2) == 2
