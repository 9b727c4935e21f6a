"""Keeps the board of Pods: follows the engine's containers and the records they belong to.

What is shown is always worked out anew from both (level-based); events only say what to look at
again. And the ways into a Pod: which container it is, looked up here and nowhere else.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

from controlplane.clock import Clock
from controlplane.engine.board import Board
from controlplane.errors import (
    ControlPlaneError,
    DriverUnavailableError,
    NotFoundError,
    SlowReaderError,
)
from controlplane.records import Change, Key, Stored, Subscription, View
from controlplane.streams import PodRef
from drivers.containers import Containers, ContainerState, OwnerChanged
from reconcilers._pods import POD, facts_of, pod_uid, pods_of

_log = structlog.get_logger(__name__)

_ALL: Final = ""
_RETRY_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class _Shown:
    """What is shown of one record."""

    key: Key
    states: tuple[ContainerState, ...]
    pods: frozenset[Key]


@dataclass(slots=True)
class PodBoard:
    """Pods and the containers behind them; implements streams.PodViews."""

    containers: Containers
    records: View
    kinds: frozenset[str]
    """Kinds that may own containers."""
    clock: Clock
    board: Board
    _by_uid: dict[str, _Shown] = field(default_factory=dict)
    _dirty: dict[str, None] = field(default_factory=dict)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _containers: dict[str, ContainerState] = field(default_factory=dict)
    """By Pod uid."""
    _complete: bool = False

    @property
    def view(self) -> View:
        return self.board.view

    def require(self) -> None:
        if not self._complete:
            raise DriverUnavailableError("docker", "cannot list Pods: the Docker engine is away")

    def container_of(self, pod: PodRef) -> ContainerState:
        """The container behind a Pod, as last seen. Raises NotFoundError."""
        shown = self.board.view.get(Key(POD, pod.namespace, pod.name))
        state = self._containers.get(pod.uid)
        if shown is None or shown.uid != pod.uid or state is None:
            raise NotFoundError(f"cannot reach Pod '{pod.name}': it is gone")
        return state

    async def run(self) -> None:
        """Follow, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_engine(self.containers.events), name="pods-engine")
            tasks.create_task(self._follow_records(), name="pods-records")
            tasks.create_task(self._refresh(), name="pods-refresh")

    async def _follow_engine(self, events: Callable[[], AsyncIterator[OwnerChanged]]) -> None:
        stream = events()
        async for changed in stream:
            self._look_at(changed.owner.uid if changed.owner is not None else _ALL)

    async def _follow_records(self) -> None:
        while True:
            changes = self.records.watch(self.kinds, self.records.revision)
            for uid in tuple(self._by_uid):
                self._show(uid)
            try:
                await self._read(changes)
            except SlowReaderError:
                continue  # all are shown anew
            finally:
                changes.close()

    async def _read(self, changes: Subscription) -> None:
        async for change in changes:
            self._record_changed(change)

    def _record_changed(self, change: Change) -> None:
        if change.after.uid in self._by_uid:
            self._show(change.after.uid)

    def _look_at(self, uid: str) -> None:
        self._dirty[uid] = None
        self._wake.set()

    async def _refresh(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._dirty:
                uid = next(iter(self._dirty))
                del self._dirty[uid]
                try:
                    await self._list(uid)
                except ControlPlaneError:
                    self._complete = self._complete and uid != _ALL
                    await self.clock.sleep(_RETRY_S)
                    self._dirty.setdefault(uid)

    async def _list(self, uid: str) -> None:
        if uid:
            self._take(uid, await self.containers.list_containers(uid))
            return
        by_uid: dict[str, list[ContainerState]] = {known: [] for known in self._by_uid}
        for state in await self.containers.list_containers():
            if state.owner is not None:
                by_uid.setdefault(state.owner.uid, []).append(state)
        for owner_uid, states in by_uid.items():
            self._take(owner_uid, tuple(states))
        self._complete = True

    def _take(self, uid: str, states: tuple[ContainerState, ...]) -> None:
        before = self._by_uid.get(uid)
        for state in before.states if before else ():
            self._containers.pop(pod_uid(state.id), None)
        owner = states[0].owner if states else None
        if owner is None:
            self._by_uid.pop(uid, None)
            if before is not None:
                self.board.show(before.pods, {})
            return
        self._containers |= {pod_uid(state.id): state for state in states}
        key = Key(owner.kind, owner.namespace, owner.name)
        self._by_uid[uid] = _Shown(key, states, before.pods if before else frozenset())
        self._show(uid)

    def _show(self, uid: str) -> None:
        shown = self._by_uid[uid]
        now = self._pods(uid, shown)
        # a Pod of another record under the same name stays that record's
        mine = {k: s for k, s in now.items() if k in shown.pods or self.board.view.get(k) is None}
        self.board.show(shown.pods, mine)
        self._by_uid[uid] = _Shown(shown.key, shown.states, frozenset(mine))

    def _pods(self, uid: str, shown: _Shown) -> dict[Key, Stored]:
        try:
            return pods_of(shown.states, facts_of(self._record(shown.key, uid)))
        except Exception:  # noqa: BLE001  # one bad record must not end the board, and the process
            _log.exception("pods_not_shown", record=str(shown.key))
            return {}

    def _record(self, key: Key, uid: str) -> Stored | None:
        stored = self.records.get(key)
        return stored if stored is not None and stored.uid == uid else None
