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
LOAD_TIMEOUT_S: Final = 600.0
"""8 GiB from a slow disk at 20 MB/s take 400 s."""


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
            async with self.busy, asyncio.timeout(timeout_s):
                return await self._ask(server, method, path, body)
        except (OSError, TimeoutError, aiohttp.ClientError):
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
