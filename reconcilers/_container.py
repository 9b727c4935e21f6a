"""The sub-plan shared by kinds that run containers: from what is wanted and seen to steps.

Pure but for `ContainerSteps.apply`. It knows no kind: what runs, and whether it serves, is each
kind's own business.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal, assert_never

from controlplane.errors import RetryableError
from controlplane.plan import SecretReader, Wait
from drivers.containers import Containers, ContainerSpec, ContainerState, Owner
from drivers.digest import container_digest, same_digest
from drivers.secretfiles import SecretFiles
from reconcilers._composed import composed
from reconcilers._variables import variables_of
from resources.meta import Footprint, Record

CRASH_LOOP_RESTARTS: Final = 3
"""So many restarts by the engine, and again waiting for the next: a person should look."""
CRASH_RECHECK_S: Final = 10.0
"""Each restart is an event and wakes the record anyway."""


@dataclass(frozen=True, slots=True)
class SecretSource:
    """Which values of a Secret or ConfigMap become files or variables; never the values."""

    kind: Literal["Secret", "ConfigMap"]
    name: str
    content: str
    """HMAC of its content, as resolved: another one is another source."""


@dataclass(frozen=True, slots=True)
class SecretFolder:
    """Each key of a Secret as one file in a folder, relative to where secrets are mounted."""

    path: str
    source: SecretSource


@dataclass(frozen=True, slots=True)
class SecretFile:
    """One file composed from a Secret's keys: `requirepass {password}`, or of a key's bcrypt hash:
    `admin:{bcrypt:password}`. Braces around anything but a key stay as they are."""

    path: str
    source: SecretSource | None
    """None: the template is the content, as it holds no value."""
    template: str
    plain: bool = False
    """Refuse values with spaces, quotes or control characters: in a configuration file they would
    be more than a value."""


@dataclass(frozen=True, slots=True)
class SecretVariables:
    """Keys of a Secret or ConfigMap as environment variables.

    `names` maps key to variable; None: every key, with `prefix` before it and `_` for `-` and `.`.
    """

    source: SecretSource
    prefix: str = ""
    names: tuple[tuple[str, str], ...] | None = None


@dataclass(frozen=True, slots=True)
class EnsureImage:
    """Make sure the image is on the host."""

    reference: str


@dataclass(frozen=True, slots=True)
class WriteSecrets:
    """Put a record's secret files where its containers find them, all or none."""

    owner_uid: str
    namespace: str
    files: tuple[SecretFile | SecretFolder, ...]
    version: str
    user: tuple[int, int] | None = None
    """uid and gid that may read them; None: every user of the container."""


@dataclass(frozen=True, slots=True)
class RemoveSecrets:
    """Take a record's secret files away."""

    owner_uid: str


@dataclass(frozen=True, slots=True)
class CheckVariables:
    """See that the variables can be made, before what runs is removed for another to have them."""

    namespace: str
    variables: tuple[SecretVariables, ...]
    own: tuple[str, ...] = ()
    """Those that are set by the record itself, whatever these say."""


@dataclass(frozen=True, slots=True)
class RunContainer:
    """Create a container that doesn't exist, and start it."""

    spec: ContainerSpec
    variables: tuple[SecretVariables, ...] = ()


@dataclass(frozen=True, slots=True)
class FixContainer:
    """Correct name, limits, networks and restarts in place, and start it if it doesn't run."""

    spec: ContainerSpec
    variables: tuple[SecretVariables, ...] = ()


@dataclass(frozen=True, slots=True)
class StartContainer:
    """Start or unpause a container that is as it should be."""

    container_id: str


@dataclass(frozen=True, slots=True)
class RestartContainer:
    """Stop gracefully and start: what it read at its start has changed."""

    container_id: str
    stop_timeout_s: int


@dataclass(frozen=True, slots=True)
class RemoveContainer:
    """Stop gracefully and remove; what it wrote on volumes stays."""

    container_id: str
    stop_timeout_s: int


ContainerStep = (
    EnsureImage
    | WriteSecrets
    | RemoveSecrets
    | CheckVariables
    | RunContainer
    | FixContainer
    | StartContainer
    | RestartContainer
    | RemoveContainer
)


def owner_of(record: Record) -> Owner:
    """The owner labels of everything that stands for this record outside."""
    meta = record.metadata
    return Owner(meta.uid, record.info.kind, meta.namespace, meta.name)


def sealed(spec: ContainerSpec) -> ContainerSpec:
    """The same spec with its digest."""
    return replace(spec, digest=container_digest(spec))


def version_of(files: tuple[SecretFile | SecretFolder, ...]) -> str:
    """Changes whenever the files would: made of content HMACs, and so tells nothing else."""
    return hashlib.sha256(repr(files).encode()).hexdigest()[:32]


def current(spec: ContainerSpec, state: ContainerState) -> bool:
    """Whether the container can stay: all that differs can be corrected in place."""
    return same_digest(state.digest, spec)


def plan_container(
    spec: ContainerSpec,
    state: ContainerState | None,
    network_ids: str | Mapping[str, str] | None,
    *,
    variables: tuple[SecretVariables, ...] = (),
) -> tuple[ContainerStep, ...]:
    """Steps from what is seen to `spec`, running. Empty: it runs as it should.

    `network_ids` is the present id of the namespace's network, or of each of several by name: a
    network that was removed and made again has another, and its containers must be connected anew.
    """
    if state is None:
        return (RunContainer(spec, variables),)
    if not current(spec, state):
        return _anew(spec, state, variables)
    if state.dead:
        # the engine starts it no more, and corrects nothing of it
        return _anew(spec, state, variables)
    if not _in_place(spec, state, network_ids):
        return (FixContainer(spec, variables),)
    if state.paused:
        return (StartContainer(state.id),)
    if state.running or state.restarting:
        return ()
    if state.error:
        # A start under way while the engine went down leaves a task behind that keeps this very
        # container from ever starting again ("task already exists"); a new one starts. Data is on
        # volumes, so nothing is lost where the old one would have started after all.
        return _anew(spec, state, variables)
    return (StartContainer(state.id),)


def _anew(
    spec: ContainerSpec, state: ContainerState, variables: tuple[SecretVariables, ...]
) -> tuple[ContainerStep, ...]:
    remove = RemoveContainer(state.id, spec.stop_timeout_s)
    first = check(spec.owner.namespace, variables, spec.env)
    return (*first, remove, RunContainer(spec, variables))


def check(
    namespace: str, variables: tuple[SecretVariables, ...], own: Iterable[str]
) -> tuple[CheckVariables, ...]:
    """What must come before a container is removed for one with `variables`: they may be such that
    it can't be made, and what runs stays then."""
    return (CheckVariables(namespace, variables, tuple(own)),) if variables else ()


def pull(
    reference: str, steps: Iterable[object], states: Iterable[ContainerState], *, here: bool
) -> tuple[EnsureImage | StartContainer, ...]:
    """What must come before `steps` for one of them to find its image. Until it is there, those in
    `states` that were stopped run."""
    if here or not any(isinstance(step, RunContainer) for step in steps):
        return ()
    return (*starts(states), EnsureImage(reference))


def starts(states: Iterable[ContainerState]) -> tuple[StartContainer, ...]:
    """Those that were stopped run until others can take their place, which may be never."""
    able = [s for s in states if not s.dead]
    stopped = [s for s in able if s.paused or not (s.running or s.restarting or s.error)]
    return tuple(StartContainer(state.id) for state in stopped)


def _in_place(
    spec: ContainerSpec, state: ContainerState, network_ids: str | Mapping[str, str] | None
) -> bool:
    """Whether name, limits, networks and restarts are as wanted."""

    def present(network: str) -> str | None:
        return network_ids.get(network) if isinstance(network_ids, Mapping) else network_ids

    return (
        state.name == spec.name
        and state.limits == spec.limits
        and state.restarts
        and state.networks.keys() == {network.network for network in spec.networks}
        and all(
            # "" until the first start: the engine then finds the network by name
            state.network_ids.get(network.network) in ("", present(network.network))
            and set(network.aliases) == set(state.aliases.get(network.network, ()))
            for network in spec.networks
        )
    )


def trouble(state: ContainerState) -> Wait | None:
    """Why a container that should run keeps dying, and what to do; None if it doesn't."""
    if not state.restarting or state.restart_count < CRASH_LOOP_RESTARTS:
        return None
    cause = f"it exited with code {state.exit_code}"
    fix = "read its logs and correct the command or the configuration"
    if state.oom_killed:
        cause = f"it needed more than {state.limits.memory_bytes // 2**20} MiB of memory"
        fix = "give it more memory (spec.resources or spec.plan)"
    message = f"container '{state.name}' keeps dying: {cause}; {fix}"
    return Wait("CrashLooping", message, CRASH_RECHECK_S)


def age_s(state: ContainerState, now: datetime) -> float:
    """Seconds since it was started; 0 if it never was."""
    try:
        started = datetime.fromisoformat(state.started_at)
    except ValueError:
        return 0.0
    return max(0.0, (now - started).total_seconds())


def recheck_s(age: float) -> float:
    """When to ask a starting server again: a tenth of its age, so that a fast one is found at
    once and one that never answers costs nothing (at most 10 s); a young one after a quarter of
    its age (5 to 20 ms), as a redis takes 5 to 50 ms from its start to its first answer."""
    return min(10.0, max(0.005, min(0.02, age / 4), age / 10))


def held(*states: ContainerState) -> Footprint:
    """What existing containers hold of the host: their limits, running or not."""
    return sum(
        (Footprint(s.limits.cpu_millicores, s.limits.memory_bytes) for s in states), Footprint()
    )


@dataclass(frozen=True, slots=True)
class ContainerSteps:
    """Carries the steps out."""

    containers: Containers
    files: SecretFiles
    values: SecretReader

    async def apply(self, step: ContainerStep, /) -> None:
        """One idempotent effect; raises only errors.py types."""
        match step:
            case EnsureImage(reference=reference):
                await self.containers.ensure_image(reference)
            case WriteSecrets():
                await self._write(step)
            case RemoveSecrets(owner_uid=uid):
                await self.files.delete_files(uid)
            case CheckVariables() | RunContainer() | FixContainer():
                await self._run(step)
            case StartContainer(container_id=container_id):
                await self.containers.start_container(container_id)
            case RestartContainer(container_id=container_id, stop_timeout_s=timeout_s):
                await self.containers.stop_container(container_id, timeout_s=timeout_s)
                await self.containers.start_container(container_id)
            case RemoveContainer(container_id=container_id, stop_timeout_s=timeout_s):
                await self.containers.delete_container(container_id, stop_timeout_s=timeout_s)
            case _:
                assert_never(step)

    async def _run(self, step: CheckVariables | RunContainer | FixContainer) -> None:
        if isinstance(step, CheckVariables):
            await self._env(step.namespace, step.variables, step.own)
            return
        env = await self._env(step.spec.owner.namespace, step.variables, step.spec.env)
        state = await self.containers.ensure_container(step.spec, secret_env=env)
        await self.containers.start_container(state.id)

    async def _read(self, namespace: str, source: SecretSource) -> Mapping[str, bytes]:
        values = await self.values.read(source.kind, namespace, source.name)
        if values is None:
            raise RetryableError(
                f"cannot read {source.kind} '{source.name}': it is gone", reason="SecretMissing"
            )
        return values

    async def _write(self, step: WriteSecrets) -> None:
        content: dict[str, bytes] = {}
        for file in step.files:
            if file.source is None:
                content[file.path] = file.template.encode()
                continue
            values = await self._read(step.namespace, file.source)
            if isinstance(file, SecretFolder):
                content |= {f"{file.path}/{key}": value for key, value in values.items()}
            else:
                where = f"Secret '{file.source.name}'"
                content[file.path] = composed(
                    file.path, file.template, where, values, plain=file.plain
                )
        await self.files.ensure_files(step.owner_uid, content, version=step.version, user=step.user)

    async def _env(
        self, namespace: str, variables: tuple[SecretVariables, ...], own: Iterable[str]
    ) -> dict[str, str]:
        env: dict[str, str] = {}
        for item in reversed(variables):  # the last one that sets a variable wins
            values = await self._read(namespace, item.source)
            where = f"{item.source.kind} '{item.source.name}'"
            more = variables_of(
                where, values, names=item.names, prefix=item.prefix, over={*own, *env}
            )
            env = more | env
        return env
