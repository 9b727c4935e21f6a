"""The one model file: ordered, fetched, checked, proven to load; seen when somebody changes it."""

import asyncio
import contextlib
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine import Engine, LoadError
from fetch import FetchError, Order, Progress, digest_of, fetch
from registry import in_registry

Signature = tuple[int, int, int]


@dataclass
class Shelf:
    """What is in /data, and the work under way on it: one thing at a time."""

    path: Path
    engine: Engine
    known: dict[str, Any] = field(default_factory=dict)
    """Of the file: source, digest, signature, `proven` (it has been loaded). Kept beside it."""
    order: Order | None = None
    phase: str = "empty"
    """empty, pulling, checking, loading, ready or failed."""
    progress: Progress = field(default_factory=Progress)
    failure: FetchError | LoadError | None = None
    failed_at: float = 0.0
    attempts: int = 0
    """How often in a row it failed."""
    work: "asyncio.Task[None] | None" = None

    @property
    def note(self) -> Path:
        return self.path.with_suffix(".json")

    def open(self) -> None:
        """Take up what an earlier container left."""
        try:
            self.known = json.loads(self.note.read_text())
            self.phase = "ready" if self.known["proven"] else "empty"
        except (OSError, ValueError, KeyError):
            self.known = {}

    def accept(self, order: Order) -> None:
        """Begin an order. The same one again, under way or done: nothing."""
        working = self.work is not None and not self.work.done()
        same = self.order is not None and self.order.order == order.order
        if same and (working or self.phase == "ready"):
            return
        if not same:
            self.attempts = 0
        self._stop()
        self.order = order
        # at once: whoever looks before the work begins must not take the old for the new
        self.phase, self.progress = "loading" if self._fits(order) else "pulling", Progress()
        self._begin(self._fulfil(order))

    def _begin(self, work: Any) -> None:
        # one task at a time, held here; its end is in `phase`
        self.work = asyncio.get_running_loop().create_task(work)

    def _stop(self) -> None:
        if self.work is not None:
            self.work.cancel()

    async def _fulfil(self, order: Order) -> None:
        try:
            if not self._fits(order):
                await self._drop()
                digest = await fetch(order, self.path, self.progress, in_registry)
                self._learn(order.source, digest, proven=False)
            self.phase = "loading"
            await self.engine.load()
            self._learn(order.source, self.known["digest"], proven=True)
            self.phase, self.failure, self.attempts = "ready", None, 0
        except (FetchError, LoadError) as error:
            self._failed(error)
        except Exception as error:  # noqa: BLE001  # untold, it would be waited for for ever
            self._failed(FetchError("Failed", f"it could not be taken in: {_cause(error)}"))

    def _failed(self, error: FetchError | LoadError) -> None:
        self.phase, self.failure = "failed", error
        self.failed_at, self.attempts = time.monotonic(), self.attempts + 1

    def _fits(self, order: Order) -> bool:
        """Whether the file that is there is what was ordered."""
        if not self.known or signature(self.path) != tuple(self.known["signature"]):
            return False
        if order.digest:
            return bool(self.known["digest"] == order.digest)
        return bool(self.known["source"] == order.source)

    def _learn(self, source: str, digest: str, *, proven: bool) -> None:
        found = signature(self.path)
        self.known = {"source": source, "digest": digest, "signature": found, "proven": proven}
        draft = self.note.with_suffix(".draft")
        draft.write_text(json.dumps(self.known))
        draft.replace(self.note)

    async def _drop(self) -> None:
        await self.engine.unload()
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)
        self.known = {}

    async def clear(self) -> None:
        """Remove the file and all that was begun."""
        self._stop()
        await self._drop()
        for left in self.path.parent.glob(f"{self.path.stem}.*"):
            left.unlink(missing_ok=True)
        self.phase, self.order, self.failure, self.attempts = "empty", None, None, 0

    async def inspect(self) -> None:
        """Notice a file that was removed, changed or only touched behind our back."""
        if self.phase != "ready" or signature(self.path) == tuple(self.known["signature"]):
            return
        if signature(self.path) is None:
            await self._drop()
            self.phase = "empty"
            return
        self.phase = "checking"
        self._begin(self._check())

    async def _check(self) -> None:
        # removed meanwhile, or it can't be read
        with contextlib.suppress(OSError):
            digest = await asyncio.to_thread(digest_of, self.path)
            if digest == self.known["digest"]:
                self._learn(self.known["source"], digest, proven=True)
                self.phase = "ready"
                return
        await self._drop()
        self.phase = "empty"

    def told(self) -> dict[str, Any]:
        """The state, as the control plane reads it. No secret in it."""
        now = time.monotonic()
        failure, failed_at = self.failure, self.failed_at
        if failure is None and self.engine.failure is not None:
            failure, failed_at = self.engine.failure, self.engine.failed_at
        answer: dict[str, Any] = {
            "phase": self.phase,
            "order": self.order.order if self.order else "",
            "source": self.known.get("source", ""),
            "digest": self.known.get("digest", ""),
            "size": self.known["signature"][0] if self.known else 0,
            "completed": self.progress.completed,
            "total": self.progress.total,
            "loaded": self.engine.loaded,
            "failure": None,
        }
        if failure is not None:
            answer["failure"] = {
                "reason": failure.reason,
                "message": failure.message,
                "lasting": getattr(failure, "lasting", False),
                "attempts": max(self.attempts, self.engine.failures),
                "age_s": round(now - failed_at, 1),
            }
        return answer


def _cause(error: Exception) -> str:
    said = error.strerror if isinstance(error, OSError) else None
    return said or type(error).__name__


def signature(path: Path) -> Signature | None:
    """Size, time of change and inode: what changes whenever somebody writes or replaces it."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_size, found.st_mtime_ns, found.st_ino)
