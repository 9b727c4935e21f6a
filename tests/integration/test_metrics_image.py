"""The metrics service's configuration and rules, tried by Prometheus' own tools in our images."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from reconcilers._images import service_image
from reconcilers._metrics_rules import RULES
from reconcilers._service import Facts
from reconcilers._services import SERVICES
from resources._offers import OFFERS
from tests.containers import Bench, Running, bench, docker, wait_until

pytestmark = [pytest.mark.docker]

FAILED = 'controlplane_reconcile_total{kind="App",outcome="error"}'
CASES: tuple[tuple[str, str, str, str], ...] = (
    ("ControlPlaneNeverHeardOf", "", "", "10m"),
    ("ControlPlaneSilent", 'push_time_seconds{job="controlplane"}', "0+0x40", "10m"),
    ("AgentNotLeading", "controlplane_leading", "0x40", "5m"),
    ("RecordsNotReady", 'controlplane_records{kind="App",condition="NotReady"}', "2x80", "15m"),
    ("RecordsStalled", 'controlplane_records{kind="App",condition="Stalled"}', "1x80", "10m"),
    ("NoProgress", 'controlplane_no_progress_total{kind="App"}', "0+1x80", "20m"),
    ("ReconcileFailing", FAILED, "0+3x80", "18m"),
    ("DiskNearlyFull", 'controlplane_records{kind="Host",condition="DiskPressure"}', "1x40", "5m"),
    ("TargetDown", 'up{job="alertmanager",instance="i"}', "0x40", "10m"),
)
"""(alert, the series that must raise it, its values each 15 s, when it must be there)."""
HEALTHY: dict[str, str] = {
    'push_time_seconds{job="controlplane"}': "0+15x80",
    "controlplane_leading": "1x80",
    'controlplane_records{kind="App",condition="NotReady"}': "0x80",
    'controlplane_records{kind="App",condition="Ready"}': "5x80",
    'controlplane_no_progress_total{kind="App"}': "0x80",
    'controlplane_reconcile_total{kind="App",outcome="converged"}': "0+1x80",
    FAILED: "0x80",
    'controlplane_budget_cpu_cores{state="allocated"}': "10x80",
    'controlplane_budget_cpu_cores{state="free"}': "2x80",
    'controlplane_budget_memory_bytes{state="allocated"}': "10x80",
    'controlplane_budget_memory_bytes{state="free"}': "2x80",
    'controlplane_budget_disk_bytes{state="allocated"}': "10x80",
    'controlplane_budget_disk_bytes{state="free"}': "10x80",
    'up{job="alertmanager",instance="i"}': "1x80",
    'controlplane_records{kind="Host",condition="DiskPressure"}': "0x80",
}
GROUPS = yaml.safe_load(RULES)["groups"]
NAMES = sorted({rule["alert"] for group in GROUPS for rule in group["rules"]})


@pytest.fixture(scope="module")
def made() -> Iterator[Bench]:
    with bench() as found:
        yield found


@pytest.fixture(scope="module")
def tools(made: Bench) -> Running:
    """A container of the Prometheus image that does nothing but wait for us."""
    image = service_image("prometheus", source="local")
    options = ("--entrypoint=sleep", "--tmpfs=/t:mode=1777")
    found = made.run(image.reference, "600", options=options)
    wait_until(lambda: found.running, of=found)
    write(found, "/t/rules.yml", RULES)
    return found


def write(container: Running, path: str, text: str) -> None:
    container.exec("sh", "-c", f"cat >{path}", stdin=text)


def tried(tools: Running, series: dict[str, str], alert: str, at: str) -> list[dict[str, Any]]:
    """The alerts of that name that are firing then, as promtool computes them."""
    test: dict[str, Any] = {
        "interval": "15s",
        "input_series": [{"series": k, "values": v} for k, v in series.items()],
        # a wrong expectation on purpose: its report lists what is really there
        "alert_rule_test": [
            {"eval_time": at, "alertname": alert, "exp_alerts": [{"exp_labels": {"x": "x"}}]}
        ],
    }
    body = {"rule_files": ["/t/rules.yml"], "evaluation_interval": "15s", "tests": [test]}
    write(tools, "/t/test.yml", json.dumps(body))
    report = docker(
        "exec", tools.id, "sh", "-c", "TMPDIR=/t promtool test rules /t/test.yml 2>&1; true"
    )
    got = report.partition("got:")[2]
    return [{"text": got}] if "alertname" in got else []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_what_is_wrong_raises_its_alert(tools: Running, case: tuple[str, str, str, str]) -> None:
    alert, series, values, at = case
    world = {**HEALTHY, series: values} if series else {}
    assert tried(tools, world, alert, at)


@pytest.mark.parametrize("of", ["cpu_cores", "memory_bytes", "disk_bytes"])
def test_a_nearly_full_budget_raises_its_alert(tools: Running, of: str) -> None:
    full = {f'controlplane_budget_{of}{{state="allocated"}}': "95x80"}
    found = tried(tools, {**HEALTHY, **full}, "BudgetNearlyFull", "10m")
    assert f'of="{of.split("_")[0]}"' in found[0]["text"]


@pytest.mark.parametrize("alert", NAMES)
def test_a_healthy_platform_raises_none(tools: Running, alert: str) -> None:
    assert tried(tools, HEALTHY, alert, "15m") == []


@pytest.mark.parametrize("webhook", [{}, {"webhook": "https://alerts.example.org/it's"}])
def test_prometheus_and_alertmanager_take_their_configuration(
    made: Bench, tools: Running, webhook: dict[str, str]
) -> None:
    offer = OFFERS["metrics"]
    facts = Facts("metrics", webhook, offer.resources, offer.storage_bytes)
    files = {
        file.path: file.template
        for container in SERVICES["metrics"].containers(facts)
        for file in container.files
    }
    prometheus = files["prometheus.yml"].replace("/run/secrets/", "/t/")
    write(tools, "/t/prometheus.yml", prometheus)
    write(tools, "/t/password", "hush")
    assert "SUCCESS" in tools.exec("promtool", "check", "config", "/t/prometheus.yml")
    image = service_image("alertmanager", source="local")
    options = ("--entrypoint=sleep", "--tmpfs=/t:mode=1777")
    other = made.run(image.reference, "600", options=options)
    wait_until(lambda: other.running, of=other)
    write(other, "/t/alertmanager.yml", files["alertmanager.yml"])
    assert "SUCCESS" in other.exec("amtool", "check-config", "/t/alertmanager.yml")
