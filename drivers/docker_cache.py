"""What the driver remembers of the engine between calls: inspected containers and who owns what.

Belongs to the event loop's thread. It is trusted only while an event stream is connected, and
never by a destructive call.
"""

from dataclasses import dataclass, field

from drivers.containers import LABEL_CONTAINER, ContainerState, Owner


class InspectCache:
    """Inspected containers by id, dropped by own calls, by events and by each reconnect."""

    def __init__(self) -> None:
        self._live = 0
        self._clock = 0
        self._states: dict[str, ContainerState] = {}
        self._by_owner: dict[tuple[str, str], str] = {}
        self._dropped_at: dict[str, int] = {}
        self._cleared_at = 0
        self.hits = 0
        self.misses = 0

    def connected(self) -> None:
        """An event stream began: from here on changes are told."""
        self.clear()
        self._live += 1

    def disconnected(self) -> None:
        self._live -= 1
        self.clear()

    def stamp(self) -> int:
        """Take before an inspect, give to put(): an answer overtaken by an invalidation while
        it was under way must not be remembered."""
        return self._clock

    def put(self, state: ContainerState, stamp: int) -> None:
        overtaken = max(self._dropped_at.get(state.id, 0), self._cleared_at) > stamp
        if not self._live or overtaken:
            return
        self._states[state.id] = state
        if state.owner is not None:
            made_as = state.labels.get(LABEL_CONTAINER, state.name)
            self._by_owner[(state.owner.uid, made_as)] = state.id

    def get(self, container_id: str) -> ContainerState | None:
        found = self._states.get(container_id)
        self.hits += found is not None
        self.misses += found is None
        return found

    def peek(self, container_id: str) -> ContainerState | None:
        """As get, not counted."""
        return self._states.get(container_id)

    def find(self, owner_uid: str, made_as: str) -> ContainerState | None:
        return self.get(self._by_owner.get((owner_uid, made_as), ""))

    def invalidate(self, container_id: str) -> None:
        self._clock += 1
        self._dropped_at[container_id] = self._clock
        if len(self._dropped_at) > 10_000:
            # Ids are never reused, so this grows with every container ever seen.
            self._dropped_at.clear()
            self._cleared_at = self._clock
        state = self._states.pop(container_id, None)
        if state is not None and state.owner is not None:
            self._by_owner.pop((state.owner.uid, state.labels.get(LABEL_CONTAINER, "")), None)

    def clear(self) -> None:
        self._clock += 1
        self._cleared_at = self._clock
        self._dropped_at.clear()
        self._states.clear()
        self._by_owner.clear()


@dataclass(slots=True)
class Known:
    """Who owns what, for events that carry no labels."""

    containers: dict[str, Owner] = field(default_factory=dict)
    """By id."""
    networks: dict[str, Owner] = field(default_factory=dict)
    """By name."""
    volumes: dict[str, Owner] = field(default_factory=dict)
    """By name."""
