"""The engine's metrics, on an injected registry: base units, no object names, every label pair
there from the start at 0, so that a rate exists before the first failure.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from controlplane.budget import Totals
from controlplane.conditions import Reason
from controlplane.plan import Outcome
from resources.meta import ConditionType, Footprint

PASS_BUCKETS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0)
"""Seconds: a no-op pass takes under 1 ms, one that starts a busy server many seconds."""
CALL_BUCKETS: Final = (0.001, 0.01, 0.1, 1.0, 10.0, 60.0)
"""Seconds: few, as each verb of each driver has them for each outcome. A look at a container takes
2 ms, a start 0.3 s, an image minutes."""
READY_BUCKETS: Final = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)

NOT_READY: Final = "NotReady"
TOLD: Final = (*map(str, ConditionType), NOT_READY)
"""What records are counted by."""
_AS_TOLD: Final = frozenset({str(Reason.PAUSED), "Disabled"})
"""Reasons why a record isn't Ready that its own spec gives: nothing is wrong."""


def told_as(condition: Mapping[str, Any]) -> tuple[str, ...]:
    """The names a condition is counted under: its own if it is true, and NotReady for one that
    should serve and doesn't."""
    if condition["status"] == "True":
        return (str(condition["type"]),)
    wanted = condition["type"] == ConditionType.READY and condition["reason"] not in _AS_TOLD
    return (NOT_READY,) if wanted else ()


class Metrics:
    """What the engine measures; docs/operations.md lists all of it."""

    def __init__(self, registry: CollectorRegistry, kinds: Iterable[str]) -> None:
        self.reconciles = Counter(
            "controlplane_reconcile", "Passes by outcome.", ("kind", "outcome"), registry=registry
        )
        self.duration = Histogram(
            "controlplane_reconcile_duration_seconds",
            "Time of one pass.",
            ("kind",),
            registry=registry,
            buckets=PASS_BUCKETS,
        )
        self.steps = Counter(
            "controlplane_steps", "Steps applied.", ("kind", "step"), registry=registry
        )
        self.depth = Gauge(
            "controlplane_queue_depth", "Keys due and not taken.", ("kind",), registry=registry
        )
        self.wait = Histogram(
            "controlplane_queue_wait_seconds",
            "Time from due to taken.",
            registry=registry,
            buckets=PASS_BUCKETS,
        )
        self.time_to_ready = Histogram(
            "controlplane_time_to_ready_seconds",
            "Time from creation to first Ready.",
            ("kind",),
            registry=registry,
            buckets=READY_BUCKETS,
        )
        self.no_progress = Counter(
            "controlplane_no_progress",
            "Plans that came back unchanged after they were done.",
            ("kind",),
            registry=registry,
        )
        self.records = Gauge(
            "controlplane_records",
            "Records with a condition True; NotReady: that should serve and don't.",
            ("kind", "condition"),
            registry=registry,
        )
        self.memory = _budget(registry, "memory_bytes", "Memory")
        self.cpu = _budget(registry, "cpu_cores", "CPU")
        self.disk = _budget(registry, "disk_bytes", "Disk")
        self.calls = Histogram(
            "controlplane_driver_call_duration_seconds",
            "Time of one call that leaves the control plane.",
            ("driver", "verb", "outcome"),
            registry=registry,
            buckets=CALL_BUCKETS,
        )
        self.leading = Gauge(
            "controlplane_leading", "1 while this process leads.", registry=registry
        )
        self.swept = Counter(
            "controlplane_swept", "Outside objects removed that no record owned.", registry=registry
        )
        self.sweep_refused = Gauge(
            "controlplane_sweep_refused",
            "Outside objects that no record owns, left alone by the last sweep.",
            registry=registry,
        )
        for kind in kinds:
            self._start_at_zero(kind)

    def budget(self, totals: Totals) -> None:
        """Tell what the ledger has."""
        states = {"allocated": totals.allocated, "free": totals.free}
        if totals.capacity is not None:
            states["capacity"] = totals.capacity
        for state, amount in states.items():
            self.cpu.labels(state).set(amount.cpu_millicores / 1000)
            self.memory.labels(state).set(amount.memory_bytes)
            self.disk.labels(state).set(amount.disk_bytes)

    def _start_at_zero(self, kind: str) -> None:
        for outcome in get_args(Outcome):
            self.reconciles.labels(kind, outcome)
        for condition in TOLD:
            self.records.labels(kind, condition)
        self.duration.labels(kind)
        self.depth.labels(kind)
        self.time_to_ready.labels(kind)
        self.no_progress.labels(kind)
        self.budget(Totals(None, Footprint(), Footprint()))


def _budget(registry: CollectorRegistry, unit: str, what: str) -> Gauge:
    gauge = Gauge(
        f"controlplane_budget_{unit}",
        f"{what} of the host by state.",
        ("state",),
        registry=registry,
    )
    for state in ("capacity", "allocated", "free"):
        gauge.labels(state)
    return gauge
