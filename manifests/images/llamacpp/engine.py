"""The llama.cpp process: started when a request or an order needs it, ended when it idles."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

LOAD_TIMEOUT_S = 600.0
"""8 GiB from a slow disk at 20 MB/s take 400 s."""
LLAMA = Path(__file__).with_name("llama.py")


@dataclass
class LoadError(Exception):
    """Why the model can't be served: LoadFailed or OutOfMemory, and a line for a person."""

    reason: str
    message: str


@dataclass
class Engine:
    """At most one process. `keep_alive_s` < 0: it never ends by itself."""

    path: Path
    name: str
    context: int
    keep_alive_s: float
    failure: LoadError | None = None
    """How the last start failed, or the last run ended by itself."""
    failed_at: float = 0.0
    failures: int = 0
    """How many in a row."""
    kills: int = 0
    """Of the kernel, for want of memory, before it was started."""
    address: str = ""
    busy: int = 0
    used_at: float = 0.0
    process: asyncio.subprocess.Process | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def loaded(self) -> bool:
        return self.process is not None and self.process.returncode is None and bool(self.address)

    async def load(self) -> None:
        """Start it if it doesn't run. Raises LoadError."""
        async with self.lock:
            if self.loaded:
                return
            self.used_at = time.monotonic()
            try:
                await self._start()
            except LoadError as error:
                self._failed(error)
                raise
            self.failure, self.failures = None, 0

    def _failed(self, error: LoadError) -> None:
        self.failure, self.failed_at = error, time.monotonic()
        self.failures += 1

    async def _start(self) -> None:
        self.address, self.kills = "", oom_kills()
        argv = (str(LLAMA), str(self.path), "--context", str(self.context), "--name", self.name)
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, *argv, stdout=asyncio.subprocess.PIPE
        )
        assert self.process.stdout is not None
        try:
            line = await asyncio.wait_for(self.process.stdout.readline(), LOAD_TIMEOUT_S)
        except TimeoutError:
            await self._end()
            message = f"llama.cpp did not load it within {LOAD_TIMEOUT_S:.0f} s"
            raise LoadError("LoadFailed", message) from None
        except asyncio.CancelledError:
            # another order came: a process that nobody waits for would stay for ever
            await self._end()
            raise
        if not line:
            raise _judged(await self.process.wait(), self.kills)
        self.address = line.decode().strip()

    async def unload(self) -> None:
        """End it, whatever it does. Not running: nothing."""
        async with self.lock:
            await self._end()

    async def _end(self) -> None:
        self.address = ""
        process, self.process = self.process, None
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()

    @contextlib.asynccontextmanager
    async def using(self) -> AsyncIterator[str]:
        """Its address, loaded, and kept so for as long as the block lasts. Raises LoadError."""
        self.busy += 1
        try:
            await self.load()
            yield self.address
        finally:
            self.busy -= 1
            self.used_at = time.monotonic()

    async def tend(self) -> None:
        """Once: end it if it has idled for long enough; note if it died."""
        process = self.process
        if process is not None and process.returncode is not None and self.address:
            self._failed(_judged(process.returncode, self.kills))
            self.address = ""
        idle_s = time.monotonic() - self.used_at
        if self.loaded and not self.busy and 0 <= self.keep_alive_s <= idle_s:
            await self.unload()


def _judged(code: int, kills: int) -> LoadError:
    """What an end that nobody asked for means; `kills` is oom_kills() before it began."""
    if code == -9 and oom_kills() > kills:
        return LoadError("OutOfMemory", "it needs more memory than the container has")
    if code < 0:
        return LoadError("LoadFailed", f"llama.cpp was ended by signal {-code}")
    return LoadError("LoadFailed", f"llama.cpp refused the file (exit code {code})")


def oom_kills() -> int:
    """Processes of this container that the kernel ended for want of memory (cgroup v2, then v1)."""
    for name in ("memory.events", "memory/memory.oom_control"):
        try:
            lines = (Path("/sys/fs/cgroup") / name).read_text().splitlines()
        except OSError:
            continue
        return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
    return 0
