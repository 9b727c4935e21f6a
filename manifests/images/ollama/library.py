"""Models by name, on disk: pulled from registries, shared between names, gone with the last one.

Names as Ollama has them: https://github.com/ollama/ollama/blob/main/types/model/name.go.
"""

import asyncio
import contextlib
import hashlib
import json
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fetch import FetchError, Order, Progress, fetch
from registry import in_registry

DEFAULT_HOST, DEFAULT_OWNER = "registry.ollama.ai", "library"
TOLD_EVERY_S = 0.2
EVERYTHING = 1 << 50
"""Bytes a model may have here: who pulls knows what fits."""
_PART = re.compile(r"[a-z0-9_][-a-z0-9_.]{0,79}")


def full(name: str) -> str:
    """With its tag, in lower case: names count without regard to case. Raises ValueError."""
    found = (name if ":" in name.rpartition("/")[2] else f"{name}:latest").lower()
    host, slash, rest = found.partition("/")
    bare = rest if slash and re.fullmatch(r"[a-z0-9.-]+(:[0-9]+)?", host) else found
    if not all(_PART.fullmatch(part) for part in re.split("[/:]", bare)):
        raise ValueError(f"{name!r} is no name of a model")
    return found


def manifest_url(name: str, *, insecure: bool) -> str:
    """Where a full name is pulled from."""
    path, _, tag = name.rpartition(":")
    parts = path.split("/")
    host = parts.pop(0) if len(parts) > 2 or {".", ":"} & set(parts[0]) else DEFAULT_HOST
    owner = "/".join(parts if len(parts) > 1 else [DEFAULT_OWNER, *parts])
    return f"{'http' if insecure else 'https'}://{host}/v2/{owner}/manifests/{tag}"


@dataclass
class Pull:
    """One pull, whoever asked for it."""

    progress: Progress = field(default_factory=Progress)
    done: asyncio.Event = field(default_factory=asyncio.Event)
    digest: str = ""
    """Of what was fetched, once it was."""
    error: str = ""
    listeners: int = 0
    task: "asyncio.Task[None] | None" = None


@dataclass
class Library:
    """`names` maps a full name to the digest, size and time of its file, `pulls` one to its pull
    until that has failed, was given up or has its name."""

    folder: Path
    names: dict[str, dict[str, Any]] = field(default_factory=dict)
    pulls: dict[str, Pull] = field(default_factory=dict)

    def open(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self.names = json.loads((self.folder / "names.json").read_text())
        except (OSError, ValueError):
            self.names = {}
        self._clean()

    def _save(self) -> None:
        draft = self.folder / "names.draft"
        draft.write_text(json.dumps(self.names))
        draft.replace(self.folder / "names.json")
        self._clean()

    def _clean(self) -> None:
        """Files that no name has any more; what a pull left behind stays for the next one."""
        used = {self.path(entry["digest"]) for entry in self.names.values()}
        for path in self.folder.glob("sha256-*"):
            if path not in used:
                path.unlink()

    def path(self, digest: str) -> Path:
        return self.folder / digest.replace(":", "-")

    def here(self) -> dict[str, dict[str, Any]]:
        """Names whose file is really there."""
        return {n: e for n, e in self.names.items() if self.path(e["digest"]).exists()}

    def copy(self, source: str, target: str) -> bool:
        entry = self.here().get(source)
        if entry is not None:
            self.names[target] = entry
            self._save()
        return entry is not None

    def delete(self, name: str) -> bool:
        entry = self.names.pop(name, None)
        self._save()
        return entry is not None

    async def pull(
        self, name: str, now: str, *, insecure: bool
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Lines of progress; the last one is success, or an error. Shared with whoever else asks
        for the same name meanwhile, and ended with the last of them, as Ollama does: to be closed.
        So the name is there only once somebody is told, who can delete it again."""
        yield {"status": "pulling manifest"}
        pull = self._joined(name, manifest_url(name, insecure=insecure))
        label = hashlib.sha256(name.encode()).hexdigest()
        try:
            while not pull.done.is_set():
                # told though nothing is known yet: only so is it seen that nobody listens
                line: dict[str, Any] = {"status": "pulling manifest"}
                if pull.progress.total:
                    line = {"status": f"pulling {label[:12]}", "digest": f"sha256:{label}"}
                    line |= {"total": pull.progress.total, "completed": pull.progress.completed}
                yield line
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(pull.done.wait(), TOLD_EVERY_S)
            if pull.error:
                yield {"error": pull.error}
                return
            for status in ("verifying sha256 digest", "writing manifest"):
                yield {"status": status}
            self._keep(name, pull, now)
            yield {"status": "success"}
        finally:
            pull.listeners -= 1
            if not pull.listeners and self._drop(name, pull):
                self._give_up(name, pull)

    def _joined(self, name: str, url: str) -> Pull:
        pull = self.pulls.get(name)
        if pull is None:
            pull = self.pulls[name] = Pull()
            pull.task = asyncio.get_running_loop().create_task(self._fetch(name, pull, url))
        pull.listeners += 1
        return pull

    def _drop(self, name: str, pull: Pull) -> bool:
        """Whether it was still to get its name; the next one who asks begins another."""
        current = self.pulls.get(name) is pull
        if current:
            del self.pulls[name]
        return current

    def _keep(self, name: str, pull: Pull, now: str) -> None:
        """By the first who gets here: another may find that it was deleted since."""
        if not self._drop(name, pull):
            return
        target = self._target(name)
        size = target.stat().st_size
        target.replace(self.path(pull.digest))
        self.names[name] = {"digest": pull.digest, "size": size, "modified_at": now}
        self._save()

    def _give_up(self, name: str, pull: Pull) -> None:
        """What came of an unfinished one stays for the next."""
        if pull.task is not None:
            pull.task.cancel()
        if pull.digest:
            self._target(name).unlink(missing_ok=True)

    def _target(self, name: str) -> Path:
        return self.folder / f"pull-{hashlib.sha256(name.encode()).hexdigest()[:16]}.gguf"

    async def _fetch(self, name: str, pull: Pull, url: str) -> None:
        order = Order(name, name, url, max_bytes=EVERYTHING, oci=True)
        try:
            pull.digest = await fetch(order, self._target(name), pull.progress, in_registry)
        except FetchError as error:
            pull.error = f"pull model: {error.message}"
        finally:
            if not pull.digest:
                pull.error = pull.error or "pull model: it was ended"
                self._drop(name, pull)
            pull.done.set()
