"""What a user has in a server, and whether it is still there."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from controlplane.records import Key
from drivers.containers import ContainerState
from tests.containers import docker
from tests.integration.crashes.world import DockerLook
from tests.support.platform import Platform

_REDIS: Final = "REDISCLI_AUTH=$(sed -n 's/^requirepass //p' /run/secrets/redis.conf) redis-cli "
_SQL: Final = ("psql", "-U", "app", "-d", "app", "-qtAc")
WRITE: Final = {
    "postgres": (*_SQL, "create table kept as select 'it' as v"),
    # acknowledged is on the disk: by itself Redis writes once a second
    "redis": ("sh", "-c", f"{_REDIS} config set appendfsync always && {_REDIS} set kept it"),
}
READ: Final = {
    "postgres": (*_SQL, "select v from kept"),
    "redis": ("sh", "-c", f"{_REDIS} get kept"),
}


@dataclass(frozen=True, slots=True)
class There:
    """Where a user's data is."""

    platform: Platform
    look: DockerLook
    key: Key


def write(there: There) -> object:
    """As a user of that record; what `lost` wants to find again."""
    return KEEPERS[there.key.kind][0](there)


def lost(there: There, written: object) -> bool:
    """Whether what serves that record has it no more."""
    return KEEPERS[there.key.kind][1](there) not in (None, written)


def _servers(there: There) -> list[ContainerState]:
    there.look.objects(there.platform)
    return [
        state
        for state in there.look.states
        if state.owner is not None and state.owner.name == there.key.name and state.running
    ]


def _write_row(there: There) -> object:
    (state,) = _servers(there)
    docker("exec", state.id, *WRITE[_engine_of(state)])
    return "it"


def _row(there: There) -> object:
    """None while no server runs."""
    found = [
        docker("exec", state.id, *READ[_engine_of(state)], check=False)
        for state in _servers(there)
    ]  # fmt: skip
    return next((each for each in found if each != "it"), found[0] if found else None)


def _engine_of(state: ContainerState) -> str:
    return next(engine for engine in WRITE if engine in state.image)


def _signing_keys(there: There) -> object:
    """Those of a zone, which the DS in the zone above it stands for; None: there is no zone."""
    there.look.objects(there.platform)
    dns = there.look.served.last["dns"]
    return {each for each in dns.things if each.startswith("key[")} or None


Look = Callable[[There], object]
KEEPERS: Final[Mapping[str, tuple[Look, Look]]] = {
    "Database": (_write_row, _row),
    "Zone": (_signing_keys, _signing_keys),
}
"""By kind: how to write, and how to read it again; None where nothing serves."""
