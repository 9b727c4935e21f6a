"""What a Model does next, once its container is as it should be; and what is told of it. Pure."""

from dataclasses import dataclass
from typing import Final, assert_never

from controlplane.errors import TerminalError
from controlplane.plan import Plan, Wait, Want
from drivers.containers import ContainerState
from drivers.models import ModelOrder, ModelState
from reconcilers import _container as box
from reconcilers import _modelserver as made
from reconcilers._lifecycle import not_running
from reconcilers._modelsource import Found, source_of
from resources.model import PORT, Engine, Model, Phase

SERVED_RECHECK_S: Final = 30.0
"""Nothing tells when somebody removes a file, or a model from an Ollama."""
WORK_RECHECK_S: Final = 2.0
"""How often progress is looked at, and at most told."""
AWAY_RECHECK_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class ModelSeen:
    """What there is of it."""

    container: ContainerState | None = None
    image_here: bool = True
    network_id: str | None = None
    files_here: bool = False
    files_version: str | None = None
    """What its secret files were made from; None: there are none, or somebody changed them."""
    place: made.Place | None = None
    """The server that holds it (ollama); None: not known now."""
    model: ModelState | None = None
    """None: its server does not answer."""
    answers: bool = False
    """Whether its endpoint does."""
    secret_true: bool = True
    age_s: float = 0.0


@dataclass(frozen=True, slots=True)
class EnsureModel:
    """Have the server begin to fetch it. The credentials of its source are read at apply."""

    engine: Engine
    url: str
    namespace: str
    admin_name: str
    order: ModelOrder
    found: Found


@dataclass(frozen=True, slots=True)
class LoadModel:
    """Into memory, to stay for as long as the record says."""

    engine: Engine
    url: str
    namespace: str
    admin_name: str
    name: str
    keep_alive_s: int | None


@dataclass(frozen=True, slots=True)
class RemoveModel:
    """Off the server, with its disk: an earlier source's, or all of it."""

    engine: Engine
    url: str
    name: str


ModelStep = box.ContainerStep | EnsureModel | LoadModel | RemoveModel


def plan_model(want: Want[Model], seen: ModelSeen) -> Plan[ModelStep]:
    """Its container is as it should be: is the model here, and does it serve?"""
    record, state = want.record, seen.model
    if seen.container is not None and (wait := box.trouble(seen.container)):
        return Plan(wait=wait)
    if state is None:
        return Plan(wait=silent(want, seen))
    url = seen.place.url if seen.place else url_of(want, seen.container) or ""
    if state.others:
        return Plan(tuple(RemoveModel(record.spec.engine, url, name) for name in state.others))
    order = made.order_id(want)
    match state.phase:
        case "pulling" | "loading" if state.order == order:
            return Plan(wait=Wait(made.WORK[state.phase], made.doing(state), WORK_RECHECK_S))
        case "checking":
            return Plan(wait=Wait("Checking", made.doing(state), WORK_RECHECK_S))
        case "failed" if state.order == order and (wait := _resting(want, state)):
            return Plan(wait=wait)
        case "ready" if made.fits(record, state):
            return _plan_serving(want, seen, state, url)
        case _:
            return _ordered(want, state, url, order)


def _ordered(want: Want[Model], state: ModelState, url: str, order: str) -> Plan[ModelStep]:
    record = want.record
    if state.phase != "empty" and state.order != order and (wait := made.growing(want)):
        return Plan(wait=wait)  # it would be begun within the old size, and then anew
    found = source_of(want)
    if isinstance(found, Wait):
        return Plan(wait=found)
    wanted = ModelOrder(
        order,
        made.inner_name(record),
        record.spec.source.identity,
        digest=record.spec.digest or "",
        max_bytes=made.room_bytes(want),
        insecure=record.spec.source.plain_http,
        oci=found.oci,
    )
    meta = record.metadata
    return Plan(
        (EnsureModel(record.spec.engine, url, meta.namespace, record.admin_name, wanted, found),)
    )


def _resting(want: Want[Model], state: ModelState) -> Wait | None:
    """A failure that rests before the next attempt. Raises TerminalError for one that only an
    edit can mend."""
    record, failure = want.record, state.failure
    if failure is None:
        return None
    if failure.reason == "TooLarge" and (wait := made.short_of_room(want)):
        return wait
    if failure.lasting:
        raise TerminalError(
            f"cannot use model '{record.metadata.name}' from {record.spec.source.identity}: "
            f"{failure.message}",
            reason=failure.reason,
        )
    left_s = made.pause_s(failure.attempts) - failure.age_s
    message = _failed(record, state)
    return Wait(failure.reason, message, max(0.1, left_s)) if left_s > 0 else None


def _failed(record: Model, state: ModelState) -> str:
    failure = state.failure
    said = failure.message if failure else "it failed"
    more = (
        "; give it more memory (spec.resources)"
        if failure and failure.reason == "OutOfMemory"
        else ""
    )
    return f"{record.spec.source.identity}: {said}{more}; it is tried again"


def _plan_serving(
    want: Want[Model], seen: ModelSeen, state: ModelState, url: str
) -> Plan[ModelStep]:
    record = want.record
    if state.failure is not None and (wait := _resting(want, state)):
        return Plan(wait=wait)
    if state.failure is not None or not made.lives_as_wanted(record, state):
        name, keep_alive_s = made.inner_name(record), record.spec.keep_alive_s
        step = LoadModel(
            record.spec.engine,
            url,
            record.metadata.namespace,
            record.admin_name,
            name,
            keep_alive_s,
        )
        return Plan((step,))
    if not seen.answers:
        return Plan(wait=silent(want, seen))
    return Plan()


def keys_written(want: Want[Model], seen: ModelSeen) -> bool:
    """Whether its container reads the keys that its Secrets hold."""
    return seen.files_version == box.version_of(made.secret_files(want))


def silent(want: Want[Model], seen: ModelSeen) -> Wait:
    if want.record.spec.engine == "ollama" and seen.model is None:
        return no_service(want)
    if seen.model is None and not keys_written(want, seen):
        return Wait("Starting", "its keys were changed, and are being written", AWAY_RECHECK_S)
    name = seen.container.name if seen.container else want.record.owned_name
    message = f"container '{name}' runs and does not answer yet; if it lasts, read its logs"
    return Wait("Starting", message, box.recheck_s(seen.age_s))


def no_service(want: Want[Model]) -> Wait:
    service = want.services[want.record.spec.service]
    why = service.message or f"Platform '{service.name}' does not answer; see its conditions"
    return Wait("ServiceUnavailable", why, AWAY_RECHECK_S)


def held_by_service(want: Want[Model]) -> Wait:
    name = want.record.spec.service
    message = (
        f"the model can't be removed from Platform '{name}' while that does not answer; mend it, "
        "or delete that record to give the model up"
    )
    return Wait("ServiceUnavailable", message, AWAY_RECHECK_S)


def url_of(want: Want[Model], state: ContainerState | None) -> str | None:
    """Where the agent reaches its container; None: nowhere now."""
    if state is None or not state.running or state.paused:
        return None
    address = state.networks.get(want.network)
    return f"http://{address}:{PORT}" if address else None


def phase_of(record: Model, state: ModelState | None) -> Phase:
    if state is None:
        return "Pending"
    match state.phase:
        case "empty":
            return "Pending"
        case "pulling" | "checking" | "loading":
            return made.WORK[state.phase]
        case "failed":
            return "Failed"
        case "ready":
            return "Ready" if made.fits(record, state) else "Pending"
        case _:
            assert_never(state.phase)


def readiness(want: Want[Model], seen: ModelSeen) -> tuple[str, str]:
    if told := not_running(seen.container, deleting=want.deleting):
        return told
    state = seen.model
    if state is None or not seen.answers:
        wait = silent(want, seen)
        return wait.reason, wait.message
    if state.failure is not None:
        return state.failure.reason, _failed(want.record, state)
    if state.phase == "ready" and made.fits(want.record, state):
        return "Serving", "it is here and its endpoint answers"
    return made.WORK.get(state.phase, "NotHere"), made.doing(state)
