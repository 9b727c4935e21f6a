"""metrics: Prometheus with our rules, Alertmanager, and the gateway that the agent pushes to.

The control plane listens on 127.0.0.1 alone, where no container reaches it: so its agent pushes
its metrics into a Pushgateway, and Prometheus collects them there. All three ask for the Secret's
password (https://prometheus.io/docs/prometheus/latest/configuration/https/).
"""

from typing import Final

from controlplane.plan import Generated
from drivers.containers import SECRETS_PATH
from reconcilers._metrics_rules import RULES
from reconcilers._service import (
    Facts,
    Health,
    SecretKeys,
    ServiceContainer,
    ServiceDef,
    ServiceFile,
)
from resources._offers import MOST_SCRAPE_S

_WEB: Final = "basic_auth_users:\n  {username}: '{bcrypt:password}'\n"
_LOGIN: Final = f"basic_auth: {{username: bunker, password_file: {SECRETS_PATH}/password}}"
_CONFIG: Final = f"""\
global: {{scrape_interval: SCRAPEs, evaluation_interval: SCRAPEs}}
rule_files: [{SECRETS_PATH}/rules.yml]
alerting:
  alertmanagers:
    - {_LOGIN}
      static_configs: [{{targets: ["NAME-alertmanager:9093"]}}]
scrape_configs:
  - job_name: pushed
    honor_labels: true
    {_LOGIN}
    static_configs: [{{targets: ["NAME-pushgateway:9091"]}}]
  - job_name: prometheus
    {_LOGIN}
    static_configs: [{{targets: ["127.0.0.1:9090"]}}]
  - job_name: alertmanager
    {_LOGIN}
    static_configs: [{{targets: ["NAME-alertmanager:9093"]}}]
"""
"""Of what asks for our own password: the ingress has another one, and would count as down."""
_ALERTS: Final = """\
route: {receiver: RECEIVER, group_by: [alertname, kind], group_wait: 30s, repeat_interval: 4h}
receivers:
  - name: nobody
"""
_WEBHOOK: Final = """\
  - name: webhook
    webhook_configs: [{url: 'URL', send_resolved: true}]
"""


def _containers(facts: Facts) -> tuple[ServiceContainer, ...]:
    return (_prometheus(facts), _alertmanager(facts), _PUSHGATEWAY)


def _prometheus(facts: Facts) -> ServiceContainer:
    settings = facts.settings
    config = _CONFIG.replace("NAME", facts.name)
    # an earlier release took more, with which the alerts would lie
    scrape_s = min(int(settings.get("scrapeSeconds", "15")), MOST_SCRAPE_S)
    config = config.replace("SCRAPE", str(scrape_s))
    # The newest block and the log aren't counted in it
    # (https://prometheus.io/docs/prometheus/latest/storage/): so three quarters; and as its MB is
    # 2^20 bytes, that comes to four fifths.
    most_mb = facts.storage_bytes * 3 // 4 // 10**6
    return ServiceContainer(
        image="prometheus",
        command=(
            f"--config.file={SECRETS_PATH}/prometheus.yml",
            f"--web.config.file={SECRETS_PATH}/web.yml",
            "--storage.tsdb.path=/prometheus/prometheus",
            f"--storage.tsdb.retention.time={settings.get('retentionDays', '15')}d",
            f"--storage.tsdb.retention.size={most_mb}MB",
        ),
        files=(
            ServiceFile("prometheus.yml", config),
            ServiceFile("rules.yml", RULES),
            ServiceFile("web.yml", _WEB),
            ServiceFile("password", "{password}"),
        ),
        ports=("prometheus",),
        health=Health(9090),
        stop_timeout_s=30,
        shared=False,
    )


def _alertmanager(facts: Facts) -> ServiceContainer:
    url = facts.settings.get("webhook")
    config = _ALERTS.replace("RECEIVER", "webhook" if url else "nobody")
    if url:
        config += _WEBHOOK.replace("URL", url.replace("'", "''"))
    return ServiceContainer(
        image="alertmanager",
        name="alertmanager",
        command=(
            f"--config.file={SECRETS_PATH}/alertmanager.yml",
            f"--web.config.file={SECRETS_PATH}/web.yml",
            "--storage.path=/alertmanager/alertmanager",
            # alone, it needs no cluster and finds no address to announce
            "--cluster.listen-address=",
        ),
        files=(ServiceFile("alertmanager.yml", config),),
        ports=("alertmanager",),
        health=Health(9093),
        share=150,
        shared=False,
    )


_PUSHGATEWAY: Final = ServiceContainer(
    image="pushgateway",
    name="pushgateway",
    command=(f"--web.config.file={SECRETS_PATH}/web.yml",),
    ports=("push",),
    health=Health(9091),
    data=False,
    share=150,
    shared=False,
)


def _secret(facts: Facts) -> SecretKeys:
    del facts
    return {"username": "bunker", "password": Generated()}


SERVICE: Final = ServiceDef(_containers, _secret)
