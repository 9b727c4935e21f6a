"""A memory control group for processes of a test's own: what they may hold, lowered while they run.

Of cgroup v1 or v2, whichever the host has for memory. What a process holds is charged to the group
that it is in when it asks for it, so that one has to begin inside (`entering`).
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

V1: Final = Path("/sys/fs/cgroup/memory")
V2: Final = Path("/sys/fs/cgroup")
_NO_LIMIT: Final = {True: "-1", False: "max"}


def why_not() -> str:
    """Why this host has no memory groups for us; empty if it has."""
    if os.geteuid() != 0:
        return "only root makes control groups"
    if (V1 / "memory.limit_in_bytes").exists():
        return "" if os.access(V1, os.W_OK) else "the memory controller is read-only"
    with suppress(OSError):
        if "memory" in (V2 / "cgroup.subtree_control").read_text().split():
            return "" if os.access(V2, os.W_OK) else "control groups are read-only"
    return "the kernel gives no memory controller"


@dataclass(frozen=True, slots=True)
class MemoryGroup:
    """One group; sizes in bytes."""

    folder: Path

    @property
    def _v1(self) -> bool:
        return self.folder.parent == V1

    def entering(self, *argv: str) -> list[str]:
        """The command that runs `argv` in it from its first byte on."""
        procs = str(self.folder / "cgroup.procs")
        return ["sh", "-euc", 'echo $$ > "$0"; exec "$@"', procs, *argv]

    def pids(self) -> set[int]:
        return {int(word) for word in (self.folder / "cgroup.procs").read_text().split()}

    def usage(self) -> int:
        name = "memory.usage_in_bytes" if self._v1 else "memory.current"
        return int((self.folder / name).read_text())

    def killed(self) -> int:
        """How many of its processes the kernel killed for want of memory."""
        file = "memory.oom_control" if self._v1 else "memory.events"
        lines = (self.folder / file).read_text().splitlines()
        return int(dict(line.split() for line in lines)["oom_kill"])

    def take(self, pids: Iterable[int]) -> None:
        """Let them go on in it: what they ask for from now on is charged to it."""
        for pid in pids:
            with suppress(OSError):  # it has ended
                (self.folder / "cgroup.procs").write_text(str(pid))

    def squeeze(self, spare: int = 0) -> None:
        """Take back what can be (caches), and let it have `spare` more than the rest."""
        if self._v1:
            # below what it holds it is refused, after all that is possible was taken back
            with suppress(OSError):
                self.allow(4096)
        else:
            with suppress(OSError):
                (self.folder / "memory.reclaim").write_text(str(self.usage()))
        with suppress(OSError):  # it grew meanwhile: the next squeeze finds it
            self.allow(self.usage() + spare)

    def allow(self, size: int) -> None:
        """What it may hold at most. Raises OSError where v1 can't take back so much."""
        self._limit(str(size))

    def free(self) -> None:
        """No limit any more."""
        self._limit(_NO_LIMIT[self._v1])

    def _limit(self, value: str) -> None:
        name = "memory.limit_in_bytes" if self._v1 else "memory.max"
        (self.folder / name).write_text(value)


@contextmanager
def memory_group(name: str) -> Iterator[MemoryGroup]:
    """A group for the length of a block; what still runs in it goes on outside."""
    parent = V1 if (V1 / "memory.limit_in_bytes").exists() else V2
    group = MemoryGroup(parent / name)
    group.folder.mkdir()
    try:
        yield group
    finally:
        MemoryGroup(parent).take(group.pids())
        group.folder.rmdir()
