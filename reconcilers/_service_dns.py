"""dns: the authoritative name server of the platform (PowerDNS), with its zones in SQLite.

https://doc.powerdns.com/authoritative/. Not in the tenants' networks: their names are answered on a
published port, and a server in every network would resolve an ALIAS to any tenant's containers.
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


def _containers(facts: Facts) -> tuple[ServiceContainer, ...]:
    resolver = facts.settings.get("resolver")
    return (
        ServiceContainer(
            image="powerdns",
            env={
                "PDNS_API_KEY_FILE": f"{SECRETS_PATH}/api-key",
                **({"PDNS_RESOLVER": resolver} if resolver else {}),
            },
            files=(ServiceFile("api-key", "{api-key}", plain=True),),
            health=Health(8081),
            tmpfs=("/run/pdns:size=1m,mode=700,uid=999,gid=999",),
            shared=False,
        ),
    )


def _secret(facts: Facts) -> SecretKeys:
    del facts
    return {"api-key": Generated()}


SERVICE: Final = ServiceDef(_containers, _secret)
