"""Ollama's HTTP API over llama.cpp: what the platform's driver and its gateways use, and no more.

https://github.com/ollama/ollama/blob/main/docs/api.md. Prompts go to /v1 (OpenAI's paths, which
Ollama has too); /api/generate and /api/chat only load and unload here.
"""

import asyncio
import contextlib
import json
import os
import re
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from engine import Engine, LoadError
from library import Library, full

VERSION = "0.12.6-llamacpp"
BODY_BYTES = 16 << 20
TEND_S = 1.0
FOREVER_S = 290 * 365 * 86_400.0
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(given: object) -> float:
    """A keep_alive: a number of seconds or a duration as Go writes it; below 0 is for ever."""
    if isinstance(given, int | float) and not isinstance(given, bool):
        return float(given)
    found = re.fullmatch(r"(-?[0-9.]+)(ms|s|m|h)?", str(given))
    if found is None:
        raise ValueError(f"{given!r} is no duration")
    return float(found[1]) * _UNITS[found[2] or "s"]


def refused(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status)


class Host:
    """The API. One model in memory at a time: another one's turn ends the idle one's."""

    def __init__(self, library: Library, context: int, keep_alive_s: float) -> None:
        self.models, self.context, self.keep_alive_s = library, context, keep_alive_s
        self.engines: dict[str, Engine] = {}
        self.session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(sock_connect=10))

    def routes(self) -> list[web.RouteDef]:
        passed = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")
        return [
            web.get("/api/version", self.version),
            web.get("/api/tags", self.tags),
            web.get("/api/ps", self.ps),
            web.post("/api/show", self.show),
            web.post("/api/pull", self.pull),
            web.post("/api/copy", self.copy),
            web.delete("/api/delete", self.delete),
            *(web.post(f"/api/{verb}", self.keep) for verb in ("generate", "chat", "embed")),
            *(web.post(path, self.forward) for path in passed),
        ]

    async def version(self, _: web.Request) -> web.Response:
        return web.json_response({"version": VERSION})

    def _entry(self, name: str, entry: dict[str, Any]) -> dict[str, Any]:
        digest = entry["digest"].removeprefix("sha256:")
        details = {"format": "gguf", "family": "", "families": [], "parameter_size": ""}
        return {"name": name, "model": name, **entry, "digest": digest, "details": details}

    async def tags(self, _: web.Request) -> web.Response:
        listed = [self._entry(name, entry) for name, entry in self.models.here().items()]
        return web.json_response({"models": listed})

    async def ps(self, _: web.Request) -> web.Response:
        listed = []
        for name, entry in self.models.here().items():
            engine = self.engines.get(name)
            if engine is None or not engine.loaded:
                continue
            idle = FOREVER_S if engine.keep_alive_s < 0 else engine.keep_alive_s
            left_s = idle - (time.monotonic() - engine.used_at)
            expires = (datetime.now(UTC) + timedelta(seconds=left_s)).isoformat()
            more = {"expires_at": expires, "size_vram": 0, "context_length": self.context}
            listed.append({**self._entry(name, entry), **more})
        return web.json_response({"models": listed})

    async def show(self, request: web.Request) -> web.Response:
        _, name = await self._named(request)
        return web.json_response({"model_info": {"name": name}, "capabilities": ["completion"]})

    async def pull(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        name, insecure = full(str(body.get("model"))), body.get("insecure") is True
        pulled = self.models.pull(name, datetime.now(UTC).isoformat(), insecure=insecure)
        async with contextlib.aclosing(pulled) as lines:
            if body.get("stream") is False:
                return await self._pulled(request, lines)
            reply = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
            await reply.prepare(request)
            with contextlib.suppress(ConnectionError):  # who asked is gone
                async for line in lines:
                    await reply.write(json.dumps(line).encode() + b"\n")
            return reply

    async def _pulled(
        self, request: web.Request, lines: AsyncIterator[dict[str, Any]]
    ) -> web.Response:
        """All in one: how it ended, or nothing once who asked is gone."""
        last: dict[str, Any] = {}
        async for line in lines:
            last = line
            if request.transport is None:
                break
        return web.json_response(last, status=500 if "error" in last else 200)

    async def copy(self, request: web.Request) -> web.Response:
        body = await request.json()
        source = str(body.get("source"))
        if not self.models.copy(full(source), full(str(body.get("destination")))):
            return refused(404, f"model '{source}' not found")
        return web.Response()

    async def delete(self, request: web.Request) -> web.Response:
        _, name = await self._named(request)
        await self._forget(name)
        self.models.delete(name)
        return web.Response()

    async def keep(self, request: web.Request) -> web.Response:
        body, name = await self._named(request)
        if any(body.get(key) for key in ("prompt", "messages", "input")):
            return refused(501, "send prompts to /v1/chat/completions or /v1/completions")
        given = seconds(body.get("keep_alive", self.keep_alive_s))
        answer = {"model": name, "created_at": datetime.now(UTC).isoformat(), "response": ""}
        if given == 0:
            await self._forget(name)
            return web.json_response({**answer, "done": True, "done_reason": "unload"})
        async with self._using(name) as engine:
            engine.keep_alive_s = given
        return web.json_response({**answer, "done": True, "done_reason": "load"})

    async def forward(self, request: web.Request) -> web.StreamResponse:
        body, name = await self._named(request)
        async with (
            self._using(name) as engine,
            self.session.post(engine.address + request.path, json=body) as answer,
        ):
            kind = answer.headers.get("Content-Type", "application/json")
            reply = web.StreamResponse(status=answer.status, headers={"Content-Type": kind})
            await reply.prepare(request)
            async for chunk in answer.content.iter_any():
                await reply.write(chunk)
            await reply.write_eof()
            return reply

    async def _named(self, request: web.Request) -> tuple[dict[str, Any], str]:
        """The body, and the model that it names, which is here."""
        body = await request.json()
        given = str(body.get("model"))
        name = full(given)
        if name not in self.models.here():
            message = json.dumps({"error": f"model '{given}' not found"})
            raise web.HTTPNotFound(text=message, content_type="application/json")
        return body, name

    @contextlib.asynccontextmanager
    async def _using(self, name: str) -> AsyncIterator[Engine]:
        engine = self.engines.get(name)
        if engine is None:
            path = self.models.path(self.models.names[name]["digest"])
            engine = Engine(path, name, self.context, self.keep_alive_s)
            self.engines[name] = engine
        if not engine.loaded:
            for other in self.engines.values():
                if other is not engine and not other.busy:
                    await other.unload()
        async with engine.using():
            yield engine

    async def _forget(self, name: str) -> None:
        engine = self.engines.pop(name, None)
        if engine is not None:
            await engine.unload()

    async def tend(self) -> None:
        while True:
            for engine in tuple(self.engines.values()):
                await engine.tend()
            await asyncio.sleep(TEND_S)


@web.middleware
async def worded(request: web.Request, handler: Any) -> web.StreamResponse:
    """Errors as Ollama words them."""
    try:
        answer: web.StreamResponse = await handler(request)
    except LoadError as error:
        return refused(500, error.message)
    except (ValueError, TypeError, AttributeError) as error:
        return refused(400, f"invalid request: {type(error).__name__}")
    return answer


async def serve() -> web.Application:
    folder = Path(os.environ.get("OLLAMA_MODELS", "/data/models"))
    library = Library(folder)
    library.open()
    context = int(os.environ.get("OLLAMA_CONTEXT_LENGTH", "4096"))
    host = Host(library, context, seconds(os.environ.get("OLLAMA_KEEP_ALIVE", "5m")))
    app = web.Application(client_max_size=BODY_BYTES, middlewares=[worded])
    app.router.add_routes(host.routes())
    tending = asyncio.get_running_loop().create_task(host.tend())

    async def close(_: web.Application) -> None:
        tending.cancel()
        await host.session.close()

    app.on_cleanup.append(close)
    return app


if __name__ == "__main__":
    address, _, port = os.environ["OLLAMA_HOST"].rpartition(":")
    web.run_app(serve(), host=address, port=int(port), access_log=None, print=None)
