"""The services of the platform that this release can run, by spec.service."""

from collections.abc import Mapping
from typing import Final

from reconcilers import (
    _service_dns,
    _service_ingress,
    _service_mail,
    _service_metrics,
    _service_models,
    _service_registry,
    _service_s3,
    _service_vault,
)
from reconcilers._service import ServiceDef

SERVICES: Final[Mapping[str, ServiceDef]] = {
    "dns": _service_dns.SERVICE,
    "ingress": _service_ingress.SERVICE,
    "mail": _service_mail.SERVICE,
    "metrics": _service_metrics.SERVICE,
    "models": _service_models.SERVICE,
    "registry": _service_registry.SERVICE,
    "s3": _service_s3.SERVICE,
    "vault": _service_vault.SERVICE,
}
