"""What is seen of a service of the platform, and what is said about it. Pure."""

from dataclasses import dataclass, field, replace
from typing import Final

from controlplane.plan import Report, Want
from drivers.containers import LABEL_CONTAINER, ContainerState
from reconcilers import _container as box
from reconcilers._running import Assembly, Part
from resources.platform import Platform, PlatformStatus

SERVED_RECHECK_S: Final = 30.0
"""A server whose container lives seldom stops serving; what kills the container is an event."""


@dataclass(frozen=True, slots=True)
class PlatformSeen:
    """What runs of it, by the name each container was made under."""

    containers: dict[str, ContainerState] = field(default_factory=dict)
    doubles: tuple[ContainerState, ...] = ()
    """Second ones of a name: a renamed one whose successor was made."""
    serving: frozenset[str] = frozenset()
    """Names of those that answer."""
    networks: dict[str, str] = field(default_factory=dict)
    """Name of each network that it shall be in, its own first, and its present id."""
    images: frozenset[str] = frozenset()
    """Those of its images that are here."""
    files_here: bool = False
    files_version: str | None = None
    """What its files were made from; None: there are none, or somebody changed them."""
    age_s: float = 0.0
    """Seconds since the youngest was started."""
    external_ok: bool = False
    secret_true: bool = True
    """Whether its Secret, if there is one, says where it is reached and as whom."""
    hour: int = 0
    """Since 1970."""
    applied: bool = True
    """Whether it works by what it is told of those who use it."""


def by_name(
    states: tuple[ContainerState, ...],
) -> tuple[dict[str, ContainerState], tuple[ContainerState, ...]]:
    """By the name each was made under; of two of one name, the one that still has it stays."""
    by_name: dict[str, ContainerState] = {}
    doubles = []
    for state in sorted(states, key=lambda s: s.name != s.labels.get(LABEL_CONTAINER, s.name)):
        made_as = state.labels.get(LABEL_CONTAINER, state.name)
        if made_as in by_name:
            doubles.append(state)
        else:
            by_name[made_as] = state
    return by_name, tuple(doubles)


def routes(
    want: Want[Platform], seen: PlatformSeen, wanted: Assembly | None
) -> dict[str, tuple[str, ...]]:
    """What it works by: the newest as soon as it says so, and until then what it last said."""
    if wanted is None or wanted.routing is None:
        return {}
    return dict(wanted.routing.told) if seen.applied else want.record.status.routes


def silence(names: list[str]) -> str:
    listed = ", ".join(f"'{name}'" for name in names)
    return f"{listed} runs and does not answer yet; if it lasts, read its logs"


def silence_external(record: Platform) -> str:
    external = record.spec.external
    where = external.endpoint if external else ""
    return f"nothing answers at {where}; check spec.external.endpoint and that server"


def external_report(record: Platform, seen: PlatformSeen) -> Report:
    external = record.spec.external
    assert external is not None
    status = PlatformStatus(
        endpoint=external.endpoint,
        endpoints={record.spec.offer.primary: external.endpoint},
        address=external.endpoint,
        secret_ref=external.secret_ref,
    )
    ours = (*seen.containers.values(), *seen.doubles)
    report = Report(
        status,
        False,
        "Unreachable",
        silence_external(record),
        in_use=box.held(*ours),
        exchanged=not ours,
    )
    if not seen.external_ok:
        return report
    return replace(
        report,
        ready=True,
        reason="Serving",
        message=f"{external.endpoint} answers",
        recheck_after_s=SERVED_RECHECK_S,
    )


def readiness(
    want: Want[Platform], seen: PlatformSeen, parts: tuple[Part, ...]
) -> tuple[bool, str, str]:
    if want.deleting:
        return False, "Terminating", "it is being removed"
    missing = [part.spec.name for part in parts if part.spec.name not in seen.containers]
    if missing:
        return False, "NotCreated", f"container '{missing[0]}' is not made yet"
    for state in seen.containers.values():
        if wait := box.trouble(state):
            return False, wait.reason, wait.message
    silent = [part.spec.name for part in parts if part.spec.name not in seen.serving]
    if silent:
        return False, "Starting", silence(silent)
    return True, "Serving", "it answers"
