"""A Platform, the world it settles in, and somebody who uses it."""

from dataclasses import replace
from typing import Any, Final

from controlplane.plan import Dependent
from drivers.containers import NetworkSpec, Owner
from resources.platform import Platform
from tests.unit.reconcilers.world import UID, World, record

NAME = f"platform-platform-shop-{UID[:8]}"
ADMITTED: Final[dict[str, Any]] = {"allocation": {"names": []}}
VOLUME = "platform-platform-shop-registry-nnnnnnnn"


def platform(
    service: str = "registry",
    *,
    namespace: str = "platform",
    deleting: bool = False,
    **spec: Any,
) -> Platform:
    found = record("Platform", {"service": service, **spec}, deleting=deleting)
    assert isinstance(found, Platform)
    meta = found.metadata.model_copy(update={"namespace": namespace})
    return found.model_copy(update={"metadata": meta})


async def settled(spec: Platform | None = None) -> World:
    world = World()
    await world.network()
    report = await world.settle(spec or platform())
    assert report.ready, report
    return world


def user(namespace: str, **changes: Any) -> Dependent:
    """A Bucket of some namespace that uses the service."""
    made = Dependent(
        "Bucket", namespace, "assets", "u", "", {}, ADMITTED, False, f"namespace-{namespace}", True
    )
    return replace(made, **changes)


async def network_of(world: World, namespace: str, subnet: str) -> None:
    owner = Owner(f"uid-{namespace}", "Namespace", "", namespace)
    await world.containers.ensure_network(NetworkSpec(f"namespace-{namespace}", owner, subnet))
