"""A host of any size, for tests and --demo."""

from dataclasses import dataclass, field
from typing import Final

from drivers.fake.faults import Faults
from drivers.host import HostCapacity

_CAPACITY: Final = HostCapacity(4000, 8 * 2**30, 100 * 2**30, 60 * 2**30)


@dataclass(slots=True)
class FakeHost:
    """Says what it is told; change `capacity` and it has grown."""

    capacity: HostCapacity = _CAPACITY
    faults: Faults = field(default_factory=Faults)
    engine_root: str = ""
    """What was asked for last."""

    async def observe_host(self, engine_root: str, /) -> HostCapacity:
        self.faults.enter("observe_host")
        self.engine_root = engine_root
        return self.capacity
