"""Host: tells what the machine has, what is kept back, promised and free. Changes nothing."""

from dataclasses import dataclass
from typing import Never, assert_never

from controlplane.plan import Plan, Reconciler, Report, Usage, Want
from drivers.containers import Containers
from drivers.host import HostMeter
from resources.host import Host, HostStatus
from resources.meta import Amounts, Footprint


@dataclass(frozen=True, slots=True)
class HostSeen:
    """The machine as measured, and the budget's own sums."""

    measured: Footprint
    reserved: Footprint
    allocated: Footprint
    engine_version: str


@dataclass(frozen=True, slots=True)
class HostReconciler(Reconciler[Host, HostSeen, Never]):
    containers: Containers
    meter: HostMeter
    usage: Usage

    async def observe(self, want: Want[Host], /) -> HostSeen:
        engine = await self.containers.observe_engine()
        measured = await self.meter.observe_host()
        return HostSeen(
            Footprint(measured.cpu_millicores, measured.memory_bytes, measured.disk_bytes),
            self.usage.reserved(),
            self.usage.allocated(),
            engine.version,
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
        if not seen.allocated.fits(capacity - seen.reserved):
            message = "more is promised than there is: nothing new is admitted until records go"
            return Report(status, True, "Overcommitted", message)
        return Report(status, True, "Measured", "the container engine answers")

    async def apply(self, step: Never, /) -> None:
        assert_never(step)
