"""Which image serves an engine: the one table of pinned references and what they promise.

Two sources, one contract. `upstream` names the public image by exact release, `local` names
what `scripts/images` builds on this host from `manifests/images/` (docs/images.md). This module
only knows names: it neither pulls nor builds, and it is standard library alone, so that
`scripts/images` can read it before anything is installed.
"""

from dataclasses import dataclass
from typing import Final, Literal

from controlplane.errors import TerminalError

Source = Literal["upstream", "local"]

LOCAL_PREFIX: Final = "bunker.local/"
"""First part of every local tag. With its dot it reads as a registry host that does not exist, so
an engine that misses the image fails at once instead of asking a public registry for it."""

BASE: Final = LOCAL_PREFIX + "base:bookworm"
BASE_UPSTREAM: Final = "debian:bookworm-slim"
DEMO: Final = LOCAL_PREFIX + "demo:1"
LLAMACPP: Final = LOCAL_PREFIX + "llamacpp:1"
"""One model behind one endpoint; always built here, since its gateway is ours."""
WIREGUARD: Final = LOCAL_PREFIX + "wireguard:1"
CONTROL_PLANE: Final = LOCAL_PREFIX + "control-plane:1"

# 999: the uid and gid of `postgres` and `redis` in the public Debian-based images; ours take
# the same, so that a volume can go from ours to theirs (and not back: docs/images.md).
_SERVER_ID: Final = 999


@dataclass(frozen=True, slots=True)
class ImageChoice:
    """One image and its contract: started as `uid:gid` with no capability at all it finds
    `data_path` writable on a new named volume, because the engine copies the owner of the image's
    own folder there."""

    engine: str
    version: str
    """What the user chose, e.g. `16`."""
    release: str
    """The exact release behind it, e.g. `16.14`."""
    reference: str
    uid: int
    gid: int
    data_path: str
    """Where the data volume is mounted. PGDATA stays the image's own default below it."""

    @property
    def user(self) -> str:
        """As the engine wants it: `uid:gid`."""
        return f"{self.uid}:{self.gid}"


# engine -> version -> (upstream tag, local release). An upstream tag names a release for good.
_POSTGRES: Final = {
    "14": ("postgres:14.20-bookworm", "14.23"),
    "15": ("postgres:15.15-bookworm", "15.18"),
    "16": ("postgres:16.11-bookworm", "16.14"),
    "17": ("postgres:17.7-bookworm", "17.10"),
    "18": ("postgres:18.1-bookworm", "18.6"),
}
# Redis 7.2 is the last release under the BSD licence; Debian 12 carries 7.0, whose files 7.2 reads.
_REDIS: Final = {"7": ("redis:7.2.11-bookworm", "7.0.15")}
_ENGINES: Final = {"postgres": _POSTGRES, "redis": _REDIS}

# Images of platform services: name -> (upstream tag, version of the local tag, local release, uid,
# gid, data path). Pinned by exact release; "" where no public image keeps to the contract, and ours
# is built for both sources. The name is that of the recipe under manifests/images/.
_SERVICES: Final = {
    # the public image has another configuration contract, and no database of countries
    "powerdns": ("", "4.7", "4.7.3", 999, 999, "/data"),
    "mail": ("", "2", "3.7.11", 0, 0, "/data"),
    "traefik": ("traefik:v3.5.6", "3", "3.7.15", 0, 0, "/data"),
    "prometheus": ("prom/prometheus:v3.5.0", "2", "2.42.0", 65534, 65534, "/prometheus"),
    "alertmanager": ("prom/alertmanager:v0.28.1", "0", "0.25.0", 65534, 65534, "/alertmanager"),
    "pushgateway": ("prom/pushgateway:v1.11.1", "1", "1.5.1", 65534, 65534, "/data"),
    "registry": ("registry:2.8.3", "2", "2.8.2", 0, 0, "/var/lib/registry"),
    # the public image's entrypoint wants to change owners, which a dropped user can't
    "openbao": ("", "2.7", "2.7.2", 100, 1000, "/openbao/file"),
    # ours is Ollama's API, as far as it is used, over llama.cpp (docs/images.md)
    "ollama": ("ollama/ollama:0.12.6", "1", "1", 0, 0, "/data"),
    # our entrypoint closes inner ports that the public image leaves open (docs/images.md)
    "seaweedfs": ("", "4.48", "4.48", 1000, 1000, "/data"),
}

DEFAULT_VERSIONS: Final = {"postgres": "18", "redis": "7"}


def versions(engine: str) -> tuple[str, ...]:
    """The versions that an engine is offered in, oldest first; empty for an unknown engine."""
    return tuple(_ENGINES.get(engine, {}))


def image_for(engine: str, version: str, *, source: Source) -> ImageChoice:
    """The image that serves `engine` at `version`, from `source` (the setting CP_IMAGES).

    Raises TerminalError for an engine or version that is not offered.
    """
    offered = _ENGINES.get(engine)
    if offered is None:
        known = ", ".join(_ENGINES)
        raise TerminalError(
            f"cannot find an image for engine '{engine}': known engines are {known}",
            reason="UnknownEngine",
        )
    if version not in offered:
        raise TerminalError(
            f"cannot find an image for {engine} '{version}': offered are {', '.join(offered)}",
            reason="UnknownVersion",
        )
    upstream, local_release = offered[version]
    local = source == "local"
    return ImageChoice(
        engine=engine,
        version=version,
        release=local_release if local else upstream.partition(":")[2].partition("-")[0],
        reference=f"{LOCAL_PREFIX}{engine}:{version}" if local else upstream,
        uid=_SERVER_ID,
        gid=_SERVER_ID,
        data_path=_data_path(engine, version),
    )


def services() -> tuple[str, ...]:
    """Names of the images that platform services run from."""
    return tuple(_SERVICES)


def upstream_of(name: str) -> str:
    """The public image that takes its place; "": always built here."""
    return _SERVICES[name][0]


def service_image(name: str, *, source: Source) -> ImageChoice:
    """The image of that name from `source`, for a container of a platform service."""
    upstream, version, local_release, uid, gid, data_path = _SERVICES[name]
    local = source == "local" or not upstream
    return ImageChoice(
        engine=name,
        version=version,
        release=local_release if local else upstream.rpartition(":")[2],
        reference=f"{LOCAL_PREFIX}{name}:{version}" if local else upstream,
        uid=uid,
        gid=gid,
        data_path=data_path,
    )


def _data_path(engine: str, version: str) -> str:
    if engine == "redis":
        return "/data"
    # From 18 on the public image keeps its data one level down, in 18/docker, and wants the parent
    # mounted: https://github.com/docker-library/postgres/pull/1259
    return "/var/lib/postgresql" if int(version) >= 18 else "/var/lib/postgresql/data"
