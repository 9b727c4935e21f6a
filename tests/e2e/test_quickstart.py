"""The quickstart as a new user meets it, through kubectl alone, and its servers from the host."""

import json
import urllib.request
from collections.abc import Iterator

import pytest
import yaml

from tests.e2e import data
from tests.e2e.cloud import ROOT, Cloud, Json
from tests.e2e.conftest import MakeCloud

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(300)]
MANIFEST = ROOT / "manifests/quickstart.yaml"


def records(kind: str) -> list[Json]:
    return [r for r in yaml.safe_load_all(MANIFEST.read_text()) if r and r["kind"] == kind]


@pytest.fixture(scope="module")
def quick(make_cloud: MakeCloud) -> Iterator[Cloud]:
    """The quickstart, applied and Ready."""
    with make_cloud() as cloud:
        cloud.kubectl("apply", "-f", str(MANIFEST))
        for kind in ("Namespace", "Database", "App"):
            for record in records(kind):
                meta = record["metadata"]
                cloud.wait_ready(kind, meta["name"], meta.get("namespace", ""), within_s=120)
        yield cloud


def test_get_shows_a_table(quick: Cloud) -> None:
    out = quick.kubectl("get", "databases,apps", "--all-namespaces")
    assert out.split()[:3] == ["NAMESPACE", "NAME", "ENGINE"]
    for record in (*records("Database"), *records("App")):
        assert record["metadata"]["name"] in out


def test_applying_again_changes_nothing(quick: Cloud) -> None:
    out = quick.kubectl("apply", "-f", str(MANIFEST))
    assert [line for line in out.splitlines() if not line.endswith(" unchanged")] == []
    assert quick.kubectl("diff", "-f", str(MANIFEST)) == ""


def test_databases_take_the_secrets_credentials(quick: Cloud) -> None:
    reached = 0
    for wanted in records("Database"):
        meta = wanted["metadata"]
        record = quick.get("database", meta["name"], meta["namespace"])
        assert record is not None
        if "published" in record["status"]:
            data.keep(quick, record, "here")
            assert "here" in data.kept(quick, record)
            reached += 1
    assert reached > 0, "no Database of the quickstart can be reached from the host"


def test_app_uses_its_databases(quick: Cloud) -> None:
    wanted = records("App")[0]["metadata"]
    record = quick.get("app", wanted["name"], wanted["namespace"])
    assert record is not None
    url = f"http://{record['status']['published']}/db"
    with urllib.request.urlopen(url, timeout=10) as reply:
        answer = json.loads(reply.read())
    assert "error" not in json.dumps(answer), answer


def test_describe_and_events_tell_what_happened(quick: Cloud) -> None:
    wanted = records("Database")[0]["metadata"]
    out = quick.kubectl("describe", "database", wanted["name"], "-n", wanted["namespace"])
    for word in ("Conditions:", "Ready", "Synced", "Events:"):
        assert word in out


def test_passwords_are_only_in_the_secret(quick: Cloud) -> None:
    secrets: set[str] = set()
    for wanted in records("Database"):
        meta = wanted["metadata"]
        record = quick.get("database", meta["name"], meta["namespace"])
        assert record is not None
        name = record["status"]["secretRef"]["name"]
        secrets.add(quick.secret(name, meta["namespace"])["password"])
    places = {
        "records": quick.kubectl("get", "databases,apps,volumes,events", "-A", "-o", "json"),
        "the log": quick.log.read_text(),
        "metrics": quick.kubectl("get", "--raw", "/metrics"),
    }
    with quick.engine() as engine:
        found = engine.containers.list(
            all=True, filters={"label": f"bunker.cloud/instance={quick.instance}"}
        )
        places["docker inspect"] = json.dumps([container.attrs for container in found])
    assert {place: s for place, text in places.items() for s in secrets if s in text} == {}
