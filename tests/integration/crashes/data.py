"""What a user has in a server, and whether it is still there."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from botocore.exceptions import ClientError

from controlplane.records import Key
from drivers.containers import ContainerState
from tests.containers import docker
from tests.e2e.mailing import Login
from tests.integration.crashes.buckets import client
from tests.integration.crashes.holding import At
from tests.integration.crashes.mailboxes import write_letter
from tests.integration.crashes.served import servers
from tests.integration.crashes.world import DockerLook
from tests.sim.snapshot import opened
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
KEPT: Final = "a/letter"


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
    """Whether what serves that record has it no more; None, there was nothing."""
    return written is not None and KEEPERS[there.key.kind][1](there) not in (None, written)


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


def _write_object(there: There) -> object:
    """With the bucket's own key."""
    at = _server(there, "s3")
    secret = there.platform.get(Key("Secret", there.key.namespace, f"{there.key.name}-default"))
    mine = replace(at, login=opened(secret.obj))
    client(mine).put_object(Bucket=_bucket(there), Key=KEPT, Body=b"it")
    return b"it"


def _object(there: There) -> object:
    """None: there is no bucket."""
    s3 = client(_server(there, "s3"))
    if _bucket(there) not in {each["Name"] for each in s3.list_buckets()["Buckets"]}:
        return None
    try:
        found: object = s3.get_object(Bucket=_bucket(there), Key=KEPT)["Body"].read()
    except ClientError as exc:
        return str(exc)
    return found


def _bucket(there: There) -> str:
    return f"{there.key.namespace}-{there.key.name}"


def _write_letter(there: There) -> object:
    """By its own password."""
    secret = there.platform.get(Key("Secret", there.key.namespace, f"{there.key.name}-mailbox"))
    address = there.platform.status(there.key)["address"]
    login = opened(secret.obj)["password"]
    write_letter(Login(_server(there, "mail").address, address, login))
    return _letters(there)


def _letters(there: There) -> object:
    """How many there are, whoever may read them now."""
    there.look.objects(there.platform)
    found: Mapping[str, int] = there.look.served.last["mail"].tree()["letters"]
    return sum(found.values())


def _server(there: There, service: str) -> At:
    there.look.objects(there.platform)
    return dict(servers(there.platform, there.look.states))[service]


Look = Callable[[There], object]
KEEPERS: Final[Mapping[str, tuple[Look, Look]]] = {
    "Database": (_write_row, _row),
    "Zone": (_signing_keys, _signing_keys),
    "Mailbox": (_write_letter, _letters),
    "Bucket": (_write_object, _object),
}
"""By kind: how to write, and how to read it again; None where nothing serves."""
