"""A container that asks for nothing, and the body the engine gets for one."""

from typing import Any, Final

from drivers.containers import ContainerSpec, Limits, Owner
from drivers.docker_body import container_body

ROOT: Final = "/run/bunker/secrets"
OWNER: Final = Owner("u1", "App", "ns", "shop")
PLAIN: Final = ContainerSpec(
    name="app-ns-shop",
    owner=OWNER,
    image="bunker/base:1",
    digest="v1:x",
    limits=Limits(250, 64 << 20),
)


def body_of(spec: ContainerSpec, secret_env: dict[str, str] | None = None) -> dict[str, Any]:
    return container_body(spec, secret_env or {}, instance="me", epoch=7, secrets_root=ROOT)
