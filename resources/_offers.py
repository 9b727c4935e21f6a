"""What services the platform offers: their default sizes, ports and settings. Pure data.

How each is run is in reconcilers/_service_<name>.py; a user sees only what is here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from resources.meta import Resources
from resources.text import PORT, Matches

Service = Literal["ingress", "s3", "dns", "mail", "models", "vault", "registry", "metrics"]
Protocol = Literal["tcp", "udp"]

_GIB: Final = 2**30


@dataclass(frozen=True, slots=True)
class ServicePort:
    """A port that a service listens on, inside its container."""

    number: int
    protocols: tuple[Protocol, ...] = ("tcp",)


@dataclass(frozen=True, slots=True)
class Offer:
    """One service."""

    resources: Resources
    """Default size: enough to serve a few tenants, and small enough for a host of two cores."""
    storage_bytes: int
    """Default disk; 0: it keeps nothing."""
    ports: Mapping[str, ServicePort]
    """By name; the first one is what `status.endpoint` and the Secret's `port` tell."""
    settings: Mapping[str, Matches] = field(default_factory=dict)
    """What may stand in spec.settings, and how each value is written."""

    @property
    def primary(self) -> str:
        """Name of the port that matters most."""
        return next(iter(self.ports))


def _size(cpu: str, memory: str) -> Resources:
    return Resources.model_validate({"cpu": cpu, "memory": memory})


MOST_SCRAPE_S: Final = 60
"""The alerts of _metrics_rules.py hold for no more: a sample may be as old, and 15 s from being
pushed, and ControlPlaneSilent fires at 90 s."""
SCRAPE: Final = Matches(
    "[1-9]|[1-5][0-9]|60", "seconds between two samples: write 1 to 60, such as '15'", 5
)
DAYS: Final = Matches("[1-9][0-9]{0,3}", "whole days: write digits alone, such as '15'", 4)
EMAIL: Final = Matches(
    "[-A-Za-z0-9._+]+@[-A-Za-z0-9.]+", "a mail address: such as 'ops@example.org'", 254
)
CERTIFICATES: Final = Matches(
    "(-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]+-----END CERTIFICATE-----\n?)+",
    "certificates in PEM form",
    16_384,
)
HTTP_URL: Final = Matches(
    f"https?://[-A-Za-z0-9.]+(:{PORT})?(/[!-~]*)?",
    "an HTTP address: such as 'https://alerts.example.org/hook'",
    512,
)
_OCTET: Final = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
IP_ADDRESS: Final = Matches(
    f"{_OCTET}([.]{_OCTET}){{3}}", "an IPv4 address, such as '192.0.2.53'", 15
)
HOST_NAMES: Final = Matches(
    "[a-z0-9][-a-z0-9.]*[.][a-z0-9]+(,[a-z0-9][-a-z0-9.]*[.][a-z0-9]+)*",
    "host names with commas between, such as 'ns1.example.org,ns2.example.org'",
    512,
)
HOST: Final = Matches(
    "[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)+",
    "a host name with a domain: such as 'mail.example.org'",
)
IMAP_URL: Final = Matches(
    f"imaps?://[-A-Za-z0-9.]+:{PORT}",
    "where IMAP is: such as 'imaps://mail.example.org:993'",
    270,
)

HOSTS: Final = Matches(
    f"[-A-Za-z0-9.]+(:{PORT})?(,[-A-Za-z0-9.]+(:{PORT})?)*",
    "hosts: write host or host:port, with commas between them, such as 'hf.co,registry:5000'",
    1024,
)

OFFERS: Final[dict[Service, Offer]] = {
    "ingress": Offer(
        _size("200m", "128Mi"),
        1 * _GIB,
        {"web": ServicePort(80), "websecure": ServicePort(443), "api": ServicePort(8080)},
        {
            "address": IP_ADDRESS,
            "acmeEmail": EMAIL,
            "acmeServer": HTTP_URL,
            "acmeRoots": CERTIFICATES,
        },
    ),
    "s3": Offer(_size("250m", "512Mi"), 10 * _GIB, {"s3": ServicePort(8333)}),
    "dns": Offer(
        _size("100m", "128Mi"),
        1 * _GIB,
        {"api": ServicePort(8081), "dns": ServicePort(53, ("udp", "tcp"))},
        {"resolver": IP_ADDRESS, "nameservers": HOST_NAMES},
    ),
    "mail": Offer(
        _size("250m", "512Mi"),
        5 * _GIB,
        {
            "smtp": ServicePort(25),
            "submission": ServicePort(587),
            "submissions": ServicePort(465),
            "imap": ServicePort(143),
            "imaps": ServicePort(993),
        },
        {"host": HOST, "imap": IMAP_URL},
    ),
    "models": Offer(
        _size("250m", "1Gi"),
        10 * _GIB,
        {"api": ServicePort(8080)},
        {"registries": HOSTS},
    ),
    "vault": Offer(_size("100m", "256Mi"), 1 * _GIB, {"api": ServicePort(8200)}),
    "registry": Offer(_size("50m", "128Mi"), 10 * _GIB, {"api": ServicePort(5000)}),
    "metrics": Offer(
        _size("250m", "384Mi"),
        5 * _GIB,
        {
            "prometheus": ServicePort(9090),
            "alertmanager": ServicePort(9093),
            "push": ServicePort(9091),
        },
        {
            "retentionDays": DAYS,
            "scrapeSeconds": SCRAPE,
            "webhook": HTTP_URL,
        },
    ),
}
"""By spec.service."""
