"""Host: the one machine, what it has, what is kept back and what is promised to whom."""

from typing import ClassVar

from pydantic import Field, model_validator

from resources.columns import AGE, Column
from resources.meta import (
    Amounts,
    Footprint,
    KindInfo,
    Resource,
)
from resources.meta import Spec as BaseSpec
from resources.meta import Status as BaseStatus


class HostSpec(BaseSpec):
    capacity: Amounts | None = None
    """What the host has, where it can't be measured, or more CPU than it has where Apps seldom use
    all of theirs. Default, also of each part that is left out: measured."""
    reserved: Amounts | None = None
    """What is kept back for the host itself. Default: 10 % of the CPU and 1 GiB of memory."""

    def capacity_of(self, measured: Footprint) -> Footprint:
        """What the host has: each part as stated, else as measured."""
        if self.capacity is None:
            return measured
        return Footprint(
            self.capacity.cpu or measured.cpu_millicores,
            self.capacity.memory or measured.memory_bytes,
            self.capacity.disk or measured.disk_bytes,
        )

    @model_validator(mode="after")
    def _reserved_fits(self) -> "HostSpec":
        if self.capacity is None or self.reserved is None:
            return self
        kept = self.reserved.footprint
        if not kept.fits(self.capacity_of(kept)):
            raise ValueError("reserved is more than capacity; reserve less or state more capacity")
        return self


class HostStatus(BaseStatus):
    capacity: Amounts | None = None
    """What the host has, as measured or as stated in the spec."""
    reserved: Amounts | None = None
    """What is kept back for the host itself."""
    allocated: Amounts | None = None
    """What is promised to admitted records."""
    free: Amounts | None = None
    """capacity - reserved - allocated."""
    engine: str | None = None
    """Version of the container engine. Example: `27.5.1`."""


class Host(Resource[HostSpec, HostStatus]):
    """The machine. There is one, named `host`; the agent makes the record when it starts."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="Host",
        plural="hosts",
        singular="host",
        namespaced=False,
        lasting=("host",),
        columns=(
            Column("CPU", ".status.capacity.cpu", description="CPU it has"),
            Column("CPU-Free", ".status.free.cpu", description="CPU not promised to anyone"),
            Column("Memory", ".status.capacity.memory", description="Memory it has"),
            Column("Memory-Free", ".status.free.memory", description="Memory not promised"),
            Column("Disk", ".status.capacity.disk", description="Disk it has"),
            Column("Disk-Free", ".status.free.disk", description="Disk not promised"),
            AGE,
            Column("CPU-Reserved", ".status.reserved.cpu", priority=1),
            Column("Memory-Reserved", ".status.reserved.memory", priority=1),
            Column("CPU-Allocated", ".status.allocated.cpu", priority=1),
            Column("Memory-Allocated", ".status.allocated.memory", priority=1),
            Column("Disk-Allocated", ".status.allocated.disk", priority=1),
            Column("Engine", ".status.engine", priority=1, description="Container engine version"),
        ),
    )
    spec: HostSpec = Field(default_factory=HostSpec)
    status: HostStatus = Field(default_factory=HostStatus)
