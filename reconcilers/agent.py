"""The agent on the real systems: every driver, reconciler, sweeper and source of wake-ups there is.

The composition root's half that reaches the engine, and apart from it since a process imports what
it runs: `serve api` has neither drivers nor reconcilers in it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from controlplane.budget import Ledger
from controlplane.clock import Clock
from controlplane.engine.controller import Tuning
from controlplane.engine.leader import Leader, this_process
from controlplane.engine.limits import HOST_NAME
from controlplane.engine.manager import Agent, Mandate
from controlplane.engine.port import Chore, Sweeper
from controlplane.engine.prepared import prepared_on_a_thread
from controlplane.engine.term import Setup
from controlplane.engine.usage import Used
from controlplane.engine.values import StoredValues
from controlplane.metrics import Metrics
from controlplane.ports import PortPool
from controlplane.records import View
from controlplane.reporting import Reporter
from controlplane.seam import Measured, through
from controlplane.shared import Shared
from controlplane.store.leases import Leases
from controlplane.subnets import SubnetPool
from drivers.docker import DockerContainers
from drivers.docker_calls import DockerConfig
from drivers.host import listening_ports
from drivers.pushgateway import HttpPushgateway
from drivers.secretfiles import HostSecretFiles, memory_root
from reconcilers.mailsweep import MailSweeper
from reconcilers.outside import (
    ContainerSweeper,
    FolderSweeper,
    S3UserSweeper,
    ZoneSweeper,
    wakes,
)
from reconcilers.podstreams import PodStreams, pod_streams
from reconcilers.real import real_drivers
from reconcilers.registry import RECONCILERS, Drivers, behind
from reconcilers.s3upkeep import LifecycleChore, S3BucketCloser
from resources.kinds import MODELS
from resources.meta import API_VERSION

SEEDS: Final = (
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}},
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-system"}},
    {"apiVersion": API_VERSION, "kind": "Host", "metadata": {"name": HOST_NAME}, "spec": {}},
)
"""What is there from the first start: kubectl's default namespace, the one that cluster-info
looks into, and the host whose budget it all is."""


@dataclass(frozen=True, slots=True)
class Acting:
    """The agent and what of it others need."""

    engine: Agent
    mandate: Mandate
    drivers: Drivers
    """As they are to be closed: without what is put before them."""
    ways: PodStreams
    reporter: Reporter


def sweepers(drivers: Drivers, view: View, clock: Clock) -> tuple[Sweeper, ...]:
    """Who looks for what is outside without a record."""
    return (
        ContainerSweeper(drivers.containers),
        FolderSweeper(drivers.files, view, tuple(RECONCILERS)),
        ZoneSweeper(drivers.dns, drivers.values, view),
        MailSweeper(drivers.mail, view),
        S3UserSweeper(drivers.s3, drivers.values, view),
        S3BucketCloser(drivers.s3, drivers.values, view, clock),
    )


def chores(drivers: Drivers, view: View, clock: Clock) -> tuple[Chore, ...]:
    """What servers do only when told."""
    closer = S3BucketCloser(drivers.s3, drivers.values, view, clock)
    return (LifecycleChore(drivers.quotas, closer, view),)


def make_agent(shared: Shared, docker_url: str) -> Acting:
    """The agent with the real drivers, on the engine at `docker_url`."""
    settings, records, cache = shared.settings, shared.records, shared.cache
    mandate = Mandate()
    ledger = Ledger()
    secrets = memory_root(settings.secrets_dir, Path("/proc/mounts").read_text(encoding="utf-8"))
    containers = DockerContainers(
        DockerConfig(
            instance=settings.instance,
            secrets_root=str(secrets),
            images=settings.images,
            url=docker_url,
            verify_s=settings.relist_s,
        ),
        clock=shared.clock,
        guard=mandate.epoch,
    )
    files = HostSecretFiles(secrets, shared.sealer.digest)
    metrics = Metrics(shared.registry, RECONCILERS)
    seam = Measured(metrics.calls, shared.clock)
    given = real_drivers(
        containers,
        files,
        StoredValues(cache, records),
        Used(ledger, cache),
        clock=shared.clock,
        images=settings.images,
    )
    drivers = behind(given, seam)
    setup = Setup(
        view=cache,
        records=through(records, "store", seam),
        models=MODELS,
        reconcilers={kind: build(drivers) for kind, build in RECONCILERS.items()},
        ledger=ledger,
        subnets=SubnetPool(settings.subnet_pool),
        ports=PortPool(settings.ports, listening_ports),
        metrics=metrics,
        clock=shared.clock,
        routes=drivers.containers.observe_routes,
        sweepers=sweepers(drivers, cache, shared.clock),
        chores=chores(drivers, cache, shared.clock),
        wake_sources=(wakes(containers.events),),
        seeds=SEEDS,
        tuning=Tuning(
            workers=settings.workers_per_kind,
            timeout_s=settings.reconcile_timeout_s,
            resync_s=settings.resync_s,
        ),
        drain_s=settings.shutdown_grace_s,
        prepare=prepared_on_a_thread,
    )
    leases = Leases(shared.database)
    leader = Leader(
        leases, this_process(), shared.clock, ttl_s=settings.lease_ttl_s, own=leases.own
    )
    ways = pod_streams(containers, containers.url, cache, tuple(RECONCILERS), shared.clock)
    return Acting(Agent(setup, leader, mandate), mandate, given, ways, _reporter(shared, mandate))


def _reporter(shared: Shared, mandate: Mandate) -> Reporter:
    return Reporter(
        lambda: shared.cache.list("Platform"),
        StoredValues(shared.cache, shared.records),
        shared.registry,
        HttpPushgateway(),
        shared.clock,
        shared.settings.instance,
        leading=lambda: mandate.leading,
    )
