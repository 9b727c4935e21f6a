"""Volume: one engine volume each. Deleting the record is the only way its data ever goes."""

from dataclasses import dataclass
from typing import Literal, assert_never

from controlplane.plan import Plan, Reconciler, Report, Wait, Want
from drivers.containers import Containers, VolumeSpec, VolumeState
from reconcilers._container import owner_of
from resources.meta import Footprint
from resources.volume import Volume, VolumeStatus


@dataclass(frozen=True, slots=True)
class EnsureVolume:
    """Create the volume, empty."""

    spec: VolumeSpec


@dataclass(frozen=True, slots=True)
class RemoveVolume:
    """Destroy the volume and its data; the engine refuses while a container has it."""

    name: str


VolumeStep = EnsureVolume | RemoveVolume


@dataclass(frozen=True, slots=True)
class VolumeReconciler(Reconciler[Volume, VolumeState | None, VolumeStep]):
    containers: Containers

    async def observe(self, want: Want[Volume], /) -> VolumeState | None:
        name = want.record.docker_name
        seen = await self.containers.observe_volume(name)
        if seen is None and want.deleting and want.record.status.docker_name is not None:
            # asked twice: once its record is gone nobody knows of it, as volumes are never swept
            seen = await self.containers.observe_volume(name)
        return seen

    def plan(self, want: Want[Volume], seen: VolumeState | None, /) -> Plan[VolumeStep]:
        record = want.record
        name = record.docker_name
        if want.deleting:
            ours = seen is not None and seen.owner is not None
            ours = ours and seen is not None and seen.owner == owner_of(record)
            # one that an administrator named was not made by us, and stays
            return Plan((RemoveVolume(name),)) if ours else Plan()
        if _taken(record, seen) is not None:
            return Plan()
        if record.status.docker_name is not None:
            # never replace lost data by an empty folder: a server would start on it as if new
            message = (
                f"volume '{name}' is gone from the engine; restore it under that name, or delete "
                "this record to begin with an empty one"
            )
            return Plan(wait=Wait("DataMissing", message, 10.0))
        if record.spec.docker_name is not None:
            message = f"there is no volume '{name}' in the engine; correct spec.dockerName"
            return Plan(wait=Wait("DataMissing", message, 10.0))
        return Plan((EnsureVolume(VolumeSpec(name, owner_of(record))),))

    def status(self, want: Want[Volume], seen: VolumeState | None, /) -> Report:
        record = want.record
        seen = _taken(record, seen)
        known = record.status.docker_name
        phase: Literal["Pending", "Bound", "Retained"] = "Pending"
        owners = tuple(f"{each.kind}/{each.name}" for each in record.metadata.owner_references)
        if seen is not None:
            phase = "Bound" if owners else "Retained"
        name = seen.name if seen else known
        status = VolumeStatus(phase=phase, docker_name=name, used_by=owners)
        # an edit that took its growth back may have been decided on before the growth was granted
        size = max(record.spec.size, want.held.disk_bytes)
        in_use = Footprint(disk_bytes=size) if seen else Footprint()
        if seen is not None:
            return Report(status, True, phase, "the data is there", in_use=in_use)
        if known is not None:
            message = f"volume '{known}' is gone from the engine"
            return Report(status, False, "DataMissing", message, in_use=in_use)
        return Report(status, False, "Pending", "the volume is not made yet", in_use=in_use)

    async def apply(self, step: VolumeStep, /) -> None:
        match step:
            case EnsureVolume(spec=spec):
                await self.containers.ensure_volume(spec)
            case RemoveVolume(name=name):
                await self.containers.delete_volume(name)
            case _:
                assert_never(step)


def _taken(record: Volume, seen: VolumeState | None) -> VolumeState | None:
    """What is seen, if it holds the record's data: made by us, named by an administrator, or
    restored by hand. What a stranger has under the name that we would give is none of it."""
    named = record.spec.docker_name is not None or record.status.docker_name is not None
    return seen if seen is not None and (named or seen.owner is not None) else None
