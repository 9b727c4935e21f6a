"""Runs the blocking SDK on threads of its own, so that the event loop never waits for Docker.

Bounded pools: quick calls (inspect, list, create) are not held up behind slow ones (stop, remove,
exec), which take seconds each, nor either behind starts. What takes minutes (pulls) has threads of
its own, with which the process can end.
"""

import asyncio
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from drivers.docker_errors import EngineError, EngineRefusedError, translate
from drivers.threads import on_thread

if TYPE_CHECKING:
    from drivers.docker_sdk import Engine

T = TypeVar("T")
Pool = Literal["quick", "slow", "start"]

QUICK_THREADS: Final = 8
SLOW_THREADS: Final = 8
APART: Final = 4
"""Calls that take minutes, at once: each keeps a connection."""


@dataclass(frozen=True, slots=True)
class DockerConfig:
    """What the driver needs to know of its installation."""

    instance: str
    """Label value that tells this installation's objects from another's."""
    secrets_root: str = "/run/bunker/secrets"
    """The only host folder whose children may be mounted."""
    images: Literal["upstream", "local"] = "upstream"
    """Whether a missing image is pulled, or must have been built here."""
    url: str = "unix:///var/run/docker.sock"
    starts: int = 16
    """Container starts at once. A start mostly waits: for the kernel and, the smaller its CPU
    limit, for its own next turn (20m: 2 ms of each 100). 16 redis on 2 busy cores, with 20m each:
    one by one 19.9 s, 2 at once 11.5 s, 4 8.8 s, 8 7.3 s, 16 6.3 s; with a core each 11.0, 7.4,
    6.7, 5.7, 6.7 s. Each costs the same 0.22 s of CPU, however many there are."""
    timeout_s: float = 20.0
    """Of one call to the engine; lower than a reconcile pass's, as a thread can't be stopped."""
    verify_s: float = 60.0
    """How often the event stream is checked against a list: the engine drops events."""


class DockerCalls:
    """One engine, its thread pools, and the translation of its errors."""

    def __init__(
        self, config: DockerConfig, guard: Callable[[], int], engine: "Engine | None" = None
    ) -> None:
        self.config = config
        self._given = engine
        self.guard = guard
        """The epoch under which this process may act; raises StaleEpochError once it may not."""
        threads: dict[Pool, int] = {
            "quick": QUICK_THREADS,
            "slow": SLOW_THREADS,
            "start": config.starts,
        }
        self._pools = {
            pool: ThreadPoolExecutor(count, thread_name_prefix=f"docker-{pool}")
            for pool, count in threads.items()
        }

    @cached_property
    def engine(self) -> "Engine":
        """Ask for it on a thread: the first time imports the SDK, 0.1 s that no start waits for."""
        from drivers.docker_sdk import Engine

        pool_size = QUICK_THREADS + SLOW_THREADS + self.config.starts + APART + 2
        return self._given or Engine(
            self.config.url, timeout_s=self.config.timeout_s, pool_size=pool_size
        )

    async def read(
        self, what: str, path: str, *args: str, query: Mapping[str, str] | None = None
    ) -> Any:
        """GET; None where the engine has no such thing. `what` as in "inspect container 'x'"."""
        return await self._run(
            what, "quick", (404,), lambda: self.engine.call("GET", path, *args, query=query)
        )

    async def act(
        self,
        what: str,
        method: Literal["POST", "DELETE"],
        path: str,
        *args: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        pool: Pool = "quick",
        absent_is_done: bool = False,
        extra_s: float = 0.0,
    ) -> Any:
        """Change something, if this process still leads. `extra_s`: how much longer than usual
        it may take (a graceful stop)."""
        self.guard()
        return await self._run(
            what,
            pool,
            (404,) if absent_is_done else (),
            lambda: self.engine.call(
                method,
                path,
                *args,
                query=query,
                body=body,
                timeout_s=self.config.timeout_s + extra_s,
            ),
        )

    async def run(self, what: str, pool: Pool, call: Callable[[], T], /) -> T:
        """Run any blocking call on a pool, its errors translated."""
        try:
            return await on_thread(call, pool=self._pools[pool])
        except EngineError as exc:
            raise translate(exc, what) from exc

    async def run_apart(self, what: str, call: Callable[[], T], /) -> T:
        """Run a call that takes minutes on a thread of its own. Whoever is cancelled is let go at
        once, and neither they nor the end of the process wait for it: for what may act on."""
        result: Future[T] = Future()

        def work() -> None:
            if not result.set_running_or_notify_cancel():
                return
            try:
                result.set_result(call())
            except BaseException as exc:  # noqa: BLE001  # raised where it is awaited
                result.set_exception(exc)

        threading.Thread(target=work, name="docker-apart", daemon=True).start()
        try:
            return await asyncio.wrap_future(result)
        except EngineError as exc:
            raise translate(exc, what) from exc

    async def _run(
        self, what: str, pool: Pool, fine: tuple[int, ...], call: Callable[[], Any]
    ) -> Any:
        def tolerant() -> Any:
            try:
                return call()
            except EngineRefusedError as exc:
                if exc.status in fine:
                    return None
                raise

        return await self.run(what, pool, tolerant)

    def close(self) -> None:
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)
        if "engine" in self.__dict__:
            self.engine.close()
