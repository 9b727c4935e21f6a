"""From a Model to its container, its Secrets and its order. Pure.

One container for either engine: with `llamacpp` it holds the file and runs it, with `ollama` it is
the gateway to the server that does.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from controlplane.plan import Generated, Owned, Template, Wait, Want
from drivers.containers import (
    ContainerSpec,
    Limits,
    NetworkAttachment,
    PublishedPort,
    VolumeMount,
)
from drivers.models import ModelState
from reconcilers import _container as box
from reconcilers import _volumes as volumes
from reconcilers._images import LLAMACPP
from resources.model import PORT, Model

NO_FORWARDING: Final = {"net.ipv4.ip_forward": "0"}
"""In two networks at once, and never a way from one to the other."""
USER: Final = (1000, 1000)
DATA_PATH: Final = "/data"
STOP_TIMEOUT_S: Final = 10
"""What it was saying is lost; the file on its Volume is complete or begun anew."""
KEEP_ALIVE_SLACK_S: Final = 60.0
"""Ollama counts from the last use, on its own clock."""
SERVER_KEEP_ALIVE_S: Final = 300
"""What an Ollama does by itself (https://github.com/ollama/ollama/blob/main/docs/faq.md). Less, and
`always`, is set when it is looked at. For more that is too late: a few minutes left may as well be
the end of a long time, so its gateway sets it at each use."""
FOR_EVER_S: Final = 365 * 86_400.0
"""Ollama's "for ever" is some 290 years from now."""
GROWING_RECHECK_S: Final = 2.0
"""A Volume's pass takes milliseconds."""
RETRY_FIRST_S: Final = 5.0
RETRY_MOST_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class Place:
    """The server of the platform that holds it, as seen (engine ollama)."""

    url: str
    """Where the agent reaches it."""
    inner_url: str
    """Where the gateway's container reaches it."""
    network: str = ""
    """Network of its container, which the gateway joins; "" for one of somebody else's."""
    network_id: str = ""


def volume_name(record: Model, namespace_uid: str) -> str:
    """Name of the Volume for its file."""
    return volumes.volume_name(record, namespace_uid, "gguf")


def keeping(want: Want[Model]) -> volumes.Keeping:
    """The Volume for its file."""
    name = volume_name(want.record, want.namespace_uid)
    return volumes.Keeping(name, "gguf", want.record.spec.storage, None)


def volume_of(want: Want[Model]) -> Owned | None:
    """That Volume as it is; None: there is none, as there never is with Ollama."""
    if want.record.spec.engine != "llamacpp":
        return None
    return want.children.get(("Volume", volume_name(want.record, want.namespace_uid)))


def room_bytes(want: Want[Model]) -> int:
    """Disk that its file may take: what it asks for, and no more than its Volume was given."""
    volume, storage = volume_of(want), want.record.spec.storage
    granted = None if volume is None else volumes.granted_bytes(volume)
    return storage if granted is None else min(storage, granted)


def growing(want: Want[Model]) -> Wait | None:
    """For its Volume, which was asked for more and has neither given nor refused it: looked at
    again, as nothing tells of disk that is given. One that is being deleted never answers."""
    volume, enough = volume_of(want), room_bytes(want) >= want.record.spec.storage
    if volume is None or enough or volume.deleting or volumes.no_room(volume):
        return None
    return replace(volumes.volume_wait(volume.name, volume), recheck_after_s=GROWING_RECHECK_S)


def short_of_room(want: Want[Model]) -> Wait | None:
    """Why its Volume has less than it asks for."""
    if room_bytes(want) >= want.record.spec.storage:
        return None
    return volumes.no_room(volume_of(want)) or growing(want)


def inner_name(record: Model) -> str:
    """What the server calls it: with Ollama a name of its own, and another for another source, so
    that what is there is never taken for what was asked for."""
    if record.spec.engine == "llamacpp":
        return record.metadata.name
    tag = hashlib.sha256(record.spec.source.identity.lower().encode()).hexdigest()[:12]
    return f"bunker/{record.metadata.uid}:{tag}"


def order_id(want: Want[Model]) -> str:
    """Changes with all that may make another attempt end otherwise."""
    record = want.record
    spec = record.spec
    bucket = want.refs.get("spec.source.bucketRef")
    given = [
        spec.source.model_dump(mode="json"),
        spec.digest,
        room_bytes(want),
        spec.limits.memory,
        spec.context_length,
        sorted((name, content or "") for name, content in want.secrets.items()),
        bucket.binding.content_hmac if bucket and bucket.binding else "",
    ]
    return hashlib.sha256(json.dumps(given).encode()).hexdigest()[:16]


def fits(record: Model, state: ModelState) -> bool:
    """Whether what the server holds is what the record asks for."""
    if record.spec.digest is not None:
        return state.digest == record.spec.digest
    return state.source in ("", record.spec.source.identity)


def lives_as_wanted(record: Model, state: ModelState) -> bool:
    """Whether it stays in memory for as long as the record says."""
    wanted = record.spec.keep_alive_s
    if wanted is None and not state.loaded:
        return False
    if state.expires_in_s is None:  # the server keeps what it was started with
        return True
    if wanted is None:
        return state.expires_in_s > FOR_EVER_S
    return state.expires_in_s <= wanted + KEEP_ALIVE_SLACK_S


def pause_s(attempts: int) -> float:
    """How long a failure rests before the next attempt: 5 s, doubled each time, at most 300 s."""
    return float(min(RETRY_MOST_S, RETRY_FIRST_S * 2.0 ** min(attempts - 1, 10)))


def progress(state: ModelState) -> str | None:
    """Whole percent, so that it is told at most a hundred times."""
    if state.phase == "ready":
        return "100%"
    if not state.total_bytes:
        return None
    return f"{min(99, state.completed_bytes * 100 // state.total_bytes)}%"


def secret_keys(record: Model) -> dict[str, str | Generated | Template]:
    """What its users get (https://servicebinding.io/spec/core/1.1.0/#well-known-secret-entries)."""
    return {
        "type": "openai",
        "provider": "bunker",
        "host": record.metadata.name,
        "port": str(PORT),
        "uri": f"http://{record.metadata.name}:{PORT}/v1",
        "model": record.metadata.name,
        "token": Generated(),
    }


def secret_files(want: Want[Model]) -> tuple[box.SecretFile, ...]:
    """The keys that its container asks for: the users', and the platform's own."""
    record = want.record

    def file(path: str, name: str) -> box.SecretFile:
        secret = want.children.get(("Secret", name))
        source = box.SecretSource("Secret", name, secret.content_hmac if secret else "")
        return box.SecretFile(path, source, "{token}")

    return (file("token", record.secret_name), file("admin", record.admin_name))


def env_of(record: Model, place: Place | None) -> dict[str, str]:
    """Its container's variables: no secret."""
    spec = record.spec
    env = {"MODEL_NAME": record.metadata.name, "PORT": str(PORT), "BACKEND": spec.engine}
    if place is not None:
        env |= {"UPSTREAM": place.inner_url, "INNER_NAME": inner_name(record)}
        longer = (spec.keep_alive_s or 0) > SERVER_KEEP_ALIVE_S
        return {**env, "KEEP_ALIVE_S": str(spec.keep_alive_s)} if longer else env
    keep_alive_s = -1 if spec.keep_alive_s is None else spec.keep_alive_s
    return {
        **env,
        "CONTEXT_LENGTH": str(spec.context_length),
        "KEEP_ALIVE_S": str(keep_alive_s),
        "DATA_PATH": DATA_PATH,
    }


def container_spec(
    want: Want[Model], secrets_dir: str, *, mount: str | None, place: Place | None
) -> ContainerSpec:
    """What runs of it. `mount` is the engine's volume (llamacpp), `place` the server (ollama)."""
    record = want.record
    limits = record.spec.limits
    publish = record.spec.publish
    networks = [NetworkAttachment(want.network, (record.metadata.name,))]
    if place is not None and place.network not in ("", want.network):
        networks.append(NetworkAttachment(place.network))
    return box.sealed(
        ContainerSpec(
            name=record.owned_name,
            owner=box.owner_of(record),
            image=LLAMACPP,
            digest="",
            limits=Limits(limits.cpu, limits.memory),
            env=env_of(record, place),
            networks=tuple(networks),
            volumes=() if mount is None else (VolumeMount(mount, DATA_PATH),),
            secrets_dir=secrets_dir,
            ports=() if publish is None else (PublishedPort(PORT, want.ports[0], publish.address),),
            user=f"{USER[0]}:{USER[1]}",
            read_only_root=True,
            tmpfs=("/tmp:size=16m,mode=1777",),  # noqa: S108  # a path in the container
            stop_timeout_s=STOP_TIMEOUT_S,
            sysctls={} if place is None else NO_FORWARDING,
        )
    )


Kind = Literal["Pulling", "Checking", "Loading"]
WORK: Final[Mapping[str, Kind]] = {
    "pulling": "Pulling",
    "checking": "Checking",
    "loading": "Loading",
}
"""The server's words for what it does, and ours."""


def doing(state: ModelState) -> str:
    """One line for a person."""
    match state.phase:
        case "pulling":
            share = progress(state)
            return f"it is being fetched: {share} is here" if share else "it is being fetched"
        case "checking":
            return "its file was touched, and its digest is being read"
        case "loading":
            return "it is being loaded for the first time"
        case _:
            return "it is not here yet"
