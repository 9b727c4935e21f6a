"""The real drivers: one line a system. What they are made from, the composition root knows."""

from controlplane.clock import Clock
from controlplane.plan import SecretReader, Usage
from drivers.containers import Containers
from drivers.host import LinuxHost
from drivers.llamacpp import LlamaCpp
from drivers.mail import ContainerMail
from drivers.mailcow import MailcowMail
from drivers.ollama import Ollama
from drivers.postgres import NetworkPostgres
from drivers.powerdns_http import HttpPowerDns
from drivers.probe import SocketProbe
from drivers.redis import NetworkRedis
from drivers.s3_network import NetworkS3
from drivers.s3_shell import ShellQuotas
from drivers.secretfiles import SecretFiles
from drivers.wireguard import ContainerWireGuard
from reconcilers._images import Source
from reconcilers._servers import NetworkServers
from reconcilers.registry import Drivers


def real_drivers(
    containers: Containers,
    files: SecretFiles,
    values: SecretReader,
    usage: Usage,
    *,
    clock: Clock,
    images: Source,
) -> Drivers:
    """Every driver on the real system."""
    return Drivers(
        containers=containers,
        files=files,
        values=values,
        usage=usage,
        probe=SocketProbe(),
        meter=LinuxHost(),
        servers=NetworkServers(NetworkPostgres(), NetworkRedis(), containers),
        dns=HttpPowerDns(),
        llamacpp=LlamaCpp(),
        ollama=Ollama(clock),
        s3=NetworkS3(),
        quotas=ShellQuotas(containers, clock),
        wireguard=ContainerWireGuard(containers),
        clock=clock,
        images=images,
        mail=ContainerMail(containers),
        mailcow=MailcowMail(),
    )
