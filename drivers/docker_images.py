"""Images of the Docker driver: what is there, and getting what isn't."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from controlplane.errors import ControlPlaneError, RetryableError, TerminalError
from drivers.containers import ImageState
from drivers.docker_cache import InspectCache
from drivers.docker_calls import DockerCalls
from drivers.docker_errors import one_line
from drivers.docker_inspect import image_state


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
                raise TerminalError(
                    f"cannot find image '{reference}': it is not on this host and CP_IMAGES is"
                    " 'local'; build it with scripts/images",
                    reason="ImageNotFound",
                )
            self._calls.guard()
            await self._calls.run(
                f"pull image '{reference}'", "slow", lambda: self._pull(reference)
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


def pull_failure(reference: str, messages: Iterable[Mapping[str, Any]]) -> ControlPlaneError | None:
    """The first error among a pull's messages. By message: the stream has no status codes."""
    for message in messages:
        if "error" in message:
            text = str(message["error"])
            told = f"cannot pull image '{reference}': {one_line(text)}"
            absent = ("not found", "manifest unknown", "access denied", "does not exist")
            if any(word in text for word in absent):
                return TerminalError(told, reason="ImageNotFound")
            return RetryableError(told, retry_after_s=5.0, reason="PullFailed")
    return None
