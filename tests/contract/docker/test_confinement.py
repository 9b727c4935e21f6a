"""What a container may do and have, as a real engine and its processes see it."""

import asyncio
import re
import socket
import tempfile
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from controlplane.errors import RetryableError
from drivers.containers import Limits, PublishedPort
from drivers.docker import DockerContainers
from drivers.docker_calls import DockerConfig
from drivers.secretfiles import HostSecretFiles
from tests.contract.docker.watching import run
from tests.contract.worlds import DockerWorld, owner, spec, with_network

pytestmark = pytest.mark.docker


# -- what a container may do


async def test_container_is_confined_as_the_engine_sees_it(world: DockerWorld) -> None:
    container = await run(world, await with_network(world, read_only_root=True))
    raw = world.raw.call("GET", "/containers/{}/json", container)
    host = raw["HostConfig"]
    assert host["Privileged"] is False
    assert host["CapDrop"] == ["ALL"]
    assert host["CapAdd"] in (None, [])
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert (host["PidMode"], host["IpcMode"], host["UTSMode"]) == ("", "private", "")
    assert host["Binds"] is None
    assert host["Devices"] in (None, [])
    assert host["MemorySwap"] == host["Memory"]
    assert host["LogConfig"]["Type"] == "local"
    assert "Health" not in raw["State"]
    assert [mount["Type"] for mount in raw["Mounts"]] == []


async def test_process_has_no_capabilities(world: DockerWorld) -> None:
    container = await run(world, spec(world))
    _, status = await world.driver.exec_container(
        container, ("cat", "/proc/self/status"), timeout_s=10
    )
    fields = dict(line.split(":", 1) for line in status.splitlines())
    assert int(fields["CapEff"], 16) == 0
    assert int(fields["CapBnd"], 16) == 0
    assert fields["NoNewPrivs"].strip() == "1"


async def test_a_platform_service_has_what_it_asked_for_and_no_more(world: DockerWorld) -> None:
    wanted = await with_network(
        world,
        owner=replace(owner(world), kind="Platform", namespace="platform"),
        capabilities=("NET_ADMIN",),
        devices=("/dev/net/tun",),
        sysctls={"net.ipv4.ip_forward": "1"},
    )
    container = await run(world, wanted)
    script = "cat /proc/self/status /proc/sys/net/ipv4/ip_forward; ls /dev/net"
    _, said = await world.driver.exec_container(container, ("sh", "-c", script), timeout_s=10)
    fields = dict(line.split(":", 1) for line in said.splitlines() if ":" in line)
    net_admin = 1 << 12  # linux/capability.h
    assert int(fields["CapEff"], 16) == int(fields["CapBnd"], 16) == net_admin
    assert fields["NoNewPrivs"].strip() == "1"
    assert said.splitlines()[-2:] == ["1", "tun"]


async def test_ports_are_published_on_loopback(world: DockerWorld) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    wanted = await with_network(world, ports=(PublishedPort(80, port),))
    container = await run(world, wanted)
    raw = world.raw.call("GET", "/containers/{}/json", container)
    assert raw["NetworkSettings"]["Ports"]["80/tcp"] == [
        {"HostIp": "127.0.0.1", "HostPort": str(port)}
    ]


async def test_taken_port_is_told_as_such(world: DockerWorld) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        wanted = await with_network(world, ports=(PublishedPort(80, holder.getsockname()[1]),))
        with pytest.raises(RetryableError) as caught:
            await run(world, wanted)
    assert caught.value.reason == "PortTaken"


async def test_secret_files_are_read_by_the_containers_user_alone(world: DockerWorld) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        root = Path(folder, "secrets")
        files = HostSecretFiles(root, lambda content: content.hex())
        config = DockerConfig(instance=world.instance, images="local", secrets_root=str(root))
        async with aclosing(DockerContainers(config)) as driver:
            await files.ensure_files("uid-1", {"password": b"s3"}, version="v", user=(70, 70))
            wanted = spec(world, secrets_dir=files.path_of("uid-1"), user="70:70")
            made = await driver.ensure_container(wanted)
            await driver.start_container(made.id)
            read = ("cat", "/run/secrets/password")
            assert await driver.exec_container(made.id, read, timeout_s=10) == (0, "s3")
            await files.ensure_files("uid-1", {"password": b"new"}, version="w", user=(70, 70))
            assert await driver.exec_container(made.id, read, timeout_s=10) == (0, "new")
            code, _ = await driver.exec_container(
                made.id, ("sh", "-c", "echo x > /run/secrets/password"), timeout_s=10
            )
            assert code != 0
            await driver.delete_container(made.id, stop_timeout_s=1)


async def test_missing_secrets_folder_is_retryable_and_not_made(world: DockerWorld) -> None:
    root = f"/dev/shm/{world.instance}"
    config = DockerConfig(instance=world.instance, images="local", secrets_root=root)
    async with aclosing(DockerContainers(config)) as driver:
        with pytest.raises(RetryableError) as caught:
            await driver.ensure_container(spec(world, secrets_dir=f"{root}/uid-1"))
    assert caught.value.reason == "SecretsMissing"
    assert not Path(root).exists()


# -- limits


async def test_swap_given_outside_is_taken_away(world: DockerWorld) -> None:
    made = await world.driver.ensure_container(spec(world))
    world.raw.call(
        "POST",
        "/containers/{}/update",
        made.id,
        body={"Memory": 32 << 20, "MemorySwap": 128 << 20},
    )
    seen = await world.driver.observe_container(made.name, owner(world).uid)
    assert seen is not None
    assert seen.limits != spec(world).limits
    assert (await world.driver.ensure_container(spec(world))).limits == spec(world).limits


async def test_what_processes_share_is_bounded_by_their_memory_alone(world: DockerWorld) -> None:
    wanted = spec(world, limits=Limits(500, 256 << 20, 77))
    container = await run(world, wanted)
    _, mounts = await world.driver.exec_container(container, ("cat", "/proc/mounts"), timeout_s=10)
    (shared,) = (line for line in mounts.splitlines() if line.split()[1] == "/dev/shm")
    size = re.search(r"size=(\d+)k", shared)
    assert size is None or int(size[1]) << 10 >= wanted.limits.memory_bytes


async def test_limits_are_those_of_the_process(world: DockerWorld) -> None:
    container = await run(world, spec(world))
    await world.driver.ensure_container(spec(world, limits=Limits(350, 48 << 20, 77)))
    raw = world.raw.call("GET", "/containers/{}/json", container)
    assert raw["HostConfig"]["NanoCpus"] == 350_000_000
    cgroup = Path("/sys/fs/cgroup/memory/docker", container, "memory.limit_in_bytes")
    if await asyncio.to_thread(cgroup.exists):
        assert int(await asyncio.to_thread(cgroup.read_text)) == 48 << 20
