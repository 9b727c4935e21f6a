"""What the driver remembers of the engine between calls: inspected things, and who owns what.

Belongs to the event loop's thread. It is trusted only while an event stream is connected, and
never by a destructive call.
"""

from collections.abc import Callable, Mapping
from typing import Final, Generic, TypeVar

from drivers.containers import (
    LABEL_CONTAINER,
    ContainerState,
    EngineInfo,
    ImageState,
    NetworkState,
    Owner,
)

T = TypeVar("T")

_DROPS_KEPT: Final = 10_000
"""Ids are never reused, so what was dropped when would grow with every container ever seen."""


_HEARD_KEPT: Final = 4096
"""How far one of several event streams may be ahead of another."""


class Remembered(Generic[T]):
    """Answers by key, dropped when something tells of a change."""

    def __init__(self) -> None:
        self.live = False
        self.hits = 0
        self.misses = 0
        self._answers: dict[str, T] = {}
        self._clock = 0
        self._dropped_at: dict[str, int] = {}
        self._cleared_at = 0

    def stamp(self) -> int:
        """Take before asking the engine, give to put(): an answer overtaken by a change while
        it was under way must not be remembered."""
        return self._clock

    def put(self, key: str, answer: T, stamp: int) -> None:
        if self.live and not self.overtaken(key, stamp):
            self._answers[key] = answer

    def get(self, key: str) -> T | None:
        found = self._answers.get(key)
        self.hits += found is not None
        self.misses += found is None
        return found

    def peek(self, key: str) -> T | None:
        """As get, not counted."""
        return self._answers.get(key)

    def invalidate(self, key: str) -> None:
        self._clock += 1
        self._dropped_at[key] = self._clock
        self._answers.pop(key, None)
        if len(self._dropped_at) > _DROPS_KEPT:
            self._dropped_at.clear()
            self._cleared_at = self._clock

    def revise(self, key: str, change: Callable[[T], T | None]) -> None:
        """What is told of a change says what it is now (None: it doesn't); an answer that is
        under way may be from before."""
        known = self._answers.get(key)
        self.invalidate(key)
        if known is not None and (now := change(known)) is not None:
            self._answers[key] = now

    def overtaken(self, key: str, stamp: int) -> bool:
        """Whether something told of a change since the stamp was taken."""
        return max(self._dropped_at.get(key, 0), self._cleared_at) > stamp

    def clear(self) -> None:
        self._clock += 1
        self._cleared_at = self._clock
        self._dropped_at.clear()
        self._answers.clear()


class InspectCache:
    """Containers by id, networks by name, images by reference; and the owners of all that is
    ours, for events that carry no labels."""

    def __init__(self) -> None:
        self.containers: Remembered[ContainerState] = Remembered()
        self.networks: Remembered[NetworkState] = Remembered()
        self.images: Remembered[tuple[ImageState, ...]] = Remembered()
        """Empty: there is none. Many records are asked about one whose name is gone, in each of
        their passes."""
        self.engine: Remembered[EngineInfo] = Remembered()
        """The engine itself, under "": asking makes it run its helpers for their versions."""
        self.starting: set[str] = set()
        """Containers whose start is under way and not told of yet: who asked for it looks at
        them after."""
        self.known = Known()
        self.resets = 0
        """Tells an answer begun before a reconnect from one begun after."""
        self._streams = 0
        self._heard: dict[tuple[object, ...], None] = {}

    def news(self, event: tuple[object, ...] | None) -> bool:
        """False if another stream has told of this very event, and what it changes was dropped:
        what was asked for since then need not be asked for again."""
        if event is None:
            return True
        if event in self._heard:
            return False
        self._heard[event] = None
        if len(self._heard) > _HEARD_KEPT:
            del self._heard[next(iter(self._heard))]
        return True

    def connected(self) -> None:
        """An event stream began: from here on changes are told."""
        self._streams += 1
        self._reset()

    def disconnected(self) -> None:
        self._streams -= 1
        self._reset()

    def remember(self, state: ContainerState, stamp: int) -> None:
        """A container of ours, as just inspected."""
        if state.owner is not None:
            self.known.add(state.id, state.owner, state.labels.get(LABEL_CONTAINER, state.name))
        self.containers.put(state.id, state, stamp)

    def forget(self, container_id: str) -> None:
        """It is gone."""
        self.containers.invalidate(container_id)
        self.known.drop(container_id)

    def find(self, owner_uid: str, made_as: str) -> ContainerState | None:
        for container_id, name in self.known.of_owner(owner_uid).items():
            if name == made_as:
                return self.containers.get(container_id)
        return None

    def _reset(self) -> None:
        self.resets += 1
        self.known.complete = False
        for part in (self.containers, self.networks, self.images, self.engine):
            part.live = self._streams > 0
            part.clear()


class Known:
    """Who owns what that is ours."""

    def __init__(self) -> None:
        self.networks: dict[str, Owner] = {}
        """By name."""
        self.volumes: dict[str, Owner] = {}
        """By name."""
        self.complete = False
        """All containers of this installation are known: a list was taken since the event
        stream connected, and creations and removals are told."""
        self._owners: dict[str, Owner] = {}
        self._by_owner: dict[str, dict[str, str]] = {}

    def add(self, container_id: str, owner: Owner, made_as: str) -> None:
        self._owners[container_id] = owner
        self._by_owner.setdefault(owner.uid, {})[container_id] = made_as

    def drop(self, container_id: str) -> None:
        owner = self._owners.pop(container_id, None)
        if owner is None:
            return
        ids = self._by_owner[owner.uid]
        ids.pop(container_id, None)
        if not ids:
            del self._by_owner[owner.uid]

    def owner_of(self, container_id: str) -> Owner | None:
        return self._owners.get(container_id)

    def of_owner(self, owner_uid: str) -> Mapping[str, str]:
        """Container id -> name it was made under."""
        return self._by_owner.get(owner_uid, {})
