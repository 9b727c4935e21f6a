"""Containers of the Docker driver: finding them, and running those that are made.

Making and correcting them is docker_ensure.py's.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

from controlplane.errors import ConflictError, RetryableError
from drivers.containers import (
    LABEL_CONTAINER,
    LABEL_INSTANCE,
    LABEL_UID,
    ContainerState,
)
from drivers.docker_cache import InspectCache
from drivers.docker_calls import DockerCalls, Pool
from drivers.docker_exec import run_exec
from drivers.docker_inspect import container_state

Json = Mapping[str, Any]


@dataclass(eq=False)
class _Look:
    """An inspection under way, and what is known of changes since it began."""

    stamp: int
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class DockerRunning:
    """The container verbs of Containers, but ensure."""

    def __init__(self, calls: DockerCalls, cache: InspectCache) -> None:
        self._calls = calls
        self._cache = cache
        self._instance = calls.config.instance
        self._swap_limited: bool | None = None
        self._looks: WeakValueDictionary[str, _Look] = WeakValueDictionary()

    async def observe(self, name: str, owner_uid: str) -> ContainerState | None:
        return self._cache.find(owner_uid, name) or await self.find(name, owner_uid)

    async def list(self, owner_uid: str | None) -> tuple[ContainerState, ...]:
        states = await asyncio.gather(
            *(self._cached_or_inspected(each) for each in await self._ids(owner_uid))
        )
        # Gone between list and inspect: not there.
        return tuple(sorted((s for s in states if s is not None), key=lambda s: s.name))

    async def _ids(self, owner_uid: str | None) -> Sequence[str]:
        if owner_uid is None:
            return [str(raw["Id"]) for raw in await self.raw_list("list containers")]
        if self._cache.known.complete:
            return tuple(self._cache.known.of_owner(owner_uid))
        raws = await self.raw_list("list containers", f"{LABEL_UID}={owner_uid}")
        return [str(raw["Id"]) for raw in raws]

    def surely_absent(self, name: str, owner_uid: str) -> bool:
        """True if, as far as events tell, this owner has none of that name nor made under it."""
        known = self._cache.known
        return known.complete and name not in known.of_owner(owner_uid).values()

    async def find(self, name: str, owner_uid: str) -> ContainerState | None:
        """Live, and remembered: by name, else by the name it was made under."""
        found = await self.inspect(name)
        if found is not None and self.is_ours(found, owner_uid):
            return found
        for container_id in await self._ids_made_as(name, owner_uid):
            found = await self.inspect(container_id)
            if found is not None:
                return found
        return None

    async def _ids_made_as(self, name: str, owner_uid: str) -> Sequence[str]:
        """Of containers that were made under `name`, the oldest first."""
        if self._cache.known.complete:
            # A list takes the engine about 1 ms a container: 50 starts at once would pay it
            # 100 times over.
            known = self._cache.known.of_owner(owner_uid)
            return [container_id for container_id, made_as in known.items() if made_as == name]
        raws = await self.raw_list(
            f"find container '{name}'", f"{LABEL_UID}={owner_uid}", f"{LABEL_CONTAINER}={name}"
        )
        ordered = sorted(raws, key=lambda raw: (int(raw["Created"]), str(raw["Id"])))
        return [str(raw["Id"]) for raw in ordered]

    async def _cached_or_inspected(self, container_id: str) -> ContainerState | None:
        known = self._cache.containers
        if (found := known.get(container_id)) is not None:
            return found
        look = self._looks.get(container_id)
        if look is None or known.overtaken(container_id, look.stamp):
            look = self._looks[container_id] = _Look(known.stamp())
        async with look.lock:  # several ask after each event; one of them asks the engine
            return known.get(container_id) or await self.inspect(container_id)

    async def inspect(self, name_or_id: str) -> ContainerState | None:
        if self._swap_limited is None:
            info = await self._calls.read("inspect the engine", "/info")
            self._swap_limited = bool(info.get("SwapLimit", True))
        stamp = self._cache.containers.stamp()
        raw = await self._calls.read(
            f"inspect container '{name_or_id}'", "/containers/{}/json", name_or_id
        )
        if raw is None:
            self._cache.forget(name_or_id)
            return None
        state = container_state(raw, swap_limited=self._swap_limited)
        if self.is_ours(state):
            self._cache.remember(state, stamp)
        return state

    async def raw_list(self, what: str, *labels: str) -> Sequence[Json]:
        wanted = {"label": [f"{LABEL_INSTANCE}={self._instance}", *labels]}
        found: Sequence[Json] = await self._calls.read(
            what, "/containers/json", query={"all": "1", "filters": json.dumps(wanted)}
        )
        return found

    def is_ours(self, state: ContainerState, owner_uid: str | None = None) -> bool:
        if state.owner is None or state.labels.get(LABEL_INSTANCE) != self._instance:
            return False
        return owner_uid is None or state.owner.uid == owner_uid

    async def start(self, container_id: str) -> None:
        self._cache.starting.add(container_id)
        try:
            # Already running: 304, which is no error.
            await self._act(container_id, "start", pool="start")
        except RetryableError as exc:
            if exc.reason != "WrongState":
                raise
            # "cannot start a paused container, try unpause instead"
            await self._act(container_id, "unpause")
        finally:
            self._cache.starting.discard(container_id)

    async def stop(self, container_id: str, timeout_s: int) -> None:
        state = await self.inspect(container_id)
        if state is not None and state.paused:
            # A frozen process never sees the signal, and would be killed after the timeout.
            await self._act(container_id, "unpause")
        await self._act(
            container_id, "stop", pool="slow", query={"t": str(timeout_s)}, extra_s=timeout_s
        )

    async def pause(self, container_id: str) -> None:
        state = await self.inspect(container_id)
        if state is None or not state.paused:
            await self._act(container_id, "pause")

    async def delete(self, container_id: str, stop_timeout_s: int) -> None:
        state = await self.inspect(container_id)
        if state is None:
            return
        if not self.is_ours(state):
            raise RetryableError(
                f"cannot remove container '{state.name}': it is somebody else's",
                retry_after_s=5.0,
                reason="NotOurs",
            )
        if state.running or state.restarting:
            try:
                await self.stop(state.id, stop_timeout_s)
            except ConflictError:
                return  # gone meanwhile
        try:
            # v: anonymous volumes would stay behind for ever. force: it may have been started
            # again since.
            await self._calls.act(
                f"remove container '{state.name}'",
                "DELETE",
                "/containers/{}",
                state.id,
                query={"v": "1", "force": "1"},
                pool="slow",
                absent_is_done=True,
            )
        finally:
            self._cache.containers.invalidate(state.id)

    async def exec(
        self,
        container_id: str,
        argv: tuple[str, ...],
        stdin: bytes,
        timeout_s: float,
        *,
        apart: bool,
    ) -> tuple[int, str]:
        def call() -> tuple[int, str]:
            return run_exec(self._calls.engine, container_id, argv, stdin, timeout_s)

        self._calls.guard()
        what = "run a command in the container"
        if apart:
            return await self._calls.run_apart(what, call)
        return await self._calls.run(what, "slow", call)

    async def _act(
        self,
        container_id: str,
        verb: str,
        *,
        pool: Pool = "quick",
        query: Mapping[str, str] | None = None,
        extra_s: float = 0.0,
    ) -> None:
        known = self._cache.containers.peek(container_id)
        try:
            await self._calls.act(
                f"{verb} container '{known.name if known else container_id[:12]}'",
                "POST",
                "/containers/{}/" + verb,
                container_id,
                query=query,
                pool=pool,
                extra_s=extra_s,
            )
        finally:
            # A start that was told of meanwhile has dropped what was known before it; who was
            # woken by that may have looked already, and one look is enough.
            if verb != "start" or container_id in self._cache.starting:
                self._cache.containers.invalidate(container_id)
