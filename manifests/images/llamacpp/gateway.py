"""The endpoint: OpenAI's chat, completions and embeddings, for who holds the key; it streams.

https://platform.openai.com/docs/api-reference. Bodies and answers pass through as they are.
"""

import asyncio
import contextlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from engine import LoadError

PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")
BODY_BYTES = 16 << 20
"""A long context with an image in it takes a few MiB."""
PASSED_ON = ("Content-Type", "Cache-Control")
TOLD_EVERY_S = 10.0
"""A small part of the five minutes from which on there is anything to tell."""
TOLD_WITHIN_S = 30.0
"""It answers at once while the model is in memory; without an end it would wait for a load."""

Backend = Callable[[], "contextlib.AbstractAsyncContextManager[str]"]
"""Gives the base URL of a server that has the model, for as long as the block lasts."""


def refusal(status: int, code: str, message: str) -> web.Response:
    """An error as OpenAI's clients expect it."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    headers |= {"Retry-After": "5"} if status == 503 else {}
    return web.json_response(body, status=status, headers=headers)


def admitted(request: web.Request, file: Path) -> bool:
    """Whether the request carries the key in `file`, which is read anew: a rotated one counts at
    once."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    try:
        key = file.read_bytes().strip()
    except OSError:
        return False
    fits = hmac.compare_digest(given.strip().encode(errors="replace"), key)
    return bool(key) and scheme.lower() == "bearer" and fits


@dataclass
class Lingering:
    """Has an Ollama keep the model in memory for longer than it does by itself.

    Its own paths take `keep_alive`, OpenAI's don't, and what those load stays for as long as the
    server was started with (https://github.com/ollama/ollama/blob/main/docs/api.md). A request
    without a prompt sets it, beside the client's: that neither waits for it nor sees it fail.
    """

    upstream: str
    inner: str
    keep_alive_s: int
    session: aiohttp.ClientSession
    used: bool = False
    """Since it was last told."""
    telling: "asyncio.Task[None] | None" = None

    def note_use(self) -> None:
        self.used = True
        if self.telling is None or self.telling.done():
            self.telling = asyncio.get_running_loop().create_task(self._tell())

    async def _tell(self) -> None:
        """Now, and once more after further uses: one of them may have loaded it anew."""
        while self.used:
            self.used = False
            # the next use tells it again
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                await self._keep()
            await asyncio.sleep(TOLD_EVERY_S)

    async def _keep(self) -> None:
        """A model for embeddings alone refuses the first way with 400."""
        body = {"model": self.inner, "keep_alive": self.keep_alive_s}
        timeout = aiohttp.ClientTimeout(total=TOLD_WITHIN_S)
        ways = {"/api/generate": {"stream": False}, "/api/embed": {"input": ""}}
        for path, more in ways.items():
            async with self.session.post(
                self.upstream + path, json={**body, **more}, timeout=timeout
            ) as answer:
                if answer.status != 400:
                    return

    def close(self) -> None:
        if self.telling is not None:
            self.telling.cancel()


@dataclass
class Gateway:
    """`name` is what clients call the model, `inner` what the server behind calls it."""

    name: str
    inner: str
    key: Path
    backend: Backend
    session: aiohttp.ClientSession
    lingering: Lingering | None = None
    """None: the server behind keeps the model for as long as it should by itself."""

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v1/models", self.models),
            web.get("/v1/models/{name}", self.models),
            *(web.post(path, self.forward) for path in PATHS),
        ]

    async def models(self, request: web.Request) -> web.Response:
        if not admitted(request, self.key):
            return refusal(401, "invalid_api_key", "the API key is missing or wrong")
        entry = {"id": self.name, "object": "model", "created": 0, "owned_by": "bunker"}
        asked = request.match_info.get("name")
        if asked is None:
            return web.json_response({"object": "list", "data": [entry]})
        return web.json_response(entry) if asked == self.name else self._unknown(asked)

    def _unknown(self, name: object) -> web.Response:
        message = f"the model {name!r} does not exist; this endpoint serves '{self.name}'"
        return refusal(404, "model_not_found", message)

    async def forward(self, request: web.Request) -> web.StreamResponse:
        if not admitted(request, self.key):
            return refusal(401, "invalid_api_key", "the API key is missing or wrong")
        try:
            body: Any = json.loads(await request.read())
            name = body["model"]
        except (ValueError, KeyError, TypeError):
            return refusal(400, "invalid_body", "write a JSON object with 'model' in it")
        if name != self.name:
            return self._unknown(name)
        body["model"] = self.inner
        try:
            async with self.backend() as base:
                return await self._pass(request, base + request.path, json.dumps(body).encode())
        except LoadError as error:
            return refusal(503, error.reason, f"the model can't be loaded: {error.message}")
        except aiohttp.ClientError:
            return refusal(502, "backend_unavailable", "the model server does not answer")

    async def _pass(self, request: web.Request, url: str, body: bytes) -> web.StreamResponse:
        headers = {"Content-Type": "application/json"}
        async with self.session.post(url, data=body, headers=headers) as answer:
            kept = {key: answer.headers[key] for key in PASSED_ON if key in answer.headers}
            reply = web.StreamResponse(status=answer.status, headers=kept)
            await reply.prepare(request)
            if self.lingering is not None and answer.status < 400:
                self.lingering.note_use()  # it answers, so it is in memory
            # A client that leaves ends this with an error, which closes the connection behind,
            # and the server stops generating.
            try:
                async for chunk in answer.content.iter_any():
                    await reply.write(chunk)
            except aiohttp.ClientError:
                # too late for a status: the client sees the stream end without its last event
                if request.transport is not None:
                    request.transport.abort()
                return reply
            await reply.write_eof()
            return reply


@contextlib.asynccontextmanager
async def fixed(base: str) -> AsyncIterator[str]:
    """A server that is somebody else's to run."""
    yield base
