"""What kinds with containers plan and tell alike: secret files, their end, their state. Pure."""

from collections.abc import Mapping
from typing import Any

from controlplane.errors import SecretLostError
from controlplane.plan import Report, SecretReader, Wait, Want
from drivers.containers import Containers, ContainerState
from reconcilers import _container as box
from resources.meta import Record, Status


async def read_own(values: SecretReader, want: Want[Any], name: str) -> Mapping[str, bytes] | None:
    """The values of a Secret of its own, as SecretReader.read. One whose key is lost is as good as
    none to what is being deleted: else that would never end."""
    try:
        return await values.read("Secret", want.record.metadata.namespace, name)
    except SecretLostError:
        if want.deleting:
            return None
        raise


async def has_image(containers: Containers, want: Want[Any], reference: str) -> bool:
    """Whether it is on the host. What runs from it doesn't tell: `docker image prune --all` takes
    names off images that have others. What is being deleted needs none."""
    return want.deleting or await containers.observe_image(reference) is not None


def file_steps(
    record: Record,
    files: tuple[box.SecretFile | box.SecretFolder, ...],
    seen_version: str | None,
    user: tuple[int, int],
) -> tuple[box.WriteSecrets, ...]:
    """Writes the secret files, for that uid and gid to read; empty: they are as they should be."""
    version = box.version_of(files)
    if seen_version == version:
        return ()
    meta = record.metadata
    return (box.WriteSecrets(meta.uid, meta.namespace, files, version, user),)


def removal(
    record: Record, states: tuple[ContainerState, ...], *, files_here: bool, stop_timeout_s: int
) -> tuple[box.ContainerStep, ...]:
    """Its containers, in that order, and then the files that they read."""
    steps: tuple[box.ContainerStep, ...] = tuple(
        box.RemoveContainer(state.id, stop_timeout_s) for state in states
    )
    if files_here:
        steps += (box.RemoveSecrets(record.metadata.uid),)
    return steps


def not_placed(want: Want[Any], network_id: str | None) -> Wait | None:
    """Why no container can be made yet: its namespace's network, or its port of the host."""
    if not want.network_ready or network_id is None:
        return Wait("NamespaceNotReady", "waiting for the namespace's network")
    if want.record.spec.publish is not None and not want.ports:
        return Wait("PortPending", "waiting for a port of the host")
    return None


def host_address(want: Want[Any]) -> str | None:
    """Where the host reaches it, if it is published and has its port."""
    publish = want.record.spec.publish
    return f"{publish.address}:{want.ports[0]}" if publish and want.ports else None


def not_running(state: ContainerState | None, *, deleting: bool) -> tuple[str, str] | None:
    """Reason and message for a record whose one container doesn't run; None: it runs."""
    if deleting:
        return "Terminating", "it is being removed"
    if state is None:
        return "NotCreated", "its container is not made yet"
    if wait := box.trouble(state):
        return wait.reason, wait.message
    if not state.running or state.paused:
        return "NotRunning", "its container does not run and is being started"
    return None


def served(
    status: Status, state: ContainerState | None, told: tuple[str, str], recheck_s: float
) -> Report:
    """A report of a record with one container, Ready by reason `Serving` alone."""
    reason, message = told
    serving = reason == "Serving"
    return Report(
        status,
        serving,
        reason,
        message,
        in_use=box.held(state) if state else box.held(),
        recheck_after_s=recheck_s if serving else None,
    )
