"""What a user writes into a server, and whether it is still there."""

from typing import Final

from drivers.containers import ContainerState
from tests.containers import docker

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


def engine_of(state: ContainerState) -> str:
    """postgres or redis; "" for what keeps no data."""
    return next((engine for engine in WRITE if engine in state.image), "")


def write(state: ContainerState) -> None:
    docker("exec", state.id, *WRITE[engine_of(state)])


def kept(state: ContainerState) -> bool:
    return docker("exec", state.id, *READ[engine_of(state)], check=False) == "it"
