"""What a Database's server answers, and what that leads to: steps, waits, words. Pure."""

from dataclasses import dataclass, replace
from typing import Final, assert_never

from controlplane.plan import Plan, Report, Wait, Want
from drivers.containers import ContainerState, Limits
from reconcilers import _container as box
from reconcilers._engines import STOP_TIMEOUT_S, login_of, maxmemory_of, memory_for
from reconcilers._lifecycle import not_running
from reconcilers._servers import Login, Told
from resources.database import Database


@dataclass(frozen=True, slots=True)
class HealPassword:
    """Make the running server's password the one of the Secret."""

    container_id: str
    engine: str
    namespace: str
    secret_name: str
    login: Login


@dataclass(frozen=True, slots=True)
class LimitMemory:
    """Make the running server's own limit the one that its file has for its next start."""

    address: str
    port: int
    namespace: str
    secret_name: str
    maxmemory_bytes: int


SERVED_RECHECK_S: Final = 60.0
"""A server whose container lives seldom stops serving; what kills the container is an event."""
FULL_RECHECK_S: Final = 15.0
"""Nothing tells when keys are removed; one question to the server."""

DatabaseStep = box.ContainerStep | HealPassword | LimitMemory


def plan_answer(
    want: Want[Database], container: ContainerState, told: Told, age_s: float
) -> Plan[DatabaseStep]:
    """The container is as it should be: does the server serve?"""
    record = want.record
    match told.answer:
        case "serving":
            return Plan(memory_steps(want, container, told))
        case "denied" if record.spec.engine == "redis":
            # it reads its password when it starts, and takes no new one from who lacks the old
            return Plan((box.RestartContainer(container.id, STOP_TIMEOUT_S),))
        case "denied":
            heal = HealPassword(
                container.id,
                record.spec.engine,
                record.metadata.namespace,
                record.secret_name,
                login_of(record),
            )
            return Plan((heal,))
        case "silent":
            starting = Wait("Starting", _silence(want), box.recheck_s(age_s))
            return Plan(wait=box.trouble(container) or starting)
        case _:
            assert_never(told.answer)


def memory_steps(
    want: Want[Database], container: ContainerState, told: Told
) -> tuple[LimitMemory, ...]:
    """What gives a server that serves the limit that it should have; none if it has it."""
    record = want.record
    wanted, address = maxmemory_of(record), container.networks.get(want.network)
    if wanted is None or not address or told.maxmemory_bytes in (None, wanted):
        return ()
    meta = record.metadata
    return (LimitMemory(address, record.port, meta.namespace, record.secret_name, wanted),)


def resizing(
    want: Want[Database],
    container: ContainerState | None,
    told: Told,
    limits: Limits,
    steps: tuple[box.ContainerStep, ...],
) -> tuple[DatabaseStep, ...]:
    """`steps`, and before them the server's own limit where the container gets less memory: from
    then on it refuses what would not fit, rather than be killed for it. Of one that gets more, it
    follows once the container has it."""
    shrinks = container is not None and limits.memory_bytes < container.limits.memory_bytes
    stays = any(isinstance(step, box.FixContainer) for step in steps)
    if container is None or not (shrinks and stays):
        return steps
    return (*memory_steps(want, container, told), *steps)


def as_promised(
    want: Want[Database], container: ContainerState | None, told: Told
) -> Want[Database]:
    """`want` with the memory that its Redis has, as long as it isn't known that its data fits into
    less: killed for want of memory it would start, read its log, and be killed again. Itself where
    nothing has to wait."""
    spec = want.record.spec
    fits_bytes = maxmemory_of(want.record)
    if fits_bytes is None:
        return want
    # its data outlives its container, and the next one reads it at its start
    has_bytes = want.held.memory_bytes
    if container is not None:
        # what somebody gave the container by hand was promised by nobody
        has_bytes = min(container.limits.memory_bytes, has_bytes)
    known = told.answer == "serving" and told.used_bytes <= fits_bytes
    if known or has_bytes <= spec.limits.memory:
        return want
    kept = spec.limits.model_copy(update={"memory": has_bytes})
    record = want.record.model_copy(update={"spec": spec.model_copy(update={"resources": kept})})
    return replace(want, record=record)


def too_full(want: Want[Database], told: Told) -> Wait:
    """It serves, and holds more than the memory that is wanted leaves its data."""
    asked, left = want.record.spec.limits.memory, maxmemory_of(want.record) or 0
    enough = memory_for(told.used_bytes)
    message = (
        f"memory {asked // 2**20}Mi leaves {left // 2**20}Mi for its data, which takes more: "
        f"remove some of it, or set spec.resources.memory to {enough // 2**20}Mi or more; until "
        "then it keeps the memory it has"
    )
    # without a time of its own, as it serves: Synced then says what its edit waits for
    return Wait("MemoryInUse", message)


def held_back(report: Report, container: ContainerState | None) -> Report:
    """The report of one that keeps memory which its record wants no more (`as_promised`)."""
    if container is None:
        # its next container has as much as is allocated: nobody else is given it meanwhile
        return replace(report, in_use=None)
    return replace(report, recheck_after_s=FULL_RECHECK_S) if report.ready else report


def readiness(
    want: Want[Database], container: ContainerState | None, told: Told
) -> tuple[str, str]:
    """Why it is ready, or isn't: reason and message."""
    if found := not_running(container, deleting=want.deleting):
        return found
    match told.answer:
        case "serving":
            return "Serving", "it answers and takes its password"
        case "denied":
            message = "it answers, and its password is being set to the Secret's"
            return "PasswordRejected", message
        case _:
            return "Starting", _silence(want)


def _silence(want: Want[Database]) -> str:
    name = want.record.owned_name
    return f"container '{name}' runs and its server does not answer yet; if it lasts, read its logs"
