"""One suite for the WireGuard driver on a real gateway (in our own image) and on its fake."""

import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest

from controlplane.errors import RetryableError
from drivers.containers import Containers
from drivers.docker import DockerContainers
from drivers.docker_calls import DockerConfig
from drivers.fake.wireguard import FakeWireGuard
from drivers.wireguard import (
    GATEWAY_FILE,
    INTERFACE_FILE,
    PORT,
    ContainerWireGuard,
    GatewayConfig,
    InterfaceState,
    Peer,
    WireGuard,
    gateway_conf,
    interface_conf,
    parse_show,
)
from drivers.wireguard_keys import generate_private_key, public_key_of
from reconcilers._images import WIREGUARD
from tests.containers import LABEL, Running, bench, docker, wait_until
from tests.contract import worlds

PHONE, LAPTOP = (public_key_of(generate_private_key()) for _ in range(2))
ALONE = GatewayConfig("10.99.0.1/24", 1380, allow=("172.30.1.0/24",))
CAPS = ("NET_ADMIN", "NET_BIND_SERVICE", "SETGID", "SETUID")


class World(Protocol):
    """One gateway, and an outsider who reaches into it."""

    driver: WireGuard
    id: str

    def write(self, files: Mapping[str, bytes]) -> None:
        """What its owner writes for it."""
        ...

    def restart(self, *, up: bool = True) -> None: ...
    def stop(self) -> None: ...
    def add_peer(self, key: str, *allowed_ips: str) -> None: ...
    def remove_peer(self, key: str) -> None: ...
    def break_firewall(self) -> None: ...
    def nonsense(self, files: dict[str, bytes]) -> dict[str, bytes]:
        """The same files, so that no gateway takes them."""
        ...


class FakeWorld:
    def __init__(self) -> None:
        self.outer = worlds.FakeWorld()
        self.files: dict[str, bytes] = {}
        self.fake = FakeWireGuard(self.outer.engine, lambda _: self.files or None)
        self.driver: WireGuard = self.fake
        self.id = ""

    async def begin(self) -> None:
        spec = worlds.spec(self.outer)
        self.id = (await self.outer.driver.ensure_container(spec)).id
        await self.outer.driver.start_container(self.id)

    def write(self, files: Mapping[str, bytes]) -> None:
        self.files = dict(files)

    def restart(self, *, up: bool = True) -> None:
        del up  # at once, if at all
        container = self.outer.engine.containers[self.id]
        self.outer.engine.crash(container.state.name)
        container.state = replace(container.state, running=True)

    def stop(self) -> None:
        self.outer.engine.kill(self.outer.engine.containers[self.id].state.name)

    def add_peer(self, key: str, *allowed_ips: str) -> None:
        self.fake.add_peer(self.id, key, *allowed_ips)

    def remove_peer(self, key: str) -> None:
        self.fake.remove_peer(self.id, key)

    def break_firewall(self) -> None:
        self.fake.meddle(self.id, intact=False)

    def nonsense(self, files: dict[str, bytes]) -> dict[str, bytes]:
        return {INTERFACE_FILE: files[INTERFACE_FILE]}


class RealWorld:
    def __init__(self, gateway: Running, folder: Path, containers: Containers) -> None:
        self.gateway, self.folder, self.id = gateway, folder, gateway.id
        self.driver: WireGuard = ContainerWireGuard(containers)

    def write(self, files: Mapping[str, bytes]) -> None:
        for name, content in files.items():
            staged = self.folder.parent / f"staged-{name}"
            staged.write_bytes(content)
            staged.replace(self.folder / name)

    def restart(self, *, up: bool = True) -> None:
        docker("restart", "--time", "2", self.id)
        if up:
            wait_until(lambda: is_up(self.gateway), of=self.gateway)
        else:
            docker("wait", self.id)

    def stop(self) -> None:
        docker("stop", "--time", "2", self.id)

    def add_peer(self, key: str, *allowed_ips: str) -> None:
        self.gateway.exec("wg", "set", "wg0", "peer", key, "allowed-ips", ",".join(allowed_ips))

    def remove_peer(self, key: str) -> None:
        self.gateway.exec("wg", "set", "wg0", "peer", key, "remove")

    def break_firewall(self) -> None:
        self.gateway.exec("iptables", "-P", "FORWARD", "ACCEPT")

    def nonsense(self, files: dict[str, bytes]) -> dict[str, bytes]:
        return {**files, INTERFACE_FILE: files[INTERFACE_FILE] + b"\nNonsense = 1\n"}


def is_up(gateway: Running) -> bool:
    return "end" in gateway.exec("gateway", "show", check=False)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Path]]:
    folder = tmp_path_factory.mktemp("gateway") / "files"
    folder.mkdir()
    for name, content in files_of(ALONE, generate_private_key()).items():
        (folder / name).write_bytes(content)
    network = f"wg-{os.getpid()}"
    docker("network", "create", "--label", LABEL, network)
    try:
        with bench() as made:
            options = (
                *(f"--cap-add={cap}" for cap in CAPS),
                "--device=/dev/net/tun",
                "--sysctl=net.ipv4.ip_forward=1",
                "--tmpfs=/run/gateway",
                "--tmpfs=/run/wireguard",
                f"--network={network}",
                f"--volume={folder}:/run/secrets:ro",
            )
            running = made.run(WIREGUARD, options=options)
            wait_until(lambda: is_up(running), of=running)
            yield running, folder
    finally:
        docker("network", "rm", network)


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.docker)])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "fake":
        fake = FakeWorld()
        await fake.begin()
        yield fake
        return
    gateway, folder = request.getfixturevalue("gateway")
    config = DockerConfig(instance="wg", images="local")
    async with aclosing(DockerContainers(config)) as containers:
        real = RealWorld(gateway, folder, containers)
        yield real
    if not gateway.running:  # a test failed before it had started it again
        real.write(files_of(ALONE, generate_private_key()))
        real.restart()


def files_of(config: GatewayConfig, private_key: str) -> dict[str, bytes]:
    conf = interface_conf(config).replace("{privatekey}", private_key)
    return {INTERFACE_FILE: conf.encode(), GATEWAY_FILE: gateway_conf(config).encode()}


async def made(world: World, config: GatewayConfig, private_key: str = "") -> InterfaceState:
    world.write(files_of(config, private_key or generate_private_key()))
    await world.driver.ensure_interface(world.id)
    return await seen(world)


async def seen(world: World) -> InterfaceState:
    state = await world.driver.observe_interface(world.id)
    assert state is not None
    return state


def peers(state: InterfaceState) -> set[Peer]:
    return {each.peer for each in state.peers}


async def test_an_interface_is_as_its_files_say(world: World) -> None:
    private_key = generate_private_key()
    phone, laptop = Peer(PHONE, ("10.99.0.2/32",)), Peer(LAPTOP, ("10.99.0.3/32", "192.168.7.0/24"))
    config = replace(ALONE, peers=(phone, laptop), via=("192.168.7.0/24",))
    state = await made(world, config, private_key)
    assert state == await made(world, config, private_key)
    assert (state.public_key, state.listen_port) == (public_key_of(private_key), PORT)
    assert peers(state) == {phone, laptop}
    assert [each.handshake_at for each in state.peers] == [0, 0]
    assert (state.settings, state.intact) == (config.settings, True)


async def test_peers_come_and_go_while_it_runs(world: World) -> None:
    private_key = generate_private_key()
    phone, laptop = Peer(PHONE, ("10.99.0.2/32",)), Peer(LAPTOP, ("10.99.0.3/32",))
    for wanted in ((), (phone,), (phone, laptop), (laptop,), ()):
        config = replace(ALONE, peers=wanted)
        assert peers(await made(world, config, private_key)) == set(wanted)


async def test_what_others_change_is_seen_and_mended(world: World) -> None:
    private_key = generate_private_key()
    phone = Peer(PHONE, ("10.99.0.2/32",))
    config = replace(ALONE, peers=(phone,))
    clean = await made(world, config, private_key)
    world.add_peer(LAPTOP, "10.99.0.9/32")
    assert peers(await seen(world)) == {phone, Peer(LAPTOP, ("10.99.0.9/32",))}
    world.remove_peer(PHONE)
    assert peers(await seen(world)) == {Peer(LAPTOP, ("10.99.0.9/32",))}
    world.break_firewall()
    assert not (await seen(world)).intact
    await world.driver.ensure_interface(world.id)
    assert await seen(world) == clean


async def test_a_restart_keeps_what_is_in_the_files(world: World) -> None:
    private_key = generate_private_key()
    config = replace(ALONE, peers=(Peer(PHONE, ("10.99.0.2/32",)),))
    before = await made(world, config, private_key)
    world.add_peer(LAPTOP, "10.99.0.9/32")
    world.restart()
    assert await seen(world) == before


async def test_settings_change_in_place_and_back(world: World) -> None:
    private_key = generate_private_key()
    first = await made(world, ALONE, private_key)
    other = GatewayConfig(
        "10.98.0.1/25", 1420, allow=("0.0.0.0/0",), between=False, via=("192.168.7.0/24",)
    )
    changed = await made(world, other, private_key)
    assert (changed.settings, changed.intact) == (other.settings, True)
    assert await made(world, ALONE, private_key) == first


async def test_another_private_key_is_another_public_key(world: World) -> None:
    keys = generate_private_key(), generate_private_key()
    states = [await made(world, ALONE, key) for key in keys]
    assert [state.public_key for state in states] == [public_key_of(key) for key in keys]


async def test_files_that_make_no_sense_are_told_without_the_key(world: World) -> None:
    private_key = generate_private_key()
    await made(world, ALONE, private_key)
    world.write(world.nonsense(files_of(ALONE, private_key)))
    with pytest.raises(RetryableError) as caught:
        await world.driver.ensure_interface(world.id)
    assert caught.value.reason == "SyncFailed"
    assert private_key not in str(caught.value)
    world.write(files_of(ALONE, private_key))


async def test_a_start_with_a_file_without_a_key_ends(world: World) -> None:
    private_key = generate_private_key()
    before = await made(world, ALONE, private_key)
    world.write({**files_of(ALONE, private_key), INTERFACE_FILE: b"meddled"})
    world.restart(up=False)
    with pytest.raises(RetryableError) as caught:
        await world.driver.observe_interface(world.id)
    assert caught.value.reason == "WrongState"
    world.write(files_of(ALONE, private_key))
    world.restart()
    assert await seen(world) == before


async def test_a_container_that_does_not_run_is_told_as_such(world: World) -> None:
    world.stop()
    with pytest.raises(RetryableError):
        await world.driver.observe_interface(world.id)
    world.restart()


WHOLE = (
    f"mode wireguard-go\nsettings abc\nintact yes\ninterface {PHONE} 51820\n"
    f"peer {LAPTOP}\t10.99.0.2/32,10.0.0.0/8\t1795827285\t1028\t1020\nend\n"
)


def test_an_answer_is_read() -> None:
    state = parse_show(WHOLE)
    assert state is not None
    assert state.peers[0].peer == Peer(LAPTOP, ("10.0.0.0/8", "10.99.0.2/32"))
    assert (state.peers[0].received_bytes, state.peers[0].sent_bytes) == (1028, 1020)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "end",
        WHOLE.removesuffix("end\n"),
        WHOLE.replace("intact yes\n", ""),
        WHOLE.replace("mode wireguard-go", "mode other"),
        WHOLE.replace("51820", "many"),
        WHOLE.replace(LAPTOP, "short"),
        WHOLE.replace(PHONE, "short"),
        WHOLE.replace("\t1028\t1020", "\t1028"),
    ],
)
def test_half_an_answer_is_none(text: str) -> None:
    assert parse_show(text) is None


class Answering:
    """A runtime whose containers answer so."""

    def __init__(self, code: int, output: str) -> None:
        self.answer = code, output

    async def exec_container(self, *_: object, **__: object) -> tuple[int, str]:
        return self.answer


@pytest.mark.parametrize(("code", "output"), [(0, "OCI runtime"), (127, ""), (0, WHOLE[:50])])
async def test_garbage_is_an_error_and_no_state(code: int, output: str) -> None:
    driver = ContainerWireGuard(Answering(code, output))  # type: ignore[arg-type]  # only exec is asked for
    with pytest.raises(RetryableError) as caught:
        await driver.observe_interface("id")
    assert caught.value.reason == "BadAnswer"


async def test_no_interface_yet_is_none() -> None:
    driver = ContainerWireGuard(Answering(1, ""))  # type: ignore[arg-type]  # only exec is asked for
    assert await driver.observe_interface("id") is None
