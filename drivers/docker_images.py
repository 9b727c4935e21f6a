"""Images of the Docker driver: what is there, and getting what isn't."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from controlplane.errors import RetryableError, UnderWayError
from drivers.containers import ImageState
from drivers.docker_cache import InspectCache
from drivers.docker_calls import APART, DockerCalls
from drivers.docker_errors import EngineRefusedError, EngineTimeoutError, is_stopping, one_line
from drivers.docker_inspect import image_state

BUILT_HERE: Final = "bunker.local/"
"""What scripts/images names the images that it builds: no registry has them."""
_BUILD: Final = "build it: scripts/images --all, or --only with its name in scripts/images --list"
LOOK_AGAIN_S: Final = 5.0
"""At first; then with the engine's backoff, a registry at most every five minutes."""
PULLS: Final = APART
"""At once. The engine itself fetches three layers at once (dockerd: max-concurrent-downloads)."""
PULL_WAIT_S: Final = 1.0
"""How long the first that asks is kept by a pull. It goes on without: meanwhile its record may be
edited or deleted, and the worker has others to heal."""
PULL_LOOK_S: Final = 2.0
_REGISTRY_STATUS: Final = (404, 500)
"""What the engine answers with when the registry has it not, or can't be asked."""


@dataclass(slots=True)
class _Pull:
    """One under way, or one that failed a moment ago: all that ask for the image are told."""

    task: asyncio.Task[None]
    failed_s: float | None = None
    """By the loop's clock."""


class DockerImages:
    """The image verbs of Containers."""

    def __init__(self, calls: DockerCalls, cache: InspectCache) -> None:
        self._calls = calls
        self._cache = cache.images
        self._pulls: dict[str, _Pull] = {}
        self._turns = asyncio.Semaphore(PULLS)

    async def observe(self, reference: str) -> ImageState | None:
        known = self._cache.get(reference)
        if known is None:
            return await self._look(reference)
        return known[0] if known else None

    async def _look(self, reference: str) -> ImageState | None:
        stamp = self._cache.stamp()
        raw = await self._calls.read(f"inspect image '{reference}'", "/images/{}/json", reference)
        state = None if raw is None else image_state(reference, raw)
        self._cache.put(reference, () if state is None else (state,), stamp)
        return state

    async def ensure(self, reference: str) -> ImageState:
        # not by what is remembered of one that was absent: what makes images may tell nobody
        known = self._cache.get(reference)
        found = known[0] if known else await self._look(reference)
        if found is not None:
            return found
        if reference.startswith(BUILT_HERE):
            raise _absent(f"cannot find image '{reference}': it is not on this host; {_BUILD}")
        if self._calls.config.images == "local":
            raise _absent(
                f"cannot find image '{reference}': it is not on this host and CP_IMAGES is"
                " 'local'; build, load or pull it here, or set CP_IMAGES to 'upstream'"
            )
        pull, wait_s = self._pulls.get(reference), 0.0
        if pull is None or self._is_stale(pull):
            self._calls.guard()
            pull, wait_s = self._begin(reference), PULL_WAIT_S
        await asyncio.wait([pull.task], timeout=wait_s)
        if not pull.task.done():
            raise UnderWayError(
                f"image '{reference}' is being pulled", reason="Pulling", look_again_s=PULL_LOOK_S
            )
        await pull.task
        found = await self._look(reference)
        if found is None:
            raise RetryableError(
                f"cannot pull image '{reference}': the engine said it did, and has none",
                reason="PullFailed",
            )
        return found

    def close(self) -> None:
        """Nobody waits for pulls any more; the engine ends them when the process does."""
        for pull in self._pulls.values():
            pull.task.cancel()

    def _begin(self, reference: str) -> _Pull:
        task = asyncio.ensure_future(self._pulled(reference))
        pull = self._pulls[reference] = _Pull(task)

        def over(_: asyncio.Task[None]) -> None:
            if task.cancelled() or task.exception() is None:
                self._pulls.pop(reference, None)
            else:
                pull.failed_s = task.get_loop().time()

        task.add_done_callback(over)
        return pull

    def _is_stale(self, pull: _Pull) -> bool:
        now_s = asyncio.get_running_loop().time()
        return pull.failed_s is not None and now_s - pull.failed_s >= LOOK_AGAIN_S

    async def _pulled(self, reference: str) -> None:
        async with self._turns:
            what = f"pull image '{reference}'"
            await self._calls.run_apart(what, lambda: self._pull(reference))

    def _pull(self, reference: str) -> None:
        try:
            failure = pull_failure(reference, self._calls.engine.pull(reference))
        except EngineRefusedError as exc:
            if exc.status not in _REGISTRY_STATUS or is_stopping(str(exc)):
                raise
            failure = _pull_error(reference, str(exc))
        except EngineTimeoutError:
            failure = _pull_error(
                reference, "the engine long told nothing of it; is its registry up?"
            )
        if failure is not None:
            raise failure


def _absent(message: str) -> RetryableError:
    """Somebody may well build or push it after the record was written."""
    return RetryableError(message, retry_after_s=LOOK_AGAIN_S, reason="ImageNotFound")


def pull_failure(reference: str, messages: Iterable[Mapping[str, Any]]) -> RetryableError | None:
    """The first error among a pull's messages. One that failed after it began ends with status
    200: the error is a message in the stream."""
    for message in messages:
        if "error" in message:
            return _pull_error(reference, str(message["error"]))
    return None


def _pull_error(reference: str, text: str) -> RetryableError:
    """By message: it is the registry's, and what a stream tells has no status code."""
    told = f"cannot pull image '{reference}': {one_line(text)}"
    absent = ("not found", "manifest unknown", "access denied", "does not exist")
    if any(word in text for word in absent):
        return _absent(told)
    return RetryableError(told, retry_after_s=LOOK_AGAIN_S, reason="PullFailed")
