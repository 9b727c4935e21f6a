"""Capacity is the machine's, less what the control groups of this process allow."""

import os
from pathlib import Path

import pytest

from controlplane.errors import RetryableError
from drivers.host import LinuxHost, listening_ports

CORES = len(os.sched_getaffinity(0)) * 1000


@pytest.fixture
def host(tmp_path: Path) -> LinuxHost:
    proc = tmp_path / "proc"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(
        "MemTotal:  4096 kB\nMemAvailable:  1024 kB\nHugePages_Total: 0\n"
    )
    return LinuxHost(proc, tmp_path / "cgroup")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


async def test_without_limits_it_is_the_whole_machine(host: LinuxHost) -> None:
    capacity = await host.observe_host("/")
    assert (capacity.cpu_millicores, capacity.memory_bytes) == (CORES, 4096 * 1024)
    assert capacity.disk_bytes > 0


async def test_what_is_kept_for_root_is_nobodys(
    host: LinuxHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = os.statvfs_result((4096, 4096, 1000, 300, 250, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: told)
    capacity = await host.observe_host("/")
    assert (capacity.disk_bytes, capacity.disk_available_bytes) == (950 * 4096, 250 * 4096)


async def test_a_limit_of_any_group_above_counts_in_version_2(host: LinuxHost) -> None:
    _write(host.proc / "self/cgroup", "0::/outer/inner\n")
    _write(host.cgroups / "outer/cpu.max", "50000 100000\n")
    _write(host.cgroups / "outer/inner/cpu.max", "max 100000\n")
    _write(host.cgroups / "outer/memory.max", "1048576\n")
    capacity = await host.observe_host("/")
    assert (capacity.cpu_millicores, capacity.memory_bytes) == (500, 1048576)


async def test_limits_of_version_1_count_and_its_no_limit_does_not(host: LinuxHost) -> None:
    _write(host.proc / "self/cgroup", "4:cpu,cpuacct:/box\n3:memory:/box\n2:pids:/box\n")
    _write(host.cgroups / "cpu,cpuacct/box/cpu.cfs_quota_us", "150000\n")
    _write(host.cgroups / "cpu,cpuacct/box/cpu.cfs_period_us", "100000\n")
    _write(host.cgroups / "cpu,cpuacct/cpu.cfs_quota_us", "-1\n")
    _write(host.cgroups / "cpu,cpuacct/cpu.cfs_period_us", "100000\n")
    _write(host.cgroups / "memory/box/memory.limit_in_bytes", "9223372036854771712\n")
    capacity = await host.observe_host("/")
    assert (capacity.cpu_millicores, capacity.memory_bytes) == (min(CORES, 1500), 4096 * 1024)


async def test_an_engine_root_out_of_sight_is_measured_by_its_parent(host: LinuxHost) -> None:
    here = str(host.proc)
    hidden = await host.observe_host(f"{here}/not/here")
    assert hidden.disk_bytes == (await host.observe_host(here)).disk_bytes


async def test_an_unreadable_machine_is_a_retryable_error(host: LinuxHost) -> None:
    (host.proc / "meminfo").write_text("nothing of use\n")
    with pytest.raises(RetryableError) as caught:
        await host.observe_host("/")
    assert caught.value.reason == "HostUnknown"


def test_listening_ports_reads_only_listeners(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    head = "  sl  local_address rem_address   st tx_queue\n"
    rows = "   0: 0100007F:7530 00000000:0000 0A 0:0\n   1: 0100007F:7531 0100007F:9C40 01 0:0\n"
    (tmp_path / "net/tcp").write_text(head + rows)
    datagrams = (
        "   0: 0100007F:7532 00000000:0000 07 0:0\n   1: 0100007F:7533 0100007F:0035 01 0:0\n"
    )
    (tmp_path / "net/udp").write_text(head + datagrams)
    assert listening_ports(tmp_path) == {0x7530, 0x7532}
