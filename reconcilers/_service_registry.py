"""registry: container images of one's own, behind a password (CNCF distribution).

https://distribution.github.io/distribution/about/configuration/
"""

from typing import Final

from controlplane.plan import Generated
from drivers.containers import SECRETS_PATH
from reconcilers._service import (
    Facts,
    Health,
    SecretKeys,
    ServiceContainer,
    ServiceDef,
    ServiceFile,
)

# `secret` signs the state of uploads; the registry takes bcrypt hashes alone.
_CONFIG: Final = f"""\
version: 0.1
log: {{level: info, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: /var/lib/registry}}
  delete: {{enabled: true}}
http:
  addr: :5000
  secret: {{http-secret}}
  headers: {{X-Content-Type-Options: [nosniff]}}
auth:
  htpasswd: {{realm: registry, path: {SECRETS_PATH}/htpasswd}}
health:
  storagedriver: {{enabled: true, interval: 10s, threshold: 3}}
"""


def _containers(facts: Facts) -> tuple[ServiceContainer, ...]:
    del facts
    return (
        ServiceContainer(
            image="registry",
            command=(f"{SECRETS_PATH}/registry.yml",),
            files=(
                ServiceFile("registry.yml", _CONFIG),
                ServiceFile("htpasswd", "{username}:{bcrypt:password}\n"),
            ),
            # `/` asks for no password, and `/v2/` does
            health=Health(5000, "/"),
            stop_timeout_s=30,
        ),
    )


def _secret(facts: Facts) -> SecretKeys:
    del facts
    return {"username": "bunker", "password": Generated(), "http-secret": Generated()}


SERVICE: Final = ServiceDef(_containers, _secret)
