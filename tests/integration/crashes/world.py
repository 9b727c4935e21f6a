"""What a real engine holds of one installation: everything inspect tells that a user could mind,
in words that two runs share (tests/sim/snapshot.py has the same of fakes).
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from drivers.containers import LABEL_INSTANCE, ContainerState
from drivers.docker_calls import DockerConfig
from drivers.docker_errors import EngineRefusedError
from drivers.docker_inspect import container_state
from drivers.docker_sdk import Engine
from tests.integration.crashes.served import Served
from tests.sim.snapshot import scrubbed
from tests.support.platform import Platform

Json = Mapping[str, Any]
STATE: Final = ("Running", "Paused", "Restarting", "OOMKilled", "Error")
CONFIG: Final = (
    "Image", "Cmd", "Entrypoint", "Env", "Labels", "User", "WorkingDir", "ExposedPorts",
    "StopSignal", "StopTimeout", "Healthcheck",
)  # fmt: skip
"""Not the host name: it is the container's id where none was asked for."""
MOUNT: Final = ("Type", "Name", "Destination", "RW")


@dataclass(slots=True)
class DockerLook:
    """Looks at the engine itself and the servers on it, past the drivers."""

    instance: str
    root: Path
    """Where the secret files are."""
    states: tuple[ContainerState, ...] = ()
    """As of the last look."""
    served: Served = field(default_factory=Served)
    _engine: Engine = field(
        default_factory=lambda: Engine(DockerConfig("").url, timeout_s=60, pool_size=2)
    )

    def world(self, platform: Platform) -> str:
        """All of it, as sorted text; tests.sim.stage.Look asks for it."""
        containers = self._containers()
        self.states = tuple(container_state(raw) for raw in containers)
        self.served.look(platform, self.states)
        tree = {
            "served": self.served.tree(),
            "containers": [_container(raw) for raw in containers],
            "networks": [_network(raw) for raw in self._networks()],
            "volumes": [_picked(raw, ("Name", "Driver", "Labels", "Options"))
                        for raw in self._volumes()],
            "folders": {
                folder.name: {
                    str(path.relative_to(folder)): path.read_text(errors="backslashreplace")
                    for path in sorted(folder.rglob("*"))
                    if path.is_file()
                }
                for folder in self._folders()
            },
        }  # fmt: skip
        return scrubbed(platform, json.dumps(tree, sort_keys=True, indent=1))

    def objects(self, platform: Platform) -> frozenset[str]:
        """Identities of all things."""
        containers = self._containers()
        self.states = tuple(container_state(raw) for raw in containers)
        return frozenset(
            [
                *self.served.look(platform, self.states),
                *(f"container[{raw['Id']}" for raw in containers),
                *(f"network[{raw['Id']}" for raw in self._networks()),
                *(f"volume[{raw['Name']} {_inode(raw)}" for raw in self._volumes()),
                *(f"folder[{folder.name}" for folder in self._folders()),
            ]
        )

    def remove_all(self) -> None:
        query = {"force": "true", "v": "true"}
        for raw in self._list("/containers/json", all="true"):
            with contextlib.suppress(EngineRefusedError):
                self._engine.call("DELETE", "/containers/{}", raw["Id"], query=query)
        for raw in self._list("/networks"):
            self._engine.call("DELETE", "/networks/{}", raw["Id"])
        for raw in self._volumes():
            self._engine.call("DELETE", "/volumes/{}", raw["Name"])
        self._engine.close()

    def _list(self, path: str, **query: str) -> list[Json]:
        filters = json.dumps({"label": [f"{LABEL_INSTANCE}={self.instance}"]})
        found: Any = self._engine.call("GET", path, query={"filters": filters, **query})
        return list((found.get("Volumes") or ()) if isinstance(found, dict) else found)

    def _inspected(self, path: str, found: list[Json]) -> Iterator[Json]:
        for raw in found:
            # gone since it was listed
            with contextlib.suppress(EngineRefusedError):
                yield self._engine.call("GET", path, raw["Id"])

    def _containers(self) -> list[Json]:
        found = self._list("/containers/json", all="true")
        every = self._inspected("/containers/{}/json", found)
        return sorted(every, key=lambda raw: str(raw["Name"]))

    def _networks(self) -> list[Json]:
        every = self._inspected("/networks/{}", self._list("/networks"))
        return sorted(every, key=lambda raw: str(raw["Name"]))

    def _volumes(self) -> list[Json]:
        return sorted(self._list("/volumes"), key=lambda raw: str(raw["Name"]))

    def _folders(self) -> list[Path]:
        found = self.root.iterdir() if self.root.is_dir() else ()
        return sorted(folder for folder in found if not folder.name.startswith("."))


def _inode(raw: Json) -> int:
    """Another one of its name has another; `CreatedAt` is when something last changed in it."""
    try:
        return Path(raw["Mountpoint"]).stat().st_ino
    except OSError:
        return 0


def _container(raw: Json) -> Json:
    ends = raw["NetworkSettings"]["Networks"]
    host = {key: value for key, value in raw["HostConfig"].items() if value}
    return {
        "name": raw["Name"],
        "image": raw["Image"],
        "state": _picked(raw["State"], STATE),
        "config": _picked(raw["Config"], CONFIG),
        "host": {**host, "Binds": sorted(host.get("Binds", ()))},
        "mounts": sorted((_picked(each, MOUNT) for each in raw["Mounts"]), key=str),
        "networks": {
            name: sorted(a for a in end["Aliases"] or () if not raw["Id"].startswith(a))
            for name, end in ends.items()
        },
    }


def _network(raw: Json) -> Json:
    picked = _picked(raw, ("Name", "Driver", "IPAM", "Internal", "EnableIPv6", "Options", "Labels"))
    return {**picked, "ends": sorted(end["Name"] for end in raw["Containers"].values())}


def _picked(raw: Json, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: raw.get(name) for name in names}
