"""Namespace: one Docker network each, on the subnet that the engine allocated.

Deliberately not who empties a namespace: the engine deletes what is in it, and lets this one go
last.
"""

from dataclasses import dataclass
from typing import assert_never

from controlplane.plan import Plan, Reconciler, Report, Wait, Want
from drivers.containers import Containers, NetworkSpec, NetworkState
from reconcilers._container import owner_of
from resources.core import Namespace, NamespaceStatus


@dataclass(frozen=True, slots=True)
class EnsureNetwork:
    """Create the network."""

    spec: NetworkSpec


@dataclass(frozen=True, slots=True)
class RemoveNetwork:
    """Remove the network; the plan makes sure that nothing is in it."""

    name: str


NamespaceStep = EnsureNetwork | RemoveNetwork


@dataclass(frozen=True, slots=True)
class NamespaceReconciler(Reconciler[Namespace, NetworkState | None, NamespaceStep]):
    containers: Containers

    async def observe(self, want: Want[Namespace], /) -> NetworkState | None:
        return await self.containers.observe_network(want.record.owned_name)

    def plan(self, want: Want[Namespace], seen: NetworkState | None, /) -> Plan[NamespaceStep]:
        record = want.record
        name = record.owned_name
        ours = seen is not None and seen.owner is not None and seen.owner.uid == record.metadata.uid
        if want.deleting:
            return _plan_removal(seen) if seen is not None and ours else Plan()
        if want.subnet is None:
            fix = "delete a namespace or widen the pool (CP_SUBNET_POOL)"
            return Plan(
                wait=Wait("SubnetPending", f"no subnet is allocated yet; if it lasts, {fix}")
            )
        spec = NetworkSpec(name, owner_of(record), want.subnet)
        if seen is None:
            return Plan((EnsureNetwork(spec),))
        if not ours:
            fix = f"remove it with 'docker network rm {name}'"
            message = f"a network named '{name}' exists that is not of this platform; {fix}"
            return Plan(wait=Wait("NameTaken", message, 10.0))
        if seen.subnet != want.subnet:
            return _plan_other_subnet(spec, seen)
        return Plan()

    def status(self, want: Want[Namespace], seen: NetworkState | None, /) -> Report:
        ready = seen is not None and not want.deleting and self.plan(want, seen).converged
        status = NamespaceStatus(
            phase="Terminating" if want.deleting else "Active",
            # One that is gone is made anew under the name it had: it may be an earlier release's.
            network=seen.name if seen else None if want.deleting else want.record.status.network,
            subnet=seen.subnet if seen else None,
        )
        if want.deleting:
            return Report(status, False, "Terminating", "it is being emptied and removed")
        message = "its network is there" if ready else "its network is not there yet"
        return Report(status, ready, "Active" if ready else "NoNetwork", message)

    async def apply(self, step: NamespaceStep, /) -> None:
        match step:
            case EnsureNetwork(spec=spec):
                await self.containers.ensure_network(spec)
            case RemoveNetwork(name=name):
                await self.containers.delete_network(name)
            case _:
                assert_never(step)


def _plan_removal(seen: NetworkState) -> Plan[NamespaceStep]:
    if seen.container_ids:
        message = (
            f"{len(seen.container_ids)} containers are still in network '{seen.name}'; "
            "disconnect those that are not of this platform"
        )
        return Plan(wait=Wait("NetworkInUse", message, 2.0))
    return Plan((RemoveNetwork(seen.name),))


def _plan_other_subnet(spec: NetworkSpec, seen: NetworkState) -> Plan[NamespaceStep]:
    if seen.container_ids:
        message = (
            f"network '{seen.name}' has subnet {seen.subnet} instead of {spec.subnet} and is in "
            "use; stop what is in it, and it is made anew"
        )
        return Plan(wait=Wait("SubnetDiffers", message, 10.0))
    return Plan((RemoveNetwork(seen.name), EnsureNetwork(spec)))
