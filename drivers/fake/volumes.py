"""Who has a volume of the fake engine, and whether a container may be made on it."""

from controlplane.errors import RetryableError
from drivers.containers import ContainerSpec, VolumeState
from drivers.fake.engine import Container, FakeEngine


def users(engine: FakeEngine, volume: str) -> list[Container]:
    """Every container that has it, ours or not."""

    def has(found: Container) -> bool:
        named = () if found.spec is None else (mount.volume for mount in found.spec.volumes)
        return volume in (*named, *found.mounts)

    return [each for each in engine.containers.values() if has(each)]


def check_free(engine: FakeEngine, volume: str, spec: ContainerSpec) -> None:
    """Raises RetryableError unless a container may be made on it, as the real driver does."""
    found = engine.volumes.get(volume)
    if found is None:
        raise RetryableError(
            f"cannot create container '{spec.name}': volume '{volume}' is gone",
            reason="VolumeMissing",
        )
    if any(_in_the_way(user, spec, found) for user in users(engine, volume)):
        raise RetryableError(
            f"cannot create container '{spec.name}': volume '{volume}' is in use by another's",
            retry_after_s=1.0,
            reason="VolumeInUse",
        )


def _in_the_way(user: Container, spec: ContainerSpec, volume: VolumeState) -> bool:
    if user.spec is not None:
        return user.spec.owner.uid != spec.owner.uid
    return volume.owner is None and user.state.running
