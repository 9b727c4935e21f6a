"""What the platform's Prometheus watches for: alerts on the control plane's own metrics.

Each says in its summary what is so, and in its action what a person can do. Text alone; promtool
checks and tries it in tests/integration/test_metrics_image.py.
"""

from typing import Final

RULES: Final = """\
groups:
  - name: control-plane
    rules:
      - alert: ControlPlaneSilent
        expr: time() - max(push_time_seconds{job="controlplane"}) > 90
        for: 1m
        labels: {severity: critical}
        annotations:
          summary: The control plane has not told its metrics for more than 90 s.
          action: Run scripts/up; read the control plane's log.
      - alert: ControlPlaneNeverHeardOf
        expr: absent(push_time_seconds{job="controlplane"})
        for: 5m
        labels: {severity: critical}
        annotations:
          summary: No metrics of the control plane arrive.
          action: See the conditions of Platform metrics; read the control plane's log.
      - alert: AgentNotLeading
        expr: max(controlplane_leading) < 1 or absent(controlplane_leading)
        for: 1m
        labels: {severity: critical}
        annotations:
          summary: No agent acts, so nothing is healed and nothing changes.
          action: Start an agent (scripts/up), or look for one that hangs.
      - alert: RecordsNotReady
        expr: sum by (kind) (controlplane_records{condition="NotReady"}) > 0
        for: 10m
        labels: {severity: warning}
        annotations:
          summary: "{{ $value }} records of kind {{ $labels.kind }} are not Ready since 10 minutes."
          action: kubectl get them, and describe those that are not Ready.
      - alert: RecordsStalled
        expr: sum by (kind) (controlplane_records{condition="Stalled"}) > 0
        for: 5m
        labels: {severity: warning}
        annotations:
          summary: "{{ $value }} records of kind {{ $labels.kind }} wait for an edit."
          action: kubectl describe says what is wrong with each.
      - alert: NoProgress
        expr: sum by (kind) (increase(controlplane_no_progress_total[15m])) > 3
        labels: {severity: warning}
        annotations:
          summary: Plans of kind {{ $labels.kind }} come back unchanged after they were done.
          action: Something else undoes them; look at the records' events.
      - alert: ReconcileFailing
        expr: |
          sum by (kind) (rate(controlplane_reconcile_total{outcome=~"retry|error"}[10m]))
            / sum by (kind) (rate(controlplane_reconcile_total[10m])) > 0.5
        for: 10m
        labels: {severity: warning}
        annotations:
          summary: More than half of the passes of kind {{ $labels.kind }} fail.
          action: kubectl get events; a server that they work on is away or refuses.
  - name: budget
    rules:
      - alert: BudgetNearlyFull
        expr: |
          1 - controlplane_budget_cpu_cores{state="free"} / ignoring(state)
            sum without(state) (controlplane_budget_cpu_cores{state=~"allocated|free"}) > 0.9
        for: 5m
        labels: {severity: warning, of: cpu}
        annotations: &budget
          summary: "{{ $value | humanizePercentage }} of the host's {{ $labels.of }} is promised."
          action: Make records smaller, delete some, or get a bigger host.
      - alert: BudgetNearlyFull
        expr: |
          1 - controlplane_budget_memory_bytes{state="free"} / ignoring(state)
            sum without(state) (controlplane_budget_memory_bytes{state=~"allocated|free"}) > 0.9
        for: 5m
        labels: {severity: warning, of: memory}
        annotations: *budget
      - alert: BudgetNearlyFull
        expr: |
          1 - controlplane_budget_disk_bytes{state="free"} / ignoring(state)
            sum without(state) (controlplane_budget_disk_bytes{state=~"allocated|free"}) > 0.85
        for: 5m
        labels: {severity: warning, of: disk}
        annotations: *budget
      - alert: DiskNearlyFull
        expr: controlplane_records{kind="Host",condition="DiskPressure"} > 0
        for: 1m
        labels: {severity: critical}
        annotations:
          summary: Less than a tenth of the disk with the containers' data is free.
          action: docker system df, and kubectl get volumes; remove what nobody needs.
  - name: platform
    rules:
      - alert: TargetDown
        expr: up == 0
        for: 5m
        labels: {severity: warning}
        annotations:
          summary: "{{ $labels.job }} at {{ $labels.instance }} does not answer."
          action: See the Platform record of that name.
"""
"""https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules/"""
