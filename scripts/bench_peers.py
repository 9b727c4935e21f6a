"""The peers of the container benchmarks: bare calls of the Docker SDK, and docker-compose.

Both make the very container that the control plane makes: bare calls send what the engine tells
of ours, and what compose made is compared with it, setting by setting, before its time counts.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import docker
import yaml
from docker.models.containers import Container

LABEL = "bunker-bench"
PORT = 6379
READY_S = 180.0
REST_S = 1.0
"""Before each round, ours or a peer's: the engine is still busy with what was just removed."""
_OWN = ("NetworkMode", "ContainerIDFile", "Hostname", "Labels")
"""Settings that tell a container from its like."""
_SETS = ("CapAdd", "CapDrop", "Env")


def until(probe: Callable[[], bool], *, every_s: float = 0.005) -> None:
    end = time.monotonic() + READY_S
    while not probe():
        if time.monotonic() > end:
            raise SystemExit("error: a benchmark's server did not start")
        time.sleep(every_s)


def answers(address: str) -> bool:
    """Whether a TCP connection is taken: what an App without a path is asked."""
    try:
        with socket.create_connection((address, PORT), timeout=0.5):
            return True
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class Model:
    """How a container of ours was made, as the engine tells it."""

    config: Mapping[str, Any]
    host: Mapping[str, Any]

    @staticmethod
    def of(container: Container) -> "Model":
        container.reload()
        return Model(container.attrs["Config"], container.attrs["HostConfig"])

    def body(self, network: str) -> dict[str, Any]:
        """What makes another such container in `network`."""
        return {
            **{key: value for key, value in self.config.items() if key != "Hostname"},
            "Labels": {LABEL: "1"},
            "HostConfig": {**self.host, "NetworkMode": network},
            "NetworkingConfig": {"EndpointsConfig": {network: {"Aliases": [LABEL]}}},
        }

    def check(self, made: Container) -> None:
        """End the benchmark if another way of making it came to another container."""
        mine, other = self._settings(), Model.of(made)._settings()
        differs = [key for key in mine.keys() | other.keys() if mine.get(key) != other.get(key)]
        if differs:
            told = ", ".join(f"{key} {other.get(key)!r}, not {mine.get(key)!r}" for key in differs)
            raise SystemExit(f"error: no fair peer: {told}")

    def _settings(self) -> dict[str, Any]:
        """All that isn't empty; lists of names as sets."""
        return {
            key: set(value) if key in _SETS else value
            for key, value in {**self.config, **self.host}.items()
            if value and key not in _OWN
        }


class Bare:
    """The least calls that make a container which answers."""

    def __init__(self, engine: docker.DockerClient) -> None:
        self.engine = engine
        # a name of its own: one of an earlier run may be left (see close), and names aren't unique
        self.network = engine.networks.create(f"{LABEL}-net-{os.getpid()}", labels={LABEL: "1"})

    def run(self, name: str, model: Model) -> Container:
        body = model.body(str(self.network.name))
        made = self.engine.api.create_container_from_config(body, f"{LABEL}-{name}")
        self.engine.api.start(made["Id"])
        return self.engine.containers.get(made["Id"])

    def run_all(self, names: Sequence[str], model: Model, at_once: int) -> float:
        """Seconds until all of them answer."""
        time.sleep(REST_S)
        began = time.monotonic()
        with ThreadPoolExecutor(at_once) as pool:
            self.wait(*pool.map(self.run, names, repeat(model)))
        took_s = time.monotonic() - began
        self.clear()
        return took_s

    def compose(self, names: Sequence[str], model: Model) -> float:
        """Seconds until all of them answer, made by docker-compose."""
        file = {
            "version": "2.4",
            "services": dict.fromkeys(names, _service(model)),
            "networks": {"net": {"external": True, "name": self.network.name}},
        }
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "docker-compose.yaml"
            path.write_text(yaml.safe_dump(file))
            time.sleep(REST_S)
            began = time.monotonic()
            command = ["docker-compose", "-p", LABEL, "-f", str(path), "up", "-d"]
            subprocess.run(command, check=True, capture_output=True)
            made = self.engine.containers.list(filters={"label": LABEL})
            self.wait(*made)
            took_s = time.monotonic() - began
        if len(made) != len(names):
            raise SystemExit(f"error: docker-compose made {len(made)} containers")
        model.check(made[0])
        self.clear()
        return took_s

    def wait(self, *containers: Container) -> None:
        """Until each of them answers."""
        for container in containers:
            until(lambda each=container: answers(self.address(each)))

    def address(self, container: Container) -> str:
        networks = container.attrs["NetworkSettings"]["Networks"]
        found: str = networks[self.network.name]["IPAddress"]
        return found

    def clear(self) -> None:
        left = self.engine.containers.list(all=True, filters={"label": LABEL})
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda each: each.remove(force=True, v=True), left))

    def close(self) -> None:
        self.clear()
        try:
            self.network.remove()
        except docker.errors.APIError as exc:
            # this engine may count endpoints of containers that are gone, until it is restarted
            print(f"network {self.network.name} is left: {exc.explanation}", file=sys.stderr)


def _service(model: Model) -> dict[str, Any]:
    host = model.host
    return {
        "image": model.config["Image"],
        "command": model.config["Cmd"],
        "cpus": host["NanoCpus"] / 1e9,
        "mem_limit": host["Memory"],
        "memswap_limit": host["MemorySwap"],
        "pids_limit": host["PidsLimit"],
        "shm_size": host["ShmSize"],
        "cap_drop": host["CapDrop"],
        "cap_add": host["CapAdd"],
        "security_opt": host["SecurityOpt"],
        "restart": host["RestartPolicy"]["Name"],
        "init": host["Init"],
        "healthcheck": {"disable": True},
        "logging": {"driver": host["LogConfig"]["Type"], "options": host["LogConfig"]["Config"]},
        "stop_grace_period": f"{model.config['StopTimeout']}s",
        "labels": {LABEL: "1"},
        "networks": ["net"],
    }


@contextmanager
def bare_docker(engine: docker.DockerClient) -> Iterator[Bare]:
    bare = Bare(engine)
    try:
        yield bare
    finally:
        bare.close()
