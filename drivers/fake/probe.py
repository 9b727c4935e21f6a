"""Servers that exist only in a table, and the health that a probe finds there."""

from collections.abc import Callable
from dataclasses import dataclass, field

from drivers.fake.faults import Faults
from drivers.probe import Health, Target, request_bytes, status_health


@dataclass(slots=True)
class FakeProbe:
    """`listening` maps (address, port) to the HTTP status it answers with; None: it accepts
    connections and says nothing HTTP. `everything`: every address answers, whatever is asked."""

    listening: dict[tuple[str, int], int | None] = field(default_factory=dict)
    hanging: set[tuple[str, int]] = field(default_factory=set)
    everything: bool = False
    missing: Callable[[str], bool] = lambda _: False
    """Paths that are answered with 404."""
    refuses: Callable[[Target], bool] = lambda _: False
    """What is asked in vain of servers that answer everything else."""
    faults: Faults = field(default_factory=Faults)

    async def observe(self, target: Target, /, *, timeout_s: float = 2.0) -> Health:
        self.faults.enter("observe")
        if target.path is not None:
            request_bytes(target)
        place = (target.address, target.port)
        if place in self.hanging:
            return Health(False, "TimedOut", f"no answer within {timeout_s:g} s")
        if target.path is not None and self.missing(target.path):
            return status_health(b"HTTP/1.1 404")
        if self.everything and not self.refuses(target):
            return Health(True, "Answered")
        if place not in self.listening:
            return Health(False, "Refused", f"nothing listens on port {target.port}")
        if target.path is None:
            return Health(True, "Answered")
        status = self.listening[place]
        return status_health(b"" if status is None else b"HTTP/1.1 %d OK" % status)
