"""Ollama by its published API: https://github.com/ollama/ollama/blob/main/docs/api.md.

Each record's model is a copy under a name of its own, so that tenants who want the same model
share its layers and none can take it from another. The name pulled is removed again after the copy
unless it was there before: then it is somebody else's. A crash in the moment between leaves that
name behind, and never removes one too many.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

import aiohttp
from aiohttp.http_exceptions import LineTooLong

from controlplane.clock import Clock, SystemClock
from controlplane.errors import RetryableError
from drivers.model_calls import (
    TIMEOUT_S,
    Calls,
    Reply,
    bad_answer,
    bearer,
    number,
    told,
    unavailable,
)
from drivers.models import ModelFailure, ModelOrder, ModelServer, ModelState
from drivers.ollama_loads import Loads

STALL_S: Final = 900.0
"""No line for so long: Ollama sends progress several times a second, and none while it hashes: 16
GiB from a slow disk at 20 MB/s take 860 s."""
LINE_BYTES: Final = 1 << 16


@dataclass
class PullError(Exception):
    """Why a pull failed. `lasting`: the same order would fail again."""

    reason: str
    message: str
    lasting: bool = False


@dataclass(slots=True)
class Job:
    """One order being carried out, and how it ended."""

    order: ModelOrder
    layers: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Digest -> (completed, total): Ollama tells progress by layer."""
    failure: PullError | None = None
    failed_at: float = 0.0
    attempts: int = 0
    task: "asyncio.Task[None] | None" = None

    @property
    def running(self) -> bool:
        return self.task is not None and not self.task.done()

    @property
    def total(self) -> int:
        return sum(total for _, total in self.layers.values())

    def note(self, line: Mapping[str, Any]) -> None:
        """Take in one line of progress. `completed` is missing in a layer's first ones."""
        digest = line.get("digest")
        if isinstance(digest, str) and digest:
            had = self.layers.get(digest, (0, 0))
            completed = max(had[0], number(line.get("completed")))
            self.layers[digest] = (completed, number(line.get("total")) or had[1])


@dataclass(slots=True)
class Ollama:
    """Over the network. Pulls go on in the background for as long as this lives; one that was cut
    off continues where it was, since the server keeps what it has."""

    clock: Clock = field(default_factory=SystemClock)
    calls: Calls = field(default_factory=Calls)
    jobs: dict[tuple[str, str], Job] = field(default_factory=dict)
    """By server and full name."""
    loads: Loads = field(init=False)
    sources: dict[tuple[str, str], asyncio.Lock] = field(default_factory=dict)
    """One pull of a source at a time: the second finds the layers there."""

    def __post_init__(self) -> None:
        self.loads = Loads(self.calls)

    async def observe_model(self, server: ModelServer, name: str, /) -> ModelState | None:
        tags = await self._get(server, "/api/tags")
        if tags is None:
            return None
        held = _named(_fine(tags, "list models").body, "/api/tags")
        job = self.jobs.get(_key(server, name))
        # what is only fetched yet is in no list of Ollama's
        begun = {each for url, each in self.jobs if url == server.url}
        names = (each for each in held.keys() | begun if _same_record(each, name))
        others = tuple(sorted(each for each in names if each != _full(name)))
        if job is not None and job.running:
            completed = sum(done for done, _ in job.layers.values())
            return ModelState(
                "pulling",
                job.order.order,
                job.order.source,
                completed_bytes=completed,
                total_bytes=job.total,
                others=others,
            )
        found = held.get(_full(name))
        if found is None:
            return _absent(job, self.clock.monotonic(), others)
        return await self._present(server, name, found, job, others)

    async def _present(
        self,
        server: ModelServer,
        name: str,
        found: Mapping[str, Any],
        job: Job | None,
        others: tuple[str, ...],
    ) -> ModelState | None:
        running = await self._get(server, "/api/ps")
        if running is None:
            return None
        loaded = _named(_fine(running, "list loaded models").body, "/api/ps").get(_full(name))
        size = number(found.get("size"))
        state = ModelState(
            "ready",
            job.order.order if job else "",
            digest=_digest(found),
            size_bytes=size,
            completed_bytes=size,
            total_bytes=size,
            loaded=loaded is not None,
            expires_in_s=_left_s(loaded, self.clock.now()) if loaded else None,
            others=others,
        )
        failure = _failure(job, self.clock.monotonic())
        if job is None or failure is None or job.order.digest in ("", state.digest):
            return state
        # What is there is an earlier order's, and stays; untold, the same pull would be ordered
        # again and again.
        return replace(state, phase="failed", failure=failure, completed_bytes=0, total_bytes=0)

    async def ensure_model(self, server: ModelServer, order: ModelOrder, /) -> None:
        key = _key(server, order.name)
        job = self.jobs.get(key)
        if job is not None and job.order.order == order.order:
            if job.running:
                return
        else:
            await self._cancel(key)
            job = self.jobs[key] = Job(order)
        job.order, job.layers, job.failure = order, {}, None
        # held by the job, whose state tells how it ended
        job.task = asyncio.get_running_loop().create_task(self._carry_out(server, job))

    async def _carry_out(self, server: ModelServer, job: Job) -> None:
        try:
            source = (server.url, job.order.source)
            async with self.sources.setdefault(source, asyncio.Lock()):
                await self._fulfil(server, job)
            job.attempts = 0
        except PullError as error:
            job.failure = error
        except RetryableError as error:
            job.failure = PullError(error.reason, str(error))
        except (OSError, TimeoutError, aiohttp.ClientError):
            job.failure = PullError("SourceUnavailable", "the connection to Ollama was cut")
        except LineTooLong:  # no line of its own is
            job.failure = PullError("BadAnswer", "what Ollama answers makes no sense")
        if job.failure is not None:
            job.attempts += 1
            job.failed_at = self.clock.monotonic()

    async def _fulfil(self, server: ModelServer, job: Job) -> None:
        order = job.order
        held = await self._held(server)
        here = held.get(_full(order.name))
        if here is not None and order.digest in ("", _digest(here)):
            return  # an order for something else failed before: this is what it left alone
        theirs = _full(order.source) in held
        if not theirs:
            await self._pull(server, job)
        try:
            found = (await self._held(server)).get(_full(order.source))
            if found is None:
                raise PullError("SourceUnavailable", "the pull ended, and the model is not there")
            _bounded(order, number(found.get("size")))
            if order.digest and _digest(found) != order.digest:
                message = f"it has digest {_digest(found)}, and {order.digest} was asked for"
                raise PullError("DigestMismatch", message, lasting=True)
            body = {"source": order.source, "destination": order.name}
            await self._act(server, "POST", "/api/copy", body, f"copy model '{order.source}'")
        finally:
            if not theirs:
                await self._delete(server, order.source)

    async def _held(self, server: ModelServer) -> dict[str, Mapping[str, Any]]:
        tags = await self._get(server, "/api/tags")
        if tags is None:
            raise unavailable("list models")
        return _named(_fine(tags, "list models").body, "/api/tags")

    async def _pull(self, server: ModelServer, job: Job) -> None:
        """Until it says success. Errors come with HTTP status 200 too, in the middle."""
        last = ""
        body = {"model": job.order.source, "insecure": job.order.insecure}
        # closed however it ends: so Ollama ends what nobody else waits for
        async with aclosing(self._lines(server, "/api/pull", body)) as lines:
            async for line in lines:
                if "error" in line:
                    raise PullError("SourceUnavailable", f"Ollama says: {told(line)}")
                job.note(line)
                _bounded(job.order, job.total)
                last = str(line.get("status", ""))
        if last != "success":
            raise PullError("SourceUnavailable", "the pull ended without success")

    async def _lines(
        self, server: ModelServer, path: str, body: Mapping[str, Any]
    ) -> AsyncGenerator[Mapping[str, Any], None]:
        """Lines of JSON as they come (NDJSON)."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=TIMEOUT_S, sock_read=STALL_S)
        async with self.calls.opened().post(
            server.url.rstrip("/") + path, json=body, headers=bearer(server), timeout=timeout
        ) as answer:
            async for raw in answer.content:
                try:
                    line = json.loads(raw)
                except ValueError:
                    line = None
                if not isinstance(line, dict):
                    if answer.status != 200:
                        break
                    raise bad_answer(path, "not a JSON object")
                yield line
            if answer.status != 200:
                message = f"Ollama answers with HTTP status {answer.status}"
                raise PullError("SourceUnavailable", message)

    async def load_model(
        self, server: ModelServer, name: str, /, *, keep_alive_s: int | None
    ) -> None:
        seconds = -1 if keep_alive_s is None else keep_alive_s
        _fine(await self._keep_alive(server, name, seconds), f"load model '{name}'")

    async def unload_model(self, server: ModelServer, name: str, /) -> None:
        reply = await self._keep_alive(server, name, 0)
        if reply.status != 404:
            _fine(reply, f"unload model '{name}'")

    async def _keep_alive(self, server: ModelServer, name: str, seconds: int) -> Reply:
        """An empty request sets it; a model for embeddings alone takes /api/embed only."""
        body = {"model": name, "keep_alive": seconds}
        reply = await self.loads.ask(server, "/api/generate", {**body, "stream": False})
        if reply is not None and reply.status == 400:
            reply = await self.loads.ask(server, "/api/embed", {**body, "input": ""})
        if reply is None:
            raise unavailable(f"set how long model '{name}' stays in memory")
        return reply

    async def delete_model(self, server: ModelServer, name: str, /) -> None:
        await self._cancel(_key(server, name))
        await self._delete(server, name)

    async def aclose(self) -> None:
        for key in tuple(self.jobs):
            await self._cancel(key)
        await self.loads.aclose()
        await self.calls.aclose()

    async def _cancel(self, key: tuple[str, str]) -> None:
        job = self.jobs.pop(key, None)
        if job is not None and job.task is not None:
            job.task.cancel()
            await asyncio.wait([job.task])

    async def _delete(self, server: ModelServer, name: str) -> None:
        what = f"delete model '{name}'"
        reply = await self.calls.ask(server, "DELETE", "/api/delete", {"model": name})
        if reply is None:
            raise unavailable(what)
        if reply.status != 404:
            _fine(reply, what)

    async def _get(self, server: ModelServer, path: str) -> Reply | None:
        return await self.calls.ask(server, "GET", path)

    async def _act(
        self, server: ModelServer, method: str, path: str, body: Mapping[str, Any], what: str
    ) -> None:
        reply = await self.calls.ask(server, method, path, body, timeout_s=60.0)
        if reply is None:
            raise unavailable(what)
        _fine(reply, what)


def _absent(job: Job | None, now: float, others: tuple[str, ...]) -> ModelState:
    order = job.order.order if job else ""
    if failure := _failure(job, now):
        return ModelState("failed", order, failure=failure, others=others)
    return ModelState("empty", order, others=others)


def _failure(job: Job | None, now: float) -> ModelFailure | None:
    """How its last attempt ended, if badly."""
    if job is None or job.failure is None:
        return None
    error, age_s = job.failure, max(0.0, now - job.failed_at)
    return ModelFailure(error.reason, error.message, error.lasting, job.attempts, age_s)


def _bounded(order: ModelOrder, size_bytes: int) -> None:
    if size_bytes > order.max_bytes:
        message = f"it is larger than its storage of {order.max_bytes} bytes"
        raise PullError("TooLarge", message, lasting=True)


def _fine(reply: Reply, what: str) -> Reply:
    """Raises RetryableError for an error, whatever status it comes with."""
    if reply.status < 400 and "error" not in reply.body:
        return reply
    if reply.status == 401:
        raise RetryableError(f"cannot {what}: Ollama refuses the key", reason="KeyRefused")
    cause = told(reply.body) or f"HTTP status {reply.status}"
    raise RetryableError(f"cannot {what}: {cause}", reason="Refused")


def _named(body: Mapping[str, Any], path: str) -> dict[str, Mapping[str, Any]]:
    """The models of a list, by full name."""
    models = body.get("models")
    if models is None and "models" in body:  # Go's empty slice
        return {}
    if not isinstance(models, list):
        raise bad_answer(path, "not a list of models")
    found = (item for item in models if isinstance(item, Mapping))
    return {_full(str(item.get("name") or item.get("model", ""))): item for item in found}


def _full(name: str) -> str:
    """With its tag; names count without regard to case."""
    last = name.rpartition("/")[2]
    return (name if ":" in last else f"{name}:latest").lower()


def _key(server: ModelServer, name: str) -> tuple[str, str]:
    return (server.url, _full(name))


def _same_record(found: str, name: str) -> bool:
    """Whether two names differ in their tags alone."""
    return found.rpartition(":")[0] == _full(name).rpartition(":")[0]


def _digest(found: Mapping[str, Any]) -> str:
    digest = str(found.get("digest", ""))
    return f"sha256:{digest.removeprefix('sha256:')}" if digest else ""


def _left_s(loaded: Mapping[str, Any], now: datetime) -> float:
    """Seconds until it leaves memory. Go writes up to nine digits after the second."""
    text = str(loaded.get("expires_at", ""))
    try:
        expires = datetime.fromisoformat(text)
    except ValueError:
        return 0.0
    return (expires - now).total_seconds() if expires.tzinfo is not None else 0.0
