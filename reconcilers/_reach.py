"""By what a replica of an App is asked whether it serves, and is routed to.

A replica that is exchanged answers by what it was made for: the edit that exchanges it may move the
port or the health check along with the image, and one judged by those would count as broken before
anything has taken its place. One that stays is judged by the spec alone.
"""

from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import Field, ValidationError

from controlplane.clock import Clock
from controlplane.plan import Want
from drivers.containers import LABEL_PREFIX, Containers, ContainerState
from drivers.probe import Probe, Target
from resources.app import App, AppSpec, HealthCheck
from resources.meta import Model, Port
from resources.text import HttpPath

SETTLED_S: Final = 2.0
"""Without a port to ask, one that was restarted counts as serving after so long."""
ASK_AGAIN_S: Final = 1.0
"""Between two failures of one that served: longer than a garbage collection or a full backlog."""
LABEL_REACH: Final = LABEL_PREFIX + "reach"
"""How it was to be reached when it was made. A note: such a change alone makes none anew."""


class Reach(Model):
    """Where it takes requests, and what is asked to know whether it serves."""

    port: Port | None = None
    probe_port: Port | None = None
    """None: running is enough."""
    path: HttpPath | None = None
    timeout_seconds: Annotated[int, Field(ge=1, le=30)] = 2


def reach_of(spec: AppSpec) -> Reach:
    check = spec.health_check or HealthCheck()
    return Reach(
        port=spec.port,
        probe_port=spec.probe_port,
        path=check.path,
        timeout_seconds=check.timeout_seconds,
    )


def noted(reach: Reach) -> dict[str, str]:
    """The note for a container that is made."""
    return {LABEL_REACH: reach.model_dump_json(exclude_none=True)}


def noted_on(state: ContainerState) -> Reach | None:
    """None: nothing that can be read. An earlier release made it, or an image's own label has
    the name."""
    try:
        return Reach.model_validate_json(state.labels.get(LABEL_REACH, ""))
    except ValidationError:
        return None


def reaches(want: Want[App], state: ContainerState, made: Reach) -> tuple[Reach, ...]:
    """How one that is exchanged may be reached, the likeliest first.

    What it was `made` for may have been wrong and corrected while it ran, so the spec counts as
    well. Should it listen on both ports, it is reached by the one that requests were last sent to.
    """
    address, told = state.networks.get(want.network), want.record.status.backends
    both = (made, reach_of(want.record.spec))
    return tuple(sorted(both, key=lambda each: f"{address}:{each.port}" not in told))


@dataclass(frozen=True, slots=True)
class Asking:
    """Asks replicas whether they serve."""

    containers: Containers
    probe: Probe
    clock: Clock

    async def serves(
        self, want: Want[App], state: ContainerState, ways: tuple[Reach, ...], age_s: float
    ) -> tuple[ContainerState, Reach | None]:
        """How it was found to serve, if it does, and how it is by then."""
        spec, record = want.record.spec, want.record
        check = spec.health_check or HealthCheck()
        # only of what served: one that starts, or is known not to serve, delays nobody's pass
        served = record.status.ready_replicas >= spec.replicas and age_s >= SETTLED_S
        for again in range(check.failure_threshold if served else 1):
            if again:
                # it may have died since: then it is healed now, not asked until it is given up
                found = await self.containers.observe_container(state.name, record.metadata.uid)
                state = found or state
                if _address(want, state):
                    await self.clock.sleep(ASK_AGAIN_S)
            for way in ways:
                if await self._answers(want, state, way, age_s):
                    return state, way
            if not _address(want, state):
                break
        return state, None

    async def _answers(
        self, want: Want[App], state: ContainerState, way: Reach, age_s: float
    ) -> bool:
        if way.probe_port is None:
            return _up(state) and (state.restart_count == 0 or age_s >= SETTLED_S)
        if not (address := _address(want, state)):
            return False
        target = Target(address, way.probe_port, way.path)
        return (await self.probe.observe(target, timeout_s=float(way.timeout_seconds))).ok


def _up(state: ContainerState) -> bool:
    return state.running and not state.paused and not state.restarting


def _address(want: Want[App], state: ContainerState) -> str:
    """Where it can be asked; empty where there is nobody to answer."""
    return state.networks.get(want.network, "") if _up(state) else ""
