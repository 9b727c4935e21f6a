"""Runs the blocking SDK on threads of its own, so that the event loop never waits for Docker.

Two bounded pools: quick calls (inspect, list, create) are not held up behind slow ones (stop,
start, pull, exec), which take seconds each. Starts have a limit of their own.
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from drivers.docker_errors import EngineError, EngineRefusedError, translate

if TYPE_CHECKING:
    from drivers.docker_sdk import Engine

T = TypeVar("T")
Pool = Literal["quick", "slow", "start"]

QUICK_THREADS: Final = 8
SLOW_THREADS: Final = 8


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
    starts: int = 2
    """Container starts at once; about as many as cores. 16 starts on 2 cores took 3.8 s two at
    a time, 5.6 s one by one, 7.5 s all at once."""
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
        self._quick = ThreadPoolExecutor(QUICK_THREADS, thread_name_prefix="docker-quick")
        self._slow = ThreadPoolExecutor(SLOW_THREADS, thread_name_prefix="docker-slow")
        self._starts = asyncio.Semaphore(config.starts)

    @cached_property
    def engine(self) -> "Engine":
        """Ask for it on a thread: the first time imports the SDK, 0.1 s that no start waits for."""
        from drivers.docker_sdk import Engine

        pool_size = QUICK_THREADS + SLOW_THREADS + 2
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
            if pool != "start":
                return await self._on(self._quick if pool == "quick" else self._slow, call)
            async with self._starts:
                return await self._on(self._slow, call)
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

    async def _on(self, pool: ThreadPoolExecutor, call: Callable[[], T]) -> T:
        return await _finish(asyncio.get_running_loop().run_in_executor(pool, call))

    def close(self) -> None:
        self._quick.shutdown(wait=False, cancel_futures=True)
        self._slow.shutdown(wait=False, cancel_futures=True)
        if "engine" in self.__dict__:
            self.engine.close()


async def _finish(future: asyncio.Future[T]) -> T:
    # A thread cannot be stopped. Were the caller let go at once, its record's next pass could
    # run while this call still acts; so the first cancellation is held until the thread ends
    # (the SDK's timeout bounds that). A second one is let through: shutdown must end.
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if not future.done():
            await asyncio.wait([future])
        if not future.cancelled():
            future.exception()  # retrieved, or the loop would report it as lost
        raise
