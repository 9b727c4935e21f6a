"""What this machine has: the capacity that the budget is reckoned from.

Read from /proc, the control group files and the file system; nothing is changed. Limits that the
agent itself runs under count: a virtual host of a container engine has no more than those allow.
"""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from controlplane.errors import RetryableError

# cgroup v1 says "no limit" by a number near 2^63, rounded down to a page.
_NO_LIMIT_BYTES: Final = 1 << 60


@dataclass(frozen=True, slots=True)
class HostCapacity:
    """How much there is."""

    cpu_millicores: int
    memory_bytes: int
    disk_bytes: int
    """Size of the file system that holds the engine's data, less what is kept for root alone."""
    disk_available_bytes: int
    """What of that nobody has taken yet."""


class HostMeter(Protocol):
    """Measures the host."""

    async def observe_host(self, engine_root: str, /) -> HostCapacity:
        """`engine_root` is where the container engine keeps its data (`docker info`: Docker Root
        Dir). Raises RetryableError if it can't be read."""
        ...


@dataclass(frozen=True, slots=True)
class LinuxHost:
    """The Linux host that this process runs on."""

    proc: Path = Path("/proc")
    cgroups: Path = Path("/sys/fs/cgroup")

    async def observe_host(self, engine_root: str, /) -> HostCapacity:
        # A hanging disk must not stop the loop.
        return await asyncio.to_thread(self._capacity, Path(engine_root))

    def _capacity(self, engine_root: Path) -> HostCapacity:
        try:
            memory = _meminfo(self.proc)["MemTotal"]
            disk = _file_system(engine_root)
        except (OSError, KeyError, ValueError) as exc:
            raise RetryableError(f"cannot measure the host: {exc}", reason="HostUnknown") from exc
        folders = tuple(_cgroup_folders(self.proc, self.cgroups))
        return HostCapacity(
            cpu_millicores=min((len(os.sched_getaffinity(0)) * 1000, *_cpu_limits(folders))),
            memory_bytes=min((memory, *_memory_limits(folders))),
            disk_bytes=(disk.f_blocks - disk.f_bfree + disk.f_bavail) * disk.f_frsize,
            disk_available_bytes=disk.f_bavail * disk.f_frsize,
        )


def _meminfo(proc: Path) -> dict[str, int]:
    """/proc/meminfo in bytes (it counts in KiB and writes kB)."""
    rows = (line.split() for line in (proc / "meminfo").read_text().splitlines())
    return {row[0].rstrip(":"): int(row[1]) * 1024 for row in rows if len(row) == 3}


def _file_system(folder: Path) -> os.statvfs_result:
    """Of the folder, or of the nearest one above it: an agent in a container does not see the
    engine's own, but its root lies on the same file system."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return os.statvfs(folder)


def _cgroup_folders(proc: Path, cgroups: Path) -> Iterator[Path]:
    """Every folder whose limits bind this process: its own control groups and all above them.

    https://man7.org/linux/man-pages/man7/cgroups.7.html: `hierarchy:controllers:path` a line.
    """
    try:
        rows = [line.split(":", 2) for line in (proc / "self/cgroup").read_text().splitlines()]
    except OSError:
        return
    for _, controllers, path in (row for row in rows if len(row) == 3):
        if controllers == "":
            root = cgroups
        elif "cpu" in controllers.split(",") or "memory" in controllers.split(","):
            root = cgroups / controllers
        else:
            continue
        here = root / path.lstrip("/")
        while here != root:
            yield here
            here = here.parent
        yield root


def _numbers(folder: Path, name: str) -> list[int]:
    """The numbers in a control file; none if it is missing or says `max`."""
    try:
        return [int(word) for word in (folder / name).read_text().split()]
    except (OSError, ValueError):
        return []


def _cpu_limits(folders: tuple[Path, ...]) -> Iterator[int]:
    for folder in folders:
        quota = _numbers(folder, "cpu.max")
        if not quota:
            v1 = (_numbers(folder, "cpu.cfs_quota_us"), _numbers(folder, "cpu.cfs_period_us"))
            quota = v1[0] + v1[1]
        if len(quota) == 2 and quota[0] > 0 and quota[1] > 0:
            yield quota[0] * 1000 // quota[1]


def _memory_limits(folders: tuple[Path, ...]) -> Iterator[int]:
    for folder in folders:
        for name in ("memory.max", "memory.limit_in_bytes"):
            for limit in _numbers(folder, name):
                if 0 < limit < _NO_LIMIT_BYTES:
                    yield limit


_LISTENS: Final = {"tcp": "0A", "tcp6": "0A", "udp": "07", "udp6": "07"}
"""Table -> state of a socket that takes what strangers send: LISTEN; for UDP, unconnected."""


def listening_ports(proc: Path = Path("/proc")) -> frozenset[int]:
    """TCP and UDP ports that anything in this network namespace listens on, whatever the address.

    proc_pid_net(5): the second column is `address:port` in hex, the fourth the state.
    """
    found: set[int] = set()
    for name, state in _LISTENS.items():
        table = proc / "net" / name
        rows = table.read_text().splitlines()[1:] if table.exists() else []
        for row in rows:
            columns = row.split()
            if columns[3] == state:
                found.add(int(columns[1].rpartition(":")[2], 16))
    return frozenset(found)
