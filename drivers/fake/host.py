"""A host of any size, for tests and --demo."""

from dataclasses import dataclass, field
from typing import Final

from drivers.fake.faults import Faults
from drivers.host import HostCapacity, HostLoad

_CAPACITY: Final = HostCapacity(4000, 8 * 2**30, 100 * 2**30)
_LOAD: Final = HostLoad(0, 8 * 2**30, 100 * 2**30)


@dataclass(slots=True)
class FakeHost:
    """Says what it is told; change `capacity` and it has grown."""

    capacity: HostCapacity = _CAPACITY
    load: HostLoad = _LOAD
    faults: Faults = field(default_factory=Faults)

    async def observe_host(self) -> HostCapacity:
        self.faults.enter("observe_host")
        return self.capacity

    async def observe_load(self) -> HostLoad:
        self.faults.enter("observe_load")
        return self.load
