"""HTTP calls to model servers, and what their answers mean as errors.py types."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from controlplane.errors import RetryableError
from drivers.models import ModelServer

ANSWER_BYTES: Final = 4 << 20
"""A list of a thousand models is 0.5 MB."""
TIMEOUT_S: Final = 10.0
LOAD_TIMEOUT_S: Final = 30.0
"""Loading takes minutes from a slow disk, and goes on beside: no pass waits for its end."""
LOADED_WITHIN_S: Final = 900.0
"""16 GiB from a slow disk at 20 MB/s take 860 s."""


@dataclass(frozen=True, slots=True)
class Reply:
    """Status and JSON object of one answer."""

    status: int
    body: Mapping[str, Any]


@dataclass(slots=True)
class Calls:
    """One connection pool, opened when it is first needed."""

    session: aiohttp.ClientSession | None = None
    busy: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(32))

    def opened(self) -> aiohttp.ClientSession:
        if self.session is None:
            # no total: a pull takes hours; each call states its own
            self.session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None))
        return self.session

    async def aclose(self) -> None:
        if self.session is not None:
            await self.session.close()
            self.session = None

    async def ask(
        self,
        server: ModelServer,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> Reply | None:
        """One call. None: nothing answers there. Raises RetryableError (BadAnswer) for what is no
        JSON object."""
        try:
            return await self._in_time(server, method, path, body, timeout_s)
        except TimeoutError:
            return None

    async def load(
        self, server: ModelServer, path: str, body: Mapping[str, Any] | None = None
    ) -> Reply | None:
        """A POST that loads a model. Raises RetryableError (Loading) while it takes longer than a
        pass should wait."""
        try:
            return await self._in_time(server, "POST", path, body, LOAD_TIMEOUT_S)
        except TimeoutError:
            raise loading() from None

    async def _in_time(
        self,
        server: ModelServer,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        timeout_s: float,
    ) -> Reply | None:
        try:
            async with self.busy, asyncio.timeout(timeout_s):
                return await self._ask(server, method, path, body)
        except TimeoutError:
            raise
        except (OSError, aiohttp.ClientError):
            return None

    async def _ask(
        self, server: ModelServer, method: str, path: str, body: Mapping[str, Any] | None
    ) -> Reply:
        url = server.url.rstrip("/") + path
        async with self.opened().request(
            method, url, json=body, headers=bearer(server), allow_redirects=False
        ) as answer:
            raw = await answer.content.read(ANSWER_BYTES)
            while not answer.content.at_eof() and len(raw) < ANSWER_BYTES:
                raw += await answer.content.read(ANSWER_BYTES)
            return Reply(answer.status, _object(raw, answer.status, path))


def bearer(server: ModelServer) -> dict[str, str]:
    return {"Authorization": f"Bearer {server.key}"} if server.key else {}


def _object(raw: bytes, status: int, path: str) -> Mapping[str, Any]:
    """The JSON object; an empty answer is an empty one."""
    if not raw.strip():
        return {}
    try:
        found = json.loads(raw)
    except ValueError:
        found = None
    if isinstance(found, dict):
        return found
    if status >= 400:  # an error page: its status says enough
        return {}
    raise bad_answer(path, "not a JSON object")


def bad_answer(path: str, what: str) -> RetryableError:
    return RetryableError(
        f"cannot use the model server's answer to {path}: it is {what}", reason="BadAnswer"
    )


def loading() -> RetryableError:
    return RetryableError(
        "cannot use the model yet: it is being loaded", reason="Loading", retry_after_s=5.0
    )


def unavailable(what: str) -> RetryableError:
    return RetryableError(
        f"cannot {what}: the model server does not answer", reason="ServerUnavailable"
    )


def told(body: Mapping[str, Any]) -> str:
    """The error a server tells, as one line of at most 200 characters."""
    error = body.get("error", "")
    text = error.get("message", "") if isinstance(error, Mapping) else error
    return " ".join(str(text).split())[:200]


def number(value: object) -> int:
    """A count from somebody else's JSON; anything else is 0."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
