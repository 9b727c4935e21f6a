"""Host: tells what the machine has, what is kept back, promised and free. Changes nothing."""

from dataclasses import dataclass
from typing import Final, Never, assert_never

from controlplane.plan import Plan, Reconciler, Report, Usage, Want
from drivers.containers import Containers
from drivers.host import HostMeter
from resources.host import Host, HostStatus
from resources.meta import Amounts, Condition, Footprint
from resources.quantity import format_bytes, format_millicores

PRESSURE: Final = "DiskPressure"
LOW_PERCENT: Final = 10
"""As the kubelet has it: https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction"""


@dataclass(frozen=True, slots=True)
class HostSeen:
    """The machine as measured, and the budget's own sums."""

    measured: Footprint
    reserved: Footprint
    allocated: Footprint
    engine_version: str
    disk_low: bool


@dataclass(frozen=True, slots=True)
class HostReconciler(Reconciler[Host, HostSeen, Never]):
    containers: Containers
    meter: HostMeter
    usage: Usage

    async def observe(self, want: Want[Host], /) -> HostSeen:
        engine = await self.containers.observe_engine()
        measured = await self.meter.observe_host(engine.root_dir)
        return HostSeen(
            Footprint(measured.cpu_millicores, measured.memory_bytes, measured.disk_bytes),
            self.usage.reserved(),
            self.usage.allocated(),
            engine.version,
            measured.disk_available_bytes * 100 < measured.disk_bytes * LOW_PERCENT,
        )

    def plan(self, want: Want[Host], seen: HostSeen, /) -> Plan[Never]:
        return Plan()

    def status(self, want: Want[Host], seen: HostSeen, /) -> Report:
        capacity = want.record.spec.capacity_of(seen.measured)
        free = (capacity - seen.reserved - seen.allocated).at_least(Footprint())
        status = HostStatus(
            capacity=Amounts.of(capacity),
            reserved=Amounts.of(seen.reserved),
            allocated=Amounts.of(seen.allocated),
            free=Amounts.of(free),
            engine=seen.engine_version,
        )
        kept = want.record.spec.reserved
        if kept is not None and (over := _beyond(kept.footprint, capacity)):
            message = f"spec.reserved is more than the host has ({over}); lower it"
            return Report(status, True, "ReservedTooLarge", message, conditions=(_pressure(seen),))
        if not seen.allocated.fits(capacity - seen.reserved):
            message = "more is promised than there is: nothing new is admitted until records go"
            return Report(status, True, "Overcommitted", message, conditions=(_pressure(seen),))
        message = "the container engine answers"
        return Report(status, True, "Measured", message, conditions=(_pressure(seen),))

    async def apply(self, step: Never, /) -> None:
        assert_never(step)


def _beyond(kept: Footprint, capacity: Footprint) -> str:
    """Where more is kept back than there is. Example: `64Gi of 30Gi memory`."""
    parts = (
        ("CPU", kept.cpu_millicores, capacity.cpu_millicores, format_millicores),
        ("memory", kept.memory_bytes, capacity.memory_bytes, format_bytes),
        ("disk", kept.disk_bytes, capacity.disk_bytes, format_bytes),
    )
    return " and ".join(
        f"{tell(wanted)} of {tell(there)} {name}"
        for name, wanted, there, tell in parts
        if wanted > there
    )


def _pressure(seen: HostSeen) -> Condition:
    """Without a figure: it would be written anew at each look."""
    if not seen.disk_low:
        return Condition(type=PRESSURE, status="False", reason="DiskEnough")
    message = (
        f"less than {LOW_PERCENT} % of the file system with the engine's data is free, and servers "
        "that can't write end: remove what is in the way, or get a larger disk"
    )
    return Condition(type=PRESSURE, status="True", reason="DiskNearlyFull", message=message)
