"""What is promised and held, of the budget and of the records there are."""

from dataclasses import dataclass

from controlplane.budget import Ledger
from controlplane.engine.admission import scope_of
from controlplane.records import View
from controlplane.store.crowding import records_held
from resources.meta import Footprint


@dataclass(frozen=True, slots=True)
class Used:
    """Implements plan.Usage."""

    ledger: Ledger
    view: View

    def allocated(self, namespace: str | None = None, /) -> Footprint:
        """The sum over what is charged to one namespace, or over all."""
        scope = None if namespace is None else scope_of(self.view, namespace)
        return self.ledger.allocated(scope)

    def reserved(self) -> Footprint:
        """What is kept back for the host itself."""
        return self.ledger.reserved()

    def records(self, namespace: str, /) -> int:
        """How many records a namespace holds, Events not counted."""
        return records_held(self.view, namespace)
