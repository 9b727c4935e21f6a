"""Images of the Docker driver: what is there, and getting what isn't."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

from controlplane.errors import RetryableError
from drivers.containers import ImageState
from drivers.docker_cache import InspectCache
from drivers.docker_calls import DockerCalls
from drivers.docker_errors import one_line
from drivers.docker_inspect import image_state

BUILT_HERE: Final = "bunker.local/"
"""What scripts/images names the images that it builds."""
LOOK_AGAIN_S: Final = 5.0
"""At first; then with the engine's backoff, a registry at most every five minutes."""


class DockerImages:
    """The image verbs of Containers."""

    def __init__(self, calls: DockerCalls, cache: InspectCache) -> None:
        self._calls = calls
        self._cache = cache.images
        self._one_at_a_time: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def observe(self, reference: str) -> ImageState | None:
        cached = self._cache.get(reference)
        if cached is not None:
            return cached
        stamp = self._cache.stamp()
        raw = await self._calls.read(f"inspect image '{reference}'", "/images/{}/json", reference)
        if raw is None:
            return None
        state = image_state(reference, raw)
        self._cache.put(reference, state, stamp)
        return state

    async def ensure(self, reference: str) -> ImageState:
        async with self._one_at_a_time[reference]:
            found = await self.observe(reference)
            if found is not None:
                return found
            if self._calls.config.images == "local":
                raise _absent(
                    f"cannot find image '{reference}': it is not on this host and CP_IMAGES is"
                    f" 'local'; {_way_out(reference)}"
                )
            self._calls.guard()
            await self._calls.run(
                f"pull image '{reference}'", "pull", lambda: self._pull(reference)
            )
            found = await self.observe(reference)
        if found is None:
            raise RetryableError(
                f"cannot pull image '{reference}': the engine said it did, and has none",
                reason="PullFailed",
            )
        return found

    def _pull(self, reference: str) -> None:
        # A failed pull ends with status 200: the error is a message in the stream.
        failure = pull_failure(reference, self._calls.engine.pull(reference))
        if failure is not None:
            raise failure


def _absent(message: str) -> RetryableError:
    """Somebody may well build or push it after the record was written."""
    return RetryableError(message, retry_after_s=LOOK_AGAIN_S, reason="ImageNotFound")


def _way_out(reference: str) -> str:
    if reference.startswith(BUILT_HERE):
        return "build it: scripts/images --all, or --only with its name in scripts/images --list"
    return "build, load or pull it here, or set CP_IMAGES to 'upstream'"


def pull_failure(reference: str, messages: Iterable[Mapping[str, Any]]) -> RetryableError | None:
    """The first error among a pull's messages. By message: the stream has no status codes."""
    for message in messages:
        if "error" in message:
            text = str(message["error"])
            told = f"cannot pull image '{reference}': {one_line(text)}"
            absent = ("not found", "manifest unknown", "access denied", "does not exist")
            if any(word in text for word in absent):
                return _absent(told)
            return RetryableError(told, retry_after_s=5.0, reason="PullFailed")
    return None
