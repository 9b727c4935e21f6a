"""Containers: from a record to Ready, fifty at once, and back after a kill; beside bare Docker.

A private installation runs as for the end-to-end tests. The peers (bench_peers.py) make the same
containers on the same engine, in turns with ours, and ask their servers over TCP as ours does:
the least calls of the Docker SDK, docker-compose (Debian's package), and Docker's restart policy.
"""

import argparse
import json
import os
import shutil
import signal
import ssl
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any, Final

from bench_lib import Row, beside, tell, within
from bench_peers import PORT, READY_S, REST_S, Bare, Model, bare_docker, until
from docker.models.containers import Container

from tests.e2e.cloud import Cloud

IMAGE: Final = "bunker.local/redis:7"
NS: Final = "bench"
APPS: Final = f"/apis/bunker.cloud/v1/namespaces/{NS}/apps"
ONE: Final = (250, 64 * 2**20)
"""CPU in millicores and memory in bytes of one App; of one of many: MANY."""
MANY: Final = (20, 24 * 2**20)
AT_ONCE: Final = (2, 4, 8, 16)
"""Bare containers made and started at once: the fastest of these is the peer."""
WRITERS: Final = 8


# --- ours ---


def app(name: str, size: tuple[int, int]) -> dict[str, Any]:
    return {
        "apiVersion": "bunker.cloud/v1",
        "kind": "App",
        "metadata": {"name": name, "namespace": NS},
        "spec": {
            "image": IMAGE,
            "command": ["redis-server", "--save", "", "--protected-mode", "no"],
            "port": PORT,
            "resources": {"cpu": f"{size[0]}m", "memory": size[1]},
        },
    }


def made(cloud: Cloud, names: Sequence[str], size: tuple[int, int]) -> float:
    """Seconds from the first record's creation until a watcher has been told that all are Ready.

    The connections are open before the clock starts, as those of bare Docker's client are, and
    the watcher is in this process, as bare Docker's is.
    """
    headers = {"Authorization": f"Bearer {cloud.token()}", "Content-Type": "application/json"}
    watch = connected(cloud, READY_S + 20)
    watch.request("GET", f"{APPS}?watch=1&timeoutSeconds={READY_S:.0f}", headers=headers)
    waiting = ThreadPoolExecutor(1).submit(wait_ready, set(names), watch)
    writers = [connected(cloud, 20) for _ in range(min(WRITERS, len(names)))]

    def write(number: int) -> None:
        for name in names[number :: len(writers)]:
            writers[number].request("POST", APPS, json.dumps(app(name, size)), headers)
            answer = writers[number].getresponse()
            assert (answer.read(), answer.status)[1] == 201, answer.status

    time.sleep(REST_S)  # the watch is open
    began = time.monotonic()
    with ThreadPoolExecutor(len(writers)) as pool:
        list(pool.map(write, range(len(writers))))
    waiting.result()
    took_s = time.monotonic() - began
    for each in (*writers, watch):
        each.close()
    return took_s


def connected(cloud: Cloud, timeout_s: float) -> HTTPSConnection:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    opened = HTTPSConnection("127.0.0.1", cloud.port, timeout=timeout_s, context=context)
    opened.connect()
    return opened


def model_of(cloud: Cloud, bare: Bare, size: tuple[int, int]) -> Model:
    """How ours makes a container of this size."""
    made(cloud, ["model"], size)
    model = Model.of(cloud.containers("model", NS, engine=bare.engine)[0])
    remove(cloud, "model")
    return model


def wait_ready(names: set[str], watch: HTTPSConnection) -> None:
    """Return once all of these Apps have been Ready, as a watcher sees it."""
    missing = set(names)
    answer = watch.getresponse()
    while missing and (line := answer.readline()):
        found = json.loads(line)["object"]
        conditions = found.get("status", {}).get("conditions", ())
        if any(c["type"] == "Ready" and c["status"] == "True" for c in conditions):
            missing.discard(found["metadata"]["name"])
    assert not missing, f"not Ready: {sorted(missing)}"


def remove(cloud: Cloud, *names: str) -> None:
    cloud.kubectl("delete", "apps", "-n", NS, *names)


# --- the rows ---


def one_ready(cloud: Cloud, bare: Bare, rounds: int) -> Row:
    model = model_of(cloud, bare, ONE)
    ours, theirs = [], []
    for turn in range(rounds + 1):
        name = f"one{turn}"
        theirs.append(bare.run_all([name], model, 1))
        ours.append(made(cloud, [name], ONE))
        remove(cloud, name)
    return beside(
        "created -> Ready, one redis",
        "s",
        ours[1:],
        "bare create+start+probe",
        theirs[1:],
        goal=1.15,
        better="less",
        setup=f"redis 7, {ONE[0]}m, 64 MiB, asked over TCP; ours until a watcher is told",
    )


def many_ready(cloud: Cloud, bare: Bare, rounds: int, count: int) -> list[Row]:
    model = model_of(cloud, bare, MANY)
    names = [f"many-{number}" for number in range(count)]
    tried = {at_once: bare.run_all(names, model, at_once) for at_once in AT_ONCE}
    best = min(tried, key=lambda at_once: tried[at_once])
    ours, theirs, compose = [], [], []
    for _ in range(rounds):
        theirs.append(bare.run_all(names, model, best))
        ours.append(made(cloud, names, MANY))
        remove(cloud, *names)
        if shutil.which("docker-compose"):
            compose.append(bare.compose(names, model))
    found = ", ".join(f"{at_once} at once {took_s:.1f} s" for at_once, took_s in tried.items())
    setup = f"{count} redis 7, {MANY[0]}m and 24 MiB each, asked over TCP"
    rows = [
        beside(
            f"{count} Apps -> all Ready",
            "s",
            ours,
            f"bare Docker, {best} at once",
            theirs,
            goal=1.15,
            better="less",
            setup=f"{setup}; bare, tried once: {found}",
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


def healed(cloud: Cloud, bare: Bare, rounds: int) -> list[Row]:
    """From a kill to running again, as Docker's clock has it."""
    made(cloud, ["heal"], ONE)
    mine = cloud.containers("heal", NS, engine=bare.engine)[0]
    plain, policy = (bare.run(name, Model.of(mine)) for name in ("plain", "policy"))
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
    setup = f"redis 7, {ONE[0]}m; from the kill to the engine's StartedAt"
    return [
        within("killed -> running, above bare start", "ms", extra, 250, setup=setup),
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
        with cloud.engine() as engine, bare_docker(engine) as bare:
            tell([one_ready(cloud, bare, options.rounds)])
            tell(healed(cloud, bare, options.rounds))
            tell(many_ready(cloud, bare, options.many_rounds, options.many))
    finally:
        cloud.destroy()
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
