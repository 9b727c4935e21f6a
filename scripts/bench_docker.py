"""Containers: from a record to Ready, fifty at once, and back after a kill; beside bare Docker.

A private installation runs as for the end-to-end tests. The peers do the same on the same engine:
the least calls of the Docker SDK, docker-compose (Debian's package), and Docker's restart policy.
Both sides have the same image, command, CPU and memory limits, and ask the server over TCP.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import yaml
from bench_lib import Row, beside, tell, within
from docker.models.containers import Container

from tests.e2e.cloud import Cloud

IMAGE = "bunker.local/redis:7"
PORT = 6379
NS = "bench"
LABEL = "bunker-bench"
CPU_MILLICORES = 250
MEMORY_BYTES = 64 * 2**20
MANY_CPU_MILLICORES = 20
MANY_MEMORY_BYTES = 24 * 2**20
READY_S = 180.0
WORKERS = 2
"""Bare starts at once: as many as cores was fastest (16 containers: 2 at a time 3.8 s, 4 at a time
5.8 s, one by one 5.6 s)."""


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


# --- bare Docker ---


class Bare:
    """The least calls that make a container which answers."""

    def __init__(self, engine: docker.DockerClient) -> None:
        self.engine = engine
        self.network = engine.networks.create(f"{LABEL}-net", labels={LABEL: "1"})

    def run(self, name: str, millicores: int, memory: int, **more: Any) -> Container:
        container = self.engine.containers.create(
            IMAGE,
            ["redis-server", "--save", "", "--protected-mode", "no"],
            name=f"{LABEL}-{name}",
            labels={LABEL: "1"},
            network=self.network.name,
            nano_cpus=millicores * 1_000_000,
            mem_limit=memory,
            **more,
        )
        container.start()
        return container

    def wait(self, *containers: Container) -> None:
        """Until each of them answers."""
        for container in containers:
            until(lambda each=container: answers(self.address(each)))

    def address(self, container: Container) -> str:
        if not container.attrs["NetworkSettings"]["Networks"][self.network.name]["IPAddress"]:
            container.reload()
        found: str = container.attrs["NetworkSettings"]["Networks"][self.network.name]["IPAddress"]
        return found

    def clear(self) -> None:
        left = self.engine.containers.list(all=True, filters={"label": LABEL})
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda each: each.remove(force=True, v=True), left))

    def close(self) -> None:
        self.clear()
        self.network.remove()


@contextmanager
def bare_docker(cloud: Cloud) -> Iterator[Bare]:
    with cloud.engine() as engine:
        bare = Bare(engine)
        try:
            yield bare
        finally:
            bare.close()


# --- ours ---


def app(name: str, millicores: int, memory: int) -> dict[str, Any]:
    return {
        "apiVersion": "bunker.cloud/v1",
        "kind": "App",
        "metadata": {"name": name, "namespace": NS},
        "spec": {
            "image": IMAGE,
            "command": ["redis-server", "--save", "", "--protected-mode", "no"],
            "port": PORT,
            "resources": {"cpu": f"{millicores}m", "memory": memory},
        },
    }


def make(cloud: Cloud, record: dict[str, Any]) -> None:
    path = f"/apis/bunker.cloud/v1/namespaces/{NS}/apps"
    answer = cloud.call("POST", path, record)
    assert answer.status == 201, answer.body


def wait_ready(cloud: Cloud, names: set[str]) -> None:
    """Return once all of these Apps have been Ready, as a watcher sees it."""
    kubectl = Path(shutil.which("kubectl") or "kubectl")
    watch = subprocess.Popen(
        [kubectl, f"--kubeconfig={cloud.kubeconfig}", "get", "--raw",
         f"/apis/bunker.cloud/v1/namespaces/{NS}/apps?watch=1"],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert watch.stdout is not None
    guard = threading.Timer(READY_S, watch.kill)
    guard.start()
    missing = set(names)
    for line in watch.stdout:
        found = json.loads(line)["object"]
        conditions = found.get("status", {}).get("conditions", ())
        if any(c["type"] == "Ready" and c["status"] == "True" for c in conditions):
            missing.discard(found["metadata"]["name"])
        if not missing:
            break
    guard.cancel()
    watch.kill()
    watch.wait()
    watch.stdout.close()
    assert not missing, f"not Ready: {sorted(missing)}"


def remove(cloud: Cloud, *names: str) -> None:
    cloud.kubectl("delete", "apps", "-n", NS, *names)


# --- the rows ---


def one_ready(cloud: Cloud, bare: Bare, rounds: int) -> Row:
    ours, theirs = [], []
    for turn in range(rounds + 1):
        began = time.monotonic()
        bare.wait(bare.run(f"one{turn}", CPU_MILLICORES, MEMORY_BYTES))
        theirs.append(time.monotonic() - began)
        bare.clear()
        waiting = ThreadPoolExecutor(1).submit(wait_ready, cloud, {f"one{turn}"})
        time.sleep(0.3)  # the watch is open before the clock starts
        began = time.monotonic()
        make(cloud, app(f"one{turn}", CPU_MILLICORES, MEMORY_BYTES))
        waiting.result()
        ours.append(time.monotonic() - began)
        remove(cloud, f"one{turn}")
    return beside(
        "created -> Ready, one redis",
        "s",
        ours[1:],
        "bare create+start+probe",
        theirs[1:],
        goal=1.15,
        better="less",
        setup=f"redis 7, {CPU_MILLICORES}m, 64 MiB, asked over TCP; ours until a watcher is told",
    )


def many_ready(cloud: Cloud, bare: Bare, rounds: int, count: int) -> list[Row]:
    ours, theirs, compose = [], [], []
    for turn in range(rounds):
        names = [f"many{turn}-{number}" for number in range(count)]
        began = time.monotonic()
        with ThreadPoolExecutor(WORKERS) as pool:
            made = pool.map(lambda n: bare.run(n, MANY_CPU_MILLICORES, MANY_MEMORY_BYTES), names)
            bare.wait(*made)
        theirs.append(time.monotonic() - began)
        bare.clear()
        waiting = ThreadPoolExecutor(1).submit(wait_ready, cloud, set(names))
        time.sleep(0.3)
        began = time.monotonic()
        with ThreadPoolExecutor(16) as pool:
            records = [app(name, MANY_CPU_MILLICORES, MANY_MEMORY_BYTES) for name in names]
            list(pool.map(lambda record: make(cloud, record), records))
        waiting.result()
        ours.append(time.monotonic() - began)
        remove(cloud, *names)
        if shutil.which("docker-compose"):
            compose.append(composed(bare, names))
    setup = f"{count} redis 7, {MANY_CPU_MILLICORES}m and 24 MiB each, asked over TCP"
    rows = [
        beside(
            f"{count} Apps -> all Ready",
            "s",
            ours,
            f"bare Docker, {WORKERS} at once",
            theirs,
            goal=1.15,
            better="less",
            setup=setup,
        )
    ]
    if compose:
        rows.append(
            beside(
                f"{count} Apps / docker-compose",
                "s",
                ours,
                "docker-compose up",
                compose,
                goal=1.0,
                better="less",
                setup=setup,
            )
        )
    return rows


def composed(bare: Bare, names: list[str]) -> float:
    service = {
        "image": IMAGE,
        "command": ["redis-server", "--save", "", "--protected-mode", "no"],
        "cpus": MANY_CPU_MILLICORES / 1000,
        "mem_limit": MANY_MEMORY_BYTES,
        "labels": {LABEL: "1"},
        "networks": ["net"],
    }
    file = {
        "version": "2.4",
        "services": dict.fromkeys(names, service),
        "networks": {"net": {"external": True, "name": bare.network.name}},
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "docker-compose.yaml"
        path.write_text(yaml.safe_dump(file))
        began = time.monotonic()
        command = ["docker-compose", "-p", LABEL, "-f", str(path), "up", "-d"]
        subprocess.run(command, check=True, capture_output=True)
        bare.wait(*bare.engine.containers.list(filters={"label": LABEL}))
        took = time.monotonic() - began
    bare.clear()
    return took


def healed(cloud: Cloud, bare: Bare, rounds: int) -> list[Row]:
    """From a kill to running again, as Docker's clock has it."""
    make(cloud, app("heal", CPU_MILLICORES, MEMORY_BYTES))
    wait_ready(cloud, {"heal"})
    mine = cloud.containers("heal", NS, engine=bare.engine)[0]
    plain = bare.run("plain", CPU_MILLICORES, MEMORY_BYTES)
    policy = bare.run(
        "policy", CPU_MILLICORES, MEMORY_BYTES, restart_policy={"Name": "unless-stopped"}
    )
    extra, ours, restarts = [], [], []
    for _ in range(rounds):
        plain.kill()
        began = time.monotonic()
        plain.start()
        start_s = time.monotonic() - began
        ours.append(back_s(mine, mine.kill))
        extra.append((ours[-1] - start_s) * 1000)
        time.sleep(11)  # a container that ran for 10 s is restarted without Docker's back-off
        policy.reload()
        pid = int(policy.attrs["State"]["Pid"])
        assert pid > 1  # 0 would be this process and all it started
        restarts.append(back_s(policy, lambda pid=pid: os.kill(pid, signal.SIGKILL)))
    remove(cloud, "heal")
    bare.clear()
    setup = f"redis 7, {CPU_MILLICORES}m; from the kill to the engine's StartedAt"
    return [
        within("killed -> running, above bare start", "ms", extra, 250, better="less", setup=setup),
        beside(
            "killed -> running / restart policy",
            "s",
            ours,
            "Docker's restart policy",
            restarts,
            goal=0.0,
            better="more",
            setup=f"{setup}; its policy heals a process that died, not `docker kill`",
        ),
    ]


def back_s(container: Container, kill: Callable[[], object]) -> float:
    container.reload()
    before = container.attrs["State"]["StartedAt"]
    began = time.monotonic()
    kill()

    def running() -> bool:
        container.reload()
        state = container.attrs["State"]
        return bool(state["Running"]) and state["StartedAt"] != before

    until(running)
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--many-rounds", type=int, default=2)
    parser.add_argument("--many", type=int, default=50)
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="bunker-bench-"))
    cloud = Cloud(home / "data", f"bench-{os.getpid()}")
    try:
        cloud.start()
        cloud.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NS}})
        cloud.wait_ready("namespace", NS)
        with bare_docker(cloud) as bare:
            tell([one_ready(cloud, bare, options.rounds)])
            tell(healed(cloud, bare, options.rounds))
            tell(many_ready(cloud, bare, options.many_rounds, options.many))
    finally:
        cloud.destroy()
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
