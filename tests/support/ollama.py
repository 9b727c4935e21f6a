"""A server that keeps Ollama's published contract, with all its odd ways, and no model behind it.

Written from https://github.com/ollama/ollama/blob/main/docs/api.md and docs/openapi.yaml: paths,
bodies, statuses, NDJSON by default, names without a tag, resumable and shared pulls, layers shared
between copies and gone with the last of them. A pull ends with the last who asked for it, and what
came stays (server/download.go there). `odd` plants what real ones do now and then.
"""

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

Odd = str
"""error_mid_stream, no_success, no_completed, garbage, error_in_200, html, cut, long_line,
server_error, no_end (of what sets how long a model stays), load_fails."""
DEFAULT_KEEP_ALIVE_S = 300.0
FOREVER = timedelta(days=365 * 292)


def full(name: str) -> str:
    last = name.rpartition("/")[2]
    return (name if ":" in last else f"{name}:latest").lower()


def blob_name(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass
class Manifest:
    """One name's layers; its digest is that of the manifest, as in `ollama list`."""

    layers: tuple[str, ...]

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(self.layers).encode()).hexdigest()


@dataclass
class OllamaServer:
    """`registry` is what can be pulled: name -> layers' bytes."""

    registry: dict[str, tuple[bytes, ...]] = field(default_factory=dict)
    manifests: dict[str, Manifest] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    partial: dict[str, int] = field(default_factory=dict)
    """Bytes that an earlier, cut pull left: the next one continues there."""
    loaded: dict[str, datetime] = field(default_factory=dict)
    stays: dict[str, float] = field(default_factory=dict)
    """How long those in memory stay after a use: the last keep_alive that was given."""
    odd: set[Odd] = field(default_factory=set)
    chunk: int = 64
    pause_s: float = 0.0
    fetched: int = 0
    """Bytes that came from the registry: what is shared or resumed comes once."""
    calls: list[str] = field(default_factory=list)
    chats: list[Mapping[str, Any]] = field(default_factory=list)
    breath: asyncio.Semaphore | None = None
    """Each word of a streamed answer takes one, where there is such a thing."""
    gates: dict[str, asyncio.Event] = field(default_factory=dict)
    """Name -> what the end of its pull waits for, and its load."""
    _pulling: dict[str, asyncio.Lock] = field(default_factory=dict)

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._odd_ways])
        app.router.add_get("/api/version", self._version)
        app.router.add_get("/api/tags", self._tags)
        app.router.add_get("/api/ps", self._ps)
        app.router.add_post("/api/show", self._show)
        app.router.add_post("/api/pull", self._pull)
        app.router.add_post("/api/copy", self._copy)
        app.router.add_post("/api/create", self._create)
        app.router.add_delete("/api/delete", self._delete)
        app.router.add_route("HEAD", "/api/blobs/{digest}", self._head_blob)
        app.router.add_post("/api/blobs/{digest}", self._post_blob)
        app.router.add_post("/api/generate", self._generate)
        app.router.add_post("/api/chat", self._generate)
        app.router.add_post("/api/embed", self._embed)
        for path in ("/v1/chat/completions", "/v1/completions", "/v1/embeddings"):
            app.router.add_post(path, self._openai)
        return app

    @web.middleware
    async def _odd_ways(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.calls.append(f"{request.method} {request.path}")
        if "garbage" in self.odd:
            return web.Response(text='{"models": [', content_type="application/json")
        if "html" in self.odd:
            return web.Response(status=502, text="<html>bad gateway</html>")
        if "server_error" in self.odd:
            return web.json_response({"error": "llama runner process has terminated"}, status=500)
        if "error_in_200" in self.odd:
            return web.json_response({"error": "something went wrong"})
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _at_gate(self, name: str) -> None:
        if name in self.gates:
            await self.gates[name].wait()

    # -- what is there

    async def _version(self, _: web.Request) -> web.Response:
        return web.json_response({"version": "0.12.6"})

    def _entry(self, name: str, manifest: Manifest) -> dict[str, Any]:
        return {
            "name": name,
            "model": name,
            "modified_at": "2025-05-04T17:37:44.706015396-07:00",
            "size": sum(len(self.blobs[layer]) for layer in manifest.layers),
            "digest": manifest.digest,
            "details": {"format": "gguf", "family": "llama", "families": ["llama"]},
        }

    async def _tags(self, _: web.Request) -> web.Response:
        listed = [self._entry(name, found) for name, found in self.manifests.items()]
        return web.json_response({"models": listed})

    async def _ps(self, _: web.Request) -> web.Response:
        now = datetime.now(UTC)
        self.loaded = {n: t for n, t in self.loaded.items() if t > now and n in self.manifests}
        listed = []
        for name, expires in self.loaded.items():
            # nine digits after the second, as Go writes them
            moment = expires.strftime("%Y-%m-%dT%H:%M:%S.%f") + "123Z"
            entry = self._entry(name, self.manifests[name])
            listed.append({**entry, "expires_at": moment, "size_vram": 0, "context_length": 4096})
        return web.json_response({"models": listed})

    async def _show(self, request: web.Request) -> web.Response:
        name = full((await request.json())["model"])
        if name not in self.manifests:
            return _error(404, f"model '{name}' not found")
        return web.json_response({"details": {"format": "gguf"}, "capabilities": ["completion"]})

    # -- pulling

    async def _pull(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        reply = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        async with aclosing(self._progress(full(body["model"]))) as lines:
            if body.get("stream") is False:
                last: dict[str, Any] = {}
                async for line in lines:
                    last = line
                    if request.transport is None:
                        break
                return web.json_response(last, status=500 if "error" in last else 200)
            await reply.prepare(request)
            async for line in lines:
                await reply.write(json.dumps(line).encode() + b"\n")
                if line.get("cut") and request.transport is not None:
                    request.transport.abort()
                    return reply
        await reply.write_eof()
        return reply

    async def _progress(self, name: str) -> AsyncGenerator[dict[str, Any], None]:
        yield {"status": "pulling manifest"}
        if "long_line" in self.odd:
            yield {"status": "x" * (1 << 20)}
            return
        if name not in self.registry:
            yield {"error": "pull model manifest: file does not exist"}
            return
        layers = {blob_name(data): data for data in self.registry[name]}
        for digest, data in layers.items():
            async with aclosing(self._layer(digest, data)) as lines:
                async for line in lines:
                    yield line
                    if "error" in line or "cut" in line:
                        return
        await self._at_gate(name)
        for status in ("verifying sha256 digest", "writing manifest"):
            yield {"status": status}
        self.manifests[name] = Manifest(tuple(layers))
        if "no_success" in self.odd:
            del self.manifests[name]
            return
        yield {"status": "success"}

    async def _layer(self, digest: str, data: bytes) -> AsyncGenerator[dict[str, Any], None]:
        """One layer: whoever else asks for it waits for the same bytes."""
        line: dict[str, Any] = {"status": f"pulling {digest[7:19]}", "digest": digest}
        line["total"] = len(data)
        async with self._pulling.setdefault(digest, asyncio.Lock()):
            have = self.partial.get(digest, 0) if digest not in self.blobs else len(data)
            yield line  # the first one has no `completed`
            while have < len(data):
                step = min(self.chunk, len(data) - have)
                have += step
                self.fetched += step
                self.partial[digest] = have
                await asyncio.sleep(self.pause_s)
                yield line if "no_completed" in self.odd else {**line, "completed": have}
                if "error_mid_stream" in self.odd:
                    yield {"error": "max retries exceeded: unexpected EOF"}
                    return
                if "cut" in self.odd:
                    yield {"cut": True}
                    return
            self.partial.pop(digest, None)
            self.blobs[digest] = data

    # -- changing

    async def _copy(self, request: web.Request) -> web.Response:
        body = await request.json()
        source, target = full(body["source"]), full(body["destination"])
        if source not in self.manifests:
            return _error(404, f"model '{body['source']}' not found")
        if not re.fullmatch(r"[a-z0-9._-]{1,80}(/[a-z0-9._-]{1,80})*:[a-z0-9._-]{1,80}", target):
            return _error(400, "destination is invalid")
        self.manifests[target] = self.manifests[source]
        return web.Response()

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        source = full(body.get("from", ""))
        if source not in self.manifests:
            return _error(404, f"model '{source}' not found")
        self.manifests[full(body["model"])] = self.manifests[source]
        return web.Response(text='{"status": "success"}\n', content_type="application/x-ndjson")

    async def _delete(self, request: web.Request) -> web.Response:
        name = full((await request.json())["model"])
        gone = self.manifests.pop(name, None)
        if gone is None:
            return _error(404, f"model '{name}' not found")
        self.loaded.pop(name, None)
        used = {layer for manifest in self.manifests.values() for layer in manifest.layers}
        for digest in set(gone.layers) - used:  # what is being pulled is no manifest's yet
            self.blobs.pop(digest, None)
        return web.Response()

    async def _head_blob(self, request: web.Request) -> web.Response:
        return web.Response(status=200 if request.match_info["digest"] in self.blobs else 404)

    async def _post_blob(self, request: web.Request) -> web.Response:
        data = await request.read()
        if blob_name(data) != request.match_info["digest"]:
            return _error(400, "digest mismatch")
        self.blobs[blob_name(data)] = data
        return web.Response(status=201)

    # -- using

    async def _generate(self, request: web.Request) -> web.Response:
        body = await request.json()
        name = full(body["model"])
        if name not in self.manifests:
            return _error(404, f"model '{body['model']}' not found")
        if "no_end" in self.odd:
            await asyncio.Event().wait()
        await self._at_gate(name)
        if "load_fails" in self.odd:
            return _error(500, "llama runner process has terminated")
        if "embed" in name:
            return _error(400, f'"{name}" does not support generate')
        empty = not body.get("prompt") and not body.get("messages")
        unload = empty and body.get("keep_alive") == 0
        self._touch(name, body.get("keep_alive"))
        reason = "unload" if unload else "load"
        return web.json_response({"model": name, "done": True, "done_reason": reason})

    async def _embed(self, request: web.Request) -> web.Response:
        body = await request.json()
        name = full(body["model"])
        if name not in self.manifests:
            return _error(404, f"model '{body['model']}' not found")
        self._touch(name, body.get("keep_alive"))
        return web.json_response({"model": name, "embeddings": []})

    def _touch(self, name: str, keep_alive: object) -> None:
        before = self.stays.get(name, DEFAULT_KEEP_ALIVE_S)
        if self.loaded.get(name, datetime.min.replace(tzinfo=UTC)) < datetime.now(UTC):
            before = DEFAULT_KEEP_ALIVE_S
        seconds = keep_alive if isinstance(keep_alive, int | float) else before
        self.stays[name] = seconds
        if seconds == 0:
            self.loaded.pop(name, None)
            return
        left = FOREVER if seconds < 0 else timedelta(seconds=seconds)
        self.loaded[name] = datetime.now(UTC) + left

    async def _openai(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.chats.append(body)
        if full(body["model"]) not in self.manifests:
            return web.json_response({"error": {"message": "model not found"}}, status=404)
        self._touch(full(body["model"]), None)  # OpenAI's bodies have no keep_alive
        if not body.get("stream"):
            return web.json_response({"object": "answer", "model": body["model"]})
        reply = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await reply.prepare(request)
        for word in ("one", "two", "three"):
            if self.breath is not None:
                await self.breath.acquire()
            await reply.write(b"data: " + json.dumps({"text": word}).encode() + b"\n\n")
        await reply.write(b"data: [DONE]\n\n")
        return reply


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status)
