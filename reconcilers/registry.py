"""Who reconciles which kind. The composition root hands in the drivers; nothing is scanned."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from controlplane.clock import Clock
from controlplane.plan import Reconciler, SecretReader, Usage
from controlplane.seam import Seam, through
from drivers.containers import Containers
from drivers.host import HostMeter
from drivers.mail import Mail
from drivers.models import Models
from drivers.powerdns import PowerDns
from drivers.probe import Probe
from drivers.s3 import S3, S3Quotas
from drivers.secretfiles import SecretFiles
from drivers.wireguard import WireGuard
from reconcilers._bucketsteps import BucketSteps
from reconcilers._container import ContainerSteps
from reconcilers._images import Source
from reconcilers._mail import MailServers
from reconcilers._servers import DatabaseServers
from reconcilers.app import AppReconciler
from reconcilers.bucket import BucketReconciler
from reconcilers.database import DatabaseReconciler
from reconcilers.host import HostReconciler
from reconcilers.mailalias import MailAliasReconciler
from reconcilers.mailbox import MailboxReconciler
from reconcilers.maildomain import MailDomainReconciler
from reconcilers.model import ModelReconciler
from reconcilers.namespace import NamespaceReconciler
from reconcilers.platform import PlatformReconciler
from reconcilers.quota import QuotaReconciler
from reconcilers.recordset import RecordSetReconciler
from reconcilers.volume import VolumeReconciler
from reconcilers.vpnnetwork import VpnNetworkReconciler
from reconcilers.vpnpeer import VpnPeerReconciler
from reconcilers.zone import ZoneReconciler
from resources.model import Engine


@dataclass(frozen=True, slots=True)
class Drivers:
    """Everything a reconciler may act on or read from."""

    containers: Containers
    files: SecretFiles
    values: SecretReader
    usage: Usage
    probe: Probe
    meter: HostMeter
    servers: DatabaseServers
    dns: PowerDns
    llamacpp: Models
    ollama: Models
    s3: S3
    quotas: S3Quotas
    wireguard: WireGuard
    clock: Clock
    images: Source
    mail: Mail
    mailcow: Mail

    @property
    def steps(self) -> ContainerSteps:
        """Carries out the steps that kinds with containers share."""
        return ContainerSteps(self.containers, self.files, self.values)

    async def aclose(self) -> None:
        """Close whatever holds connections."""
        for each in fields(self):
            if hasattr(driver := getattr(self, each.name), "aclose"):
                await driver.aclose()

    @property
    def mail_servers(self) -> MailServers:
        """Mail servers of both makes."""
        return MailServers(self.mail, self.mailcow, self.values)


def behind(drivers: Drivers, seam: Seam) -> Drivers:
    """Every one of them behind one seam; time itself is no system outside."""
    names = [each.name for each in fields(drivers) if each.name != "clock"]
    return replace(drivers, **{n: through(getattr(drivers, n), n, seam) for n in names})


AnyReconciler = Reconciler[Any, Any, Any]
"""The engine drives each kind without knowing its types."""


def _database(given: Drivers) -> AnyReconciler:
    return DatabaseReconciler(
        given.containers,
        given.files,
        given.values,
        given.servers,
        given.clock,
        given.steps,
        given.images,
    )


def _platform(given: Drivers) -> AnyReconciler:
    return PlatformReconciler(
        given.containers,
        given.files,
        given.values,
        given.probe,
        given.clock,
        given.steps,
        given.images,
    )


def _model(given: Drivers) -> AnyReconciler:
    models: dict[Engine, Models] = {"llamacpp": given.llamacpp, "ollama": given.ollama}
    return ModelReconciler(
        given.containers,
        given.files,
        given.values,
        models,
        given.probe,
        given.clock,
        given.steps,
    )


def _bucket(given: Drivers) -> AnyReconciler:
    steps = BucketSteps(given.s3, given.quotas, given.values, given.clock)
    return BucketReconciler(given.s3, given.quotas, given.values, steps)


def _vpn_network(given: Drivers) -> AnyReconciler:
    return VpnNetworkReconciler(
        given.containers,
        given.files,
        given.values,
        given.wireguard,
        given.clock,
        given.steps,
    )


RECONCILERS: Final[Mapping[str, Callable[[Drivers], AnyReconciler]]] = {
    "Namespace": lambda given: NamespaceReconciler(given.containers),
    "Volume": lambda given: VolumeReconciler(given.containers),
    "Host": lambda given: HostReconciler(given.containers, given.meter, given.usage),
    "Quota": lambda given: QuotaReconciler(given.usage),
    "Database": _database,
    "App": lambda given: AppReconciler(
        given.containers, given.files, given.probe, given.clock, given.steps
    ),
    "Platform": _platform,
    "Bucket": _bucket,
    "Zone": lambda given: ZoneReconciler(given.dns, given.values),
    "RecordSet": lambda given: RecordSetReconciler(),
    "Model": _model,
    "MailDomain": lambda given: MailDomainReconciler(given.mail_servers, given.values),
    "Mailbox": lambda given: MailboxReconciler(given.mail_servers, given.values),
    "MailAlias": lambda given: MailAliasReconciler(given.mail_servers),
    "VpnNetwork": _vpn_network,
    "VpnPeer": lambda given: VpnPeerReconciler(given.values),
}
"""By kind: how to build its reconciler from the drivers it needs."""
