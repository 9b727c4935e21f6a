"""What only the Docker driver must do: its quirks, its faults, its speed. A real engine.

Over 400 lines, because all that only a real engine does is looked up in one place.
"""

import asyncio
import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from docker import APIClient

from controlplane.errors import (
    DriverUnavailableError,
    RetryableError,
    StaleEpochError,
)
from drivers.containers import (
    LABEL_EPOCH,
    ContainerSpec,
    Limits,
    NetworkAttachment,
    OwnerChanged,
    PublishedPort,
)
from drivers.docker import DockerContainers
from drivers.docker_body import network_body
from drivers.docker_calls import DockerConfig
from drivers.secretfiles import HostSecretFiles
from tests.contract.conftest import free_subnet
from tests.contract.worlds import DockerWorld, network_spec, owner, spec, with_network

pytestmark = pytest.mark.docker

ENGINE_SOCKET = "/var/run/docker.sock"


@pytest.fixture
async def world(docker_client: APIClient, busybox: str) -> AsyncIterator[DockerWorld]:
    made = DockerWorld(busybox, free_subnet(docker_client))
    try:
        yield made
    finally:
        await made.driver.aclose()
        made.close()


async def run(world: DockerWorld, wanted: ContainerSpec) -> str:
    made = await world.driver.ensure_container(wanted)
    await world.driver.start_container(made.id)
    return made.id


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
        driver = DockerContainers(
            DockerConfig(instance=world.instance, images="local", secrets_root=str(root))
        )
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
        await driver.aclose()


async def test_missing_secrets_folder_is_retryable_and_not_made(world: DockerWorld) -> None:
    root = f"/dev/shm/{world.instance}"
    driver = DockerContainers(
        DockerConfig(instance=world.instance, images="local", secrets_root=root)
    )
    with pytest.raises(RetryableError) as caught:
        await driver.ensure_container(spec(world, secrets_dir=f"{root}/uid-1"))
    await driver.aclose()
    assert caught.value.reason == "SecretsMissing"
    assert not Path(root).exists()


# -- faults


async def test_broken_command_is_seen_as_a_restart_loop(world: DockerWorld) -> None:
    # With an init in between the container starts; it is the init that ends with 127, ever again.
    made = await world.driver.ensure_container(spec(world, command=("no-such-program",)))
    await world.driver.start_container(made.id)
    async with asyncio.timeout(20):
        while True:
            state = await world.driver.observe_container(made.name, owner(world).uid)
            assert state is not None
            if state.restarting and state.restart_count > 1:
                break
            await asyncio.sleep(0.1)
    assert (state.running, state.exit_code) == (False, 127)


@pytest.mark.parametrize(
    ("reference", "way_out"),
    [
        ("bunker.local/absent:1", "scripts/images --all"),
        ("absent:1", "build, load or pull it here"),
    ],
)
async def test_missing_image_is_told_with_the_way_out_and_looked_for_again(
    world: DockerWorld, reference: str, way_out: str
) -> None:
    with pytest.raises(RetryableError) as caught:
        await world.driver.ensure_image(reference)
    assert caught.value.reason == "ImageNotFound"
    assert way_out in str(caught.value)


async def test_engine_away_is_unavailable() -> None:
    driver = DockerContainers(DockerConfig(instance="x", url="unix:///nowhere/docker.sock"))
    with pytest.raises(DriverUnavailableError):
        await driver.observe_engine()
    with pytest.raises(DriverUnavailableError):
        await driver.list_containers()
    await driver.aclose()


async def test_process_that_lost_its_lease_changes_nothing(world: DockerWorld) -> None:
    def deposed() -> int:
        raise StaleEpochError("deposed")

    driver = DockerContainers(DockerConfig(instance=world.instance), guard=deposed)
    with pytest.raises(StaleEpochError):
        await driver.ensure_container(spec(world))
    with pytest.raises(StaleEpochError):
        await driver.ensure_network(network_spec(world))
    assert await driver.list_containers() == ()
    assert await driver.list_networks() == ()
    await driver.aclose()


async def test_objects_carry_the_epoch_they_were_made_under(world: DockerWorld) -> None:
    driver = DockerContainers(DockerConfig(instance=world.instance), guard=lambda: 42)
    made = await driver.ensure_container(spec(world))
    await driver.aclose()
    assert made.labels[LABEL_EPOCH] == "42"


async def test_duplicate_networks_are_resolved_to_the_oldest(world: DockerWorld) -> None:
    wanted = network_spec(world)
    body = {**network_body(wanted, instance=world.instance, epoch=0), "CheckDuplicate": False}
    first = world.raw.call("POST", "/networks/create", body=body)["Id"]
    # The engine takes the same name again, and only refuses the same subnet.
    other_subnet = {**body, "IPAM": {"Driver": "default"}}
    world.raw.call("POST", "/networks/create", body=other_subnet)
    assert len(await world.driver.list_networks()) == 2
    assert (await world.driver.ensure_network(wanted)).id == first
    assert [state.id for state in await world.driver.list_networks()] == [first]


async def test_delete_container_leaves_no_anonymous_volume(
    world: DockerWorld, docker_client: APIClient
) -> None:
    body = {"Image": world.image, "Volumes": {"/data": {}}}
    made = await world.driver.ensure_container(spec(world))
    labels = world.raw.call("GET", "/containers/{}/json", made.id)["Config"]["Labels"]
    await world.driver.delete_container(made.id)
    query = {"name": made.name}
    again = world.raw.call(
        "POST", "/containers/create", query=query, body={**body, "Labels": labels}
    )["Id"]
    world.raw.call("POST", "/containers/{}/start", again)
    (mount,) = world.raw.call("GET", "/containers/{}/json", again)["Mounts"]
    await world.driver.delete_container(again, stop_timeout_s=1)
    volumes = docker_client.volumes()["Volumes"] or ()
    assert mount["Name"] not in {volume["Name"] for volume in volumes}


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


async def test_limits_are_those_of_the_process(world: DockerWorld) -> None:
    container = await run(world, spec(world))
    await world.driver.ensure_container(spec(world, limits=Limits(350, 48 << 20, 77)))
    raw = world.raw.call("GET", "/containers/{}/json", container)
    assert raw["HostConfig"]["NanoCpus"] == 350_000_000
    cgroup = Path("/sys/fs/cgroup/memory/docker", container, "memory.limit_in_bytes")
    if await asyncio.to_thread(cgroup.exists):
        assert int(await asyncio.to_thread(cgroup.read_text)) == 48 << 20


# -- exec


async def test_exec_output_is_capped(world: DockerWorld) -> None:
    container = await run(world, spec(world))
    code, output = await world.driver.exec_container(
        container, ("sh", "-c", "yes | head -c 1000000"), timeout_s=20
    )
    assert (code, len(output)) == (0, 64 * 1024)


async def test_exec_never_loses_the_output_of_a_fast_process(world: DockerWorld) -> None:
    container = await run(world, spec(world))
    outputs = [
        await world.driver.exec_container(container, ("echo", "hello"), timeout_s=10)
        for _ in range(10)
    ]
    assert outputs == [(0, "hello\n")] * 10


async def test_exec_ends_after_its_timeout(world: DockerWorld) -> None:
    container = await run(world, spec(world))
    before = time.monotonic()
    with pytest.raises(RetryableError):
        await world.driver.exec_container(container, ("sleep", "30"), timeout_s=0.5)
    assert time.monotonic() - before < 3


# -- events and the cache


class Proxy:
    """A socket in front of the engine's that can be cut."""

    def __init__(self) -> None:
        self.folder = tempfile.mkdtemp()
        self.path = f"{self.folder}/docker.sock"
        self.open = True
        self._pairs: list[socket.socket] = []
        self._pumps: list[threading.Thread] = []
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._server.bind(self.path)
        self._server.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self.open = False
        for end in self._pairs:
            with_shutdown(end)
        self._pairs.clear()

    def mend(self) -> None:
        self.open = True

    def close(self) -> None:
        self.cut()
        with_shutdown(self._server)
        self._server.close()
        for pump in self._pumps:
            pump.join(5)
        shutil.rmtree(self.folder)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            if not self.open:
                near.close()
                continue
            far = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            far.connect(ENGINE_SOCKET)
            self._pairs += [near, far]
            for one, other in ((near, far), (far, near)):
                pump = threading.Thread(target=self._pump, args=(one, other), daemon=True)
                self._pumps.append(pump)
                pump.start()

    @staticmethod
    def _pump(one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(65536):
                other.sendall(data)
        except OSError:
            pass
        finally:
            with_shutdown(other)
            one.close()


def with_shutdown(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    made = Proxy()
    yield made
    made.close()


class Listener:
    """Reads events all the time, notes when each came."""

    def __init__(self) -> None:
        self.told: list[tuple[float, OwnerChanged]] = []
        self.news = asyncio.Event()

    async def until(self, what: str, count: int = 1) -> float:
        """When `what` had been told `count` times."""
        async with asyncio.timeout(10):
            while True:
                times = [at for at, change in self.told if what in change.what]
                if len(times) >= count:
                    return times[count - 1]
                self.news.clear()
                await self.news.wait()


@asynccontextmanager
async def listening(driver: DockerContainers) -> AsyncIterator[Listener]:
    listener = Listener()

    async def read() -> None:
        # The Protocol promises an iterator; ours can be closed, too.
        generator = cast("AsyncGenerator[OwnerChanged, None]", driver.events())
        async with aclosing(generator) as events:
            async for change in events:
                listener.told.append((time.monotonic(), change))
                listener.news.set()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(read())
        await listener.until("connected")
        yield listener
        task.cancel()


async def test_events_come_back_after_the_engine_was_away(world: DockerWorld, proxy: Proxy) -> None:
    driver = DockerContainers(
        DockerConfig(instance=world.instance, images="local", url=f"unix://{proxy.path}")
    )
    made = await driver.ensure_container(spec(world))
    await driver.start_container(made.id)
    async with listening(driver) as listener:
        proxy.cut()
        with pytest.raises(DriverUnavailableError):
            await driver.observe_container(made.name, owner(world).uid)
        world.kill(made.name)
        proxy.mend()
        await listener.until("connected", count=2)
        state = await driver.observe_container(made.name, owner(world).uid)
        assert state is not None
        assert not state.running
        await driver.start_container(made.id)
        await listener.until("container start")
    await driver.aclose()


async def test_death_is_told_within_250_ms(world: DockerWorld) -> None:
    driver = cast("DockerContainers", world.driver)
    container = await run(world, spec(world))
    async with listening(driver) as listener:
        for count in (1, 2, 3):
            before = time.monotonic()
            await asyncio.to_thread(world.kill, spec(world).name)
            told = await listener.until("container kill", count=count)
            assert told - before < 0.25
            await driver.start_container(container)
            await asyncio.sleep(0.1)


async def test_unchanged_world_costs_the_engine_no_call(world: DockerWorld) -> None:
    driver = cast("DockerContainers", world.driver)
    wanted = await with_network(world)
    uid, network = wanted.owner.uid, wanted.networks[0].network
    await run(world, wanted)
    async with listening(driver):
        await asyncio.sleep(0.3)
        for _ in range(2):
            await driver.observe_container(wanted.name, uid)
            await driver.list_containers(uid)
            await driver.observe_network(network)
            await driver.observe_image(world.image)
        cache = driver.cache
        before = (cache.containers.misses, cache.networks.misses, cache.images.misses)
        for _ in range(5):
            assert await driver.observe_container(wanted.name, uid) is not None
            assert len(await driver.list_containers(uid)) == 1
            assert await driver.observe_network(network) is not None
            assert await driver.observe_image(world.image) is not None
        assert before == (cache.containers.misses, cache.networks.misses, cache.images.misses)


async def test_a_new_container_costs_the_engine_few_calls(world: DockerWorld) -> None:
    driver = cast("DockerContainers", world.driver)
    wanted = await with_network(world)
    uid, network = wanted.owner.uid, wanted.networks[0].network
    async with listening(driver) as listener:
        await asyncio.sleep(0.3)  # the list that tells who owns what is taken
        await driver.observe_network(network)
        await driver.observe_engine()
        await driver.observe_container("nobody", uid)
        world.lossy.asked.clear()
        made = await driver.ensure_container(wanted)
        await driver.start_container(made.id)
        await listener.until("container start")
        await asyncio.gather(*(driver.list_containers(uid) for _ in range(3)))
        found = await driver.observe_network(network)
        await driver.observe_engine()
        assert found is not None
        assert found.container_ids == (made.id,)
        assert world.lossy.asked == {
            "POST /containers/create": 1,
            "POST /containers/{}/start": 1,
            "GET /containers/{}/json": 1,  # once started
        }
        assert "network connect" not in {change.what for _, change in listener.told}


async def test_a_start_that_several_are_told_of_is_looked_at_once(world: DockerWorld) -> None:
    driver = cast("DockerContainers", world.driver)
    made = await driver.ensure_container(spec(world))
    uid = owner(world).uid
    async with listening(driver) as one, listening(driver) as other, asyncio.TaskGroup() as tasks:
        await asyncio.sleep(0.3)  # the lists that tell who owns what are taken
        world.lossy.asked.clear()
        world.lossy.hold = "/containers/{}/start"
        starting = tasks.create_task(driver.start_container(made.id))
        await one.until("container start")
        seen = await driver.list_containers(uid)
        await other.until("container start")
        assert await driver.list_containers(uid) == seen
        world.lossy.go.set()
        await starting
        assert await driver.list_containers(uid) == seen
        assert [state.running for state in seen] == [True]
        assert world.lossy.asked["GET /containers/{}/json"] == 1


async def test_renamed_container_is_found_while_events_are_read(world: DockerWorld) -> None:
    driver = cast("DockerContainers", world.driver)
    wanted = spec(world)
    async with listening(driver) as listener:
        made = await driver.ensure_container(wanted)
        world.rename(wanted.name, f"{world.instance}-hidden")
        await listener.until("container rename")
        seen = await driver.observe_container(wanted.name, wanted.owner.uid)
        assert seen is not None
        assert seen.name == f"{world.instance}-hidden"
        healed = await driver.ensure_container(wanted)
        assert (healed.id, healed.name) == (made.id, wanted.name)


async def test_own_changes_are_seen_at_once(world: DockerWorld) -> None:
    driver = cast("DockerContainers", world.driver)
    wanted = await with_network(world)
    made = await driver.ensure_container(wanted)
    async with listening(driver):
        for _ in range(3):
            await driver.start_container(made.id)
            state = await driver.observe_container(wanted.name, wanted.owner.uid)
            assert state is not None
            assert state.running
            await driver.stop_container(made.id, timeout_s=1)
            state = await driver.observe_container(wanted.name, wanted.owner.uid)
            assert state is not None
            assert not state.running
        renamed = (NetworkAttachment(wanted.networks[0].network, ("new",)),)
        after = await driver.ensure_container(spec(world, networks=renamed))
        assert after == await driver.observe_container(wanted.name, wanted.owner.uid)
        await driver.delete_container(made.id)
        assert await driver.list_containers(wanted.owner.uid) == ()


async def test_cancelled_call_is_waited_for(world: DockerWorld) -> None:
    made = await world.driver.ensure_container(
        spec(world, command=("sh", "-c", "trap '' TERM; sleep 100 & wait"))
    )
    await world.driver.start_container(made.id)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(world.driver.stop_container(made.id, timeout_s=1))
        await asyncio.sleep(0.3)
        task.cancel()
    state = await world.driver.observe_container(made.name, owner(world).uid)
    assert state is not None
    assert not state.running, "the stop went on after its caller was let go"


async def test_threads_end_with_the_driver() -> None:
    driver = DockerContainers(DockerConfig(instance=f"t{os.getpid()}"))
    before = set(threading.enumerate())
    await driver.observe_engine()
    async with listening(driver):
        pass
    await driver.aclose()
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith("docker-"):
            await asyncio.to_thread(thread.join, 5)
            assert not thread.is_alive()
