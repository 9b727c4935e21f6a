"""Deploys under load: an App with two replicas behind the ingress changes again and again.

Six clients ask all the time, half of them over one connection each, through the ingress
(Traefik). The peer is the same load with as many requests and nothing that changes.
"""

import argparse
import time
from collections.abc import Sequence
from itertools import pairwise

from bench_cloud import private_cloud
from bench_lib import Row, beside, none_of, quantile, tell

from tests.e2e.cloud import Cloud
from tests.e2e.routing import CLIENTS, Load, load, routed, web, with_ingress

NS = "bench"
HOST = "rolling.example.org"
REPLICAS = 2
SIZE = {"cpu": "400m", "memory": "96Mi"}
"""Enough that the load is not held back by the limit of the CPU."""
GROUPS = 5
"""Rounds that the deploys, and the requests without one, are divided into for the spread."""
P50_GOAL = 2.0
P99_GOAL = 5.0
Told = Sequence[tuple[str, float]]


def deploy(cloud: Cloud, number: int) -> None:
    """Return once both replicas are new ones and routed to."""
    before = replicas(cloud)
    env = [{"name": "VERSION", "value": str(number)}]
    cloud.apply(web(NS, HOST, replicas=REPLICAS, env=env, resources=SIZE))
    routed(cloud, NS)
    assert len(after := replicas(cloud)) == REPLICAS, after
    assert not before & after


def replicas(cloud: Cloud) -> set[str]:
    """Ids of the App's containers."""
    with cloud.engine() as engine:
        return {str(each.id) for each in cloud.containers("web", NS, engine=engine)}


def rolling(cloud: Cloud, running: Load, deploys: int) -> list[Told]:
    """What the clients were told during so many deploys in a row, in groups."""
    bounds = [running.asked]
    for number in range(deploys):
        deploy(cloud, number)
        bounds.append(running.asked)
    each = [running.told[a:b] for a, b in pairwise(bounds)]
    size = deploys // GROUPS
    return [[told for part in each[i : i + size] for told in part] for i in range(0, deploys, size)]


def quiet(running: Load, sizes: Sequence[int]) -> list[Told]:
    """The same numbers of requests while nothing changes."""
    found: list[Told] = []
    for size in sizes:
        began = running.asked
        while running.asked < began + size:
            time.sleep(0.05)
        found.append(running.told[began : began + size])
    return found


def rows_of(changing: Sequence[Told], resting: Sequence[Told], deploys: int) -> list[Row]:
    setup = (
        f"{deploys} deploys in a row of an App with {REPLICAS} replicas and surge 1; "
        f"{CLIENTS} clients through the ingress, half of them with a new connection each time"
    )
    rows = [
        none_of(
            "requests lost by rolling deploys",
            "requests",
            [sum(answer != "200" for answer, _ in told) for told in changing],
            "requests during them",
            [len(told) for told in changing],
            setup=setup,
        )
    ]
    for name, part, goal in (("p50", 0.5, P50_GOAL), ("p99", 0.99, P99_GOAL)):
        rows.append(
            beside(
                f"request while deploying, {name}",
                "ms",
                [quantile([s * 1000 for _, s in told], part) for told in changing],
                f"no deploy, {name}",
                [quantile([s * 1000 for _, s in told], part) for told in resting],
                goal=goal,
                better="less",
                setup=f"{setup}; then as many requests with no deploy",
            )
        )
    return rows


def bench(deploys: int) -> list[Row]:
    with private_cloud() as cloud:
        where = with_ingress(cloud)
        cloud.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NS}})
        cloud.wait_ready("namespace", NS)
        deploy(cloud, deploys)
        with load(where, HOST) as running:
            time.sleep(1)  # every client has its connection
            began = time.monotonic()
            changing = rolling(cloud, running, deploys)
            took = (time.monotonic() - began) / deploys
            resting = quiet(running, [len(told) for told in changing])
    lost = sum(answer != "200" for told in resting for answer, _ in told)
    print(f"      {took:.1f} s a deploy; {lost} requests lost with no deploy", flush=True)
    return rows_of(changing, resting, deploys)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deploys", type=int, default=20, help=f"a multiple of {GROUPS}")
    options = parser.parse_args()
    if options.deploys % GROUPS:
        parser.error(f"--deploys must be a multiple of {GROUPS}")
    tell(bench(options.deploys))


if __name__ == "__main__":
    main()
