"""The same container runtime twice, fake and real, with the same ways to interfere from outside."""

import contextlib
import ipaddress
import itertools
import os
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

from controlplane.errors import DriverUnavailableError
from drivers.containers import (
    Containers,
    ContainerSpec,
    ContainerState,
    Limits,
    NetworkAttachment,
    NetworkSpec,
    Owner,
    VolumeState,
)
from drivers.digest import container_digest
from drivers.docker import DockerContainers
from drivers.docker_calls import DockerConfig
from drivers.docker_errors import EngineError, EngineRefusedError, EngineTimeoutError
from drivers.docker_networks import instance_filter
from drivers.docker_sdk import Engine
from drivers.fake.containers import FakeContainers
from drivers.fake.engine import FakeEngine

_serial = itertools.count()


class World(Protocol):
    """A runtime, and an outsider who reaches into it."""

    driver: Containers
    instance: str
    image: str
    subnet: str

    def kill(self, name: str) -> None: ...
    def pause(self, name: str) -> None: ...
    def rename(self, name: str, new_name: str) -> None: ...
    def remove(self, name: str) -> None: ...
    def update(self, name: str, limits: Limits) -> None: ...
    def forbid_restarts(self, name: str) -> None: ...
    def disconnect(self, name: str, network: str) -> None: ...
    def remove_network(self, name: str) -> None: ...
    def remove_volume(self, name: str) -> None: ...
    def add_foreign(self, name: str) -> str: ...
    def add_foreign_volume(self, name: str, *, user: str) -> None:
        """Made by hand; a container of that name, made by hand as well, runs on it."""
        ...

    def exists(self, container_id: str) -> bool: ...
    def lose_next_reply(self, verb: str) -> None: ...
    def close(self) -> None: ...


def owner(world: World, name: str = "shop") -> Owner:
    return Owner(uid=f"uid-{world.instance}-{name}", kind="App", namespace="ns", name=name)


def spec(world: World, name: str = "shop", **changes: Any) -> ContainerSpec:
    """A small container; its digest is made for it."""
    blank = ContainerSpec(
        name=f"{world.instance}-{name}",
        owner=owner(world, name),
        image=world.image,
        digest="",
        limits=Limits(cpu_millicores=200, memory_bytes=32 << 20, pids=64),
        stop_timeout_s=1,
    )
    wanted = replace(blank, **changes)
    return replace(wanted, digest=container_digest(wanted))


def network_spec(world: World, name: str = "net") -> NetworkSpec:
    return NetworkSpec(
        f"{world.instance}-{name}", Owner(f"uid-{name}", "Namespace", "", "ns"), world.subnet
    )


async def with_network(world: World, **changes: Any) -> ContainerSpec:
    """A spec in a network that exists."""
    network = await world.driver.ensure_network(network_spec(world))
    return spec(world, networks=(NetworkAttachment(network.name, ("db", "shop")),), **changes)


async def started(world: World) -> str:
    """The name of a container that runs."""
    made = await world.driver.ensure_container(spec(world))
    await world.driver.start_container(made.id)
    return made.name


async def observed(world: World, name: str) -> ContainerState:
    state = await world.driver.observe_container(name, owner(world).uid)
    assert state is not None
    return state


async def the_id(world: World, name: str) -> str:
    return (await observed(world, name)).id


async def expect(world: World, name: str, *, running: bool, paused: bool) -> None:
    state = await observed(world, name)
    assert (state.running, state.paused) == (running, paused)


class FakeWorld:
    """Interference is the fake engine's own."""

    def __init__(self) -> None:
        self.instance = f"fake{next(_serial)}"
        self.image = "bunker-test/busybox:1"
        self.subnet = "10.231.0.0/28"
        self.engine = FakeEngine(self.instance)
        self.driver: Containers = FakeContainers(self.engine)
        self.kill, self.pause, self.rename = (
            self.engine.kill,
            self.engine.pause,
            self.engine.rename,
        )
        self.remove, self.update = self.engine.remove, self.engine.update
        self.forbid_restarts = self.engine.forbid_restarts
        self.disconnect = self.engine.disconnect
        self.remove_network = self.engine.remove_network
        self.remove_volume = self.engine.remove_volume

    def add_foreign(self, name: str) -> str:
        return self.engine.add_foreign(name).id

    def add_foreign_volume(self, name: str, *, user: str) -> None:
        self.engine.volumes[name] = VolumeState(name, None)
        self.engine.add_foreign(user, mounts=(name,))

    def exists(self, container_id: str) -> bool:
        return container_id in self.engine.containers

    def lose_next_reply(self, verb: str) -> None:
        lost = DriverUnavailableError("docker", f"cannot {verb}: no answer")
        self.engine.fail_next(verb, lost, reply_lost=True)

    def close(self) -> None:
        pass


class LossyEngine(Engine):
    """Does what is asked, counts it, and now and then doesn't say so."""

    lose: str = ""
    hold: str = ""
    """Path of requests that are answered only once `go` is set."""
    asked: Counter[str]

    def __init__(self, url: str, *, timeout_s: float, pool_size: int) -> None:
        super().__init__(url, timeout_s=timeout_s, pool_size=pool_size)
        self.asked = Counter()
        self.go = threading.Event()

    def call(
        self,
        method: str,
        path: str,
        *args: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
    ) -> Any:
        self.asked[f"{method} {path}"] += 1
        answer = super().call(method, path, *args, query=query, body=body, timeout_s=timeout_s)
        if method == "POST" and self.lose and path == self.lose:
            self.lose = ""
            raise EngineTimeoutError("lost on purpose")
        if path == self.hold and not self.go.wait(timeout=20):
            raise EngineTimeoutError("held for too long")
        return answer


class DockerWorld:
    """Interference goes straight to the engine, past the driver."""

    def __init__(self, image: str, subnet: str) -> None:
        self.instance = f"ct{os.getpid()}x{next(_serial)}"
        self.image = image
        self.subnet = subnet
        self.raw = Engine("unix:///var/run/docker.sock", timeout_s=20, pool_size=4)
        self.lossy = LossyEngine("unix:///var/run/docker.sock", timeout_s=20, pool_size=16)
        self.driver: Containers = DockerContainers(
            DockerConfig(instance=self.instance, images="local"), engine=self.lossy
        )
        self.foreign: list[str] = []
        self.foreign_volumes: list[str] = []

    def kill(self, name: str) -> None:
        self.raw.call("POST", "/containers/{}/kill", name)

    def pause(self, name: str) -> None:
        self.raw.call("POST", "/containers/{}/pause", name)

    def rename(self, name: str, new_name: str) -> None:
        self.raw.call("POST", "/containers/{}/rename", name, query={"name": new_name})

    def remove(self, name: str) -> None:
        self.raw.call("DELETE", "/containers/{}", name, query={"force": "1", "v": "1"})

    def update(self, name: str, limits: Limits) -> None:
        changes = {
            "NanoCpus": limits.cpu_millicores * 1_000_000,
            "Memory": limits.memory_bytes,
            "MemorySwap": limits.memory_bytes,
            "PidsLimit": limits.pids,
        }
        self.raw.call("POST", "/containers/{}/update", name, body=changes)

    def forbid_restarts(self, name: str) -> None:
        changes = {"RestartPolicy": {"Name": "no"}}
        self.raw.call("POST", "/containers/{}/update", name, body=changes)

    def disconnect(self, name: str, network: str) -> None:
        body = {"Container": name, "Force": True}
        self.raw.call("POST", "/networks/{}/disconnect", network, body=body)

    def remove_network(self, name: str) -> None:
        for container in self.raw.call("GET", "/networks/{}", name)["Containers"]:
            self.disconnect(container, name)
        self.raw.call("DELETE", "/networks/{}", name)

    def remove_volume(self, name: str) -> None:
        self.raw.call("DELETE", "/volumes/{}", name)

    def add_foreign(self, name: str) -> str:
        made = self.raw.call(
            "POST", "/containers/create", query={"name": name}, body={"Image": self.image}
        )
        self.foreign.append(made["Id"])
        return str(made["Id"])

    def two_networks(self) -> tuple[NetworkSpec, ...]:
        """With room for five containers each."""
        home = Owner("uid-net", "Namespace", "", "ns")
        halves = ipaddress.ip_network(self.subnet).subnets(prefixlen_diff=1)
        return tuple(
            NetworkSpec(f"{self.instance}-{name}", home, str(half))
            for name, half in zip(("home", "other"), halves, strict=True)
        )

    def fail_to_join(self, name: str, network: str, address: str) -> None:
        """As if connected there while another has that address."""
        end = {"IPAMConfig": {"IPv4Address": address}}
        with contextlib.suppress(EngineRefusedError):
            self.raw.call(
                "POST",
                "/networks/{}/connect",
                network,
                body={"Container": name, "EndpointConfig": end},
            )
            raise AssertionError(f"{address} was free")

    def add_foreign_at(self, name: str, network: str, address: str | None) -> None:
        """One that runs, in one of our networks; None: where the engine puts it."""
        end = {"IPAMConfig": {"IPv4Address": address}} if address else {}
        body = {
            "Image": self.image,
            "HostConfig": {"NetworkMode": network},
            "NetworkingConfig": {"EndpointsConfig": {network: end}},
        }
        made = self.raw.call("POST", "/containers/create", query={"name": name}, body=body)
        self.foreign.append(made["Id"])
        self.raw.call("POST", "/containers/{}/start", made["Id"])

    def add_foreign_volume(self, name: str, *, user: str) -> None:
        self.foreign_volumes.append(name)
        self.raw.call("POST", "/volumes/create", body={"Name": name})
        host = {"Mounts": [{"Type": "volume", "Source": name, "Target": "/data"}]}
        body = {"Image": self.image, "HostConfig": host}
        made = self.raw.call("POST", "/containers/create", query={"name": user}, body=body)
        self.foreign.append(made["Id"])
        self.raw.call("POST", "/containers/{}/start", made["Id"])

    def exists(self, container_id: str) -> bool:
        listed = self.raw.call("GET", "/containers/json", query={"all": "1"})
        return any(raw["Id"] == container_id for raw in listed)

    def lose_next_reply(self, verb: str) -> None:
        self.lossy.lose = {
            "ensure_container": "/containers/create",
            "ensure_network": "/networks/create",
        }[verb]

    def close(self) -> None:
        """Remove all that this world made, and nothing else."""
        ours = instance_filter(self.instance)
        found = self.raw.call("GET", "/containers/json", query={"all": "1", **ours})
        # Whatever goes wrong here: the test's own failure is what counts.
        for container in [*(raw["Id"] for raw in found), *self.foreign]:
            with contextlib.suppress(EngineError):
                self.remove(container)
        for network in self.raw.call("GET", "/networks", query=ours):
            with contextlib.suppress(EngineError):
                self.remove_network(network["Id"])
        listed = self.raw.call("GET", "/volumes", query=ours).get("Volumes") or ()
        for volume in [*(each["Name"] for each in listed), *self.foreign_volumes]:
            with contextlib.suppress(EngineError):
                self.remove_volume(volume)
        self.raw.close()
