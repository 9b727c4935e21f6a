"""The parts that every pass works with, put together once for each term of leadership."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from controlplane.clock import Clock
from controlplane.engine.admission import Admission
from controlplane.engine.children import Children
from controlplane.engine.port import Guard, RecordsPort
from controlplane.engine.progress import Progress
from controlplane.engine.recorder import Recorder
from controlplane.engine.resolve import Resolver
from controlplane.engine.writer import Writer
from controlplane.metrics import Metrics
from controlplane.records import Stored, View
from resources.meta import Record


@dataclass(frozen=True, slots=True)
class Parts:
    """Shared by all controllers; none of it is specific to a kind."""

    view: View
    records: RecordsPort
    models: Mapping[str, type[Record]]
    resolver: Resolver
    admission: Admission
    writer: Writer
    children: Children
    recorder: Recorder
    progress: Progress
    metrics: Metrics
    clock: Clock
    guard: Guard
    """Raises StaleEpochError once this process may no longer act."""
    contents: Callable[[str], int]
    """How many records (events left out) a namespace still has."""
    catch_up_s: float = 5.0
    """How long a live re-read may take before the pass is retried."""

    async def live(self, stored: Stored) -> Stored | None:
        """The record as the store has it now, not as the cache remembers it; None if it is
        gone, or another one has its name."""
        await self.records.catch_up(self.catch_up_s)
        found = self.view.get(stored.key)
        return found if found is not None and found.uid == stored.uid else None
