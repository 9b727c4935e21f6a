"""The simulated platform's engine and reconcilers, on a real Docker engine and real files.

One process acts at a time, as in simulation: its driver is closed when the next one begins, and
each of its requests that changes something on the engine or a server passes the seam by itself.
"""

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from controlplane.budget import Ledger
from controlplane.clock import SystemClock
from controlplane.engine.usage import Used
from controlplane.engine.values import StoredValues
from controlplane.records import Key, Stored
from controlplane.seam import Seam
from drivers.containers import ContainerState
from drivers.docker import DockerContainers
from drivers.docker_calls import DockerConfig
from drivers.fake.host import FakeHost
from drivers.secretfiles import HostSecretFiles, memory_root
from reconcilers.real import real_drivers
from reconcilers.registry import RECONCILERS, Drivers
from tests.integration.crashes import data
from tests.integration.crashes.requests import dns_requests, engine_requests, s3_requests
from tests.integration.crashes.world import DockerLook
from tests.sim.check import condition, settled
from tests.support.platform import Platform

QUIET_S: Final = 1.2
"""Longer than between an event and the pass that it wakes."""
POLL_S: Final = 0.1
LAST_S: Final = 60.0
"""The longest that anything may take on a loaded machine."""


def hashed(data: bytes) -> str:
    return sha256(data).hexdigest()


@dataclass(slots=True)
class DockerPlatform(Platform):
    """Nothing of it is fake but the store, and the machine's size."""

    instance: str = ""
    look: DockerLook = field(init=False)
    written: dict[Key, object] = field(default_factory=dict)
    """By record: what a user has in its server."""
    _containers: list[DockerContainers] = field(default_factory=list)
    _acted: list[Drivers] = field(default_factory=list)
    """What each process acted with."""

    def __post_init__(self) -> None:
        Platform.__post_init__(self)
        self.clock = SystemClock()
        # still numbers: some stand in JSON as such
        self.aliases = {str(port): str(place) for place, port in enumerate(self.ports, 30_000)}
        self.aliases[self.instance] = "<instance>"
        root = memory_root(Path(f"/run/bunker-{self.instance}"), Path("/proc/mounts").read_text())
        self.look = DockerLook(self.instance, root)

    def _acting(self, ledger: Ledger, guard: Callable[[], int], seam: Seam) -> Drivers:
        for former in self._containers:  # its process is dead, and so are its sockets
            former._calls.close()
        config = DockerConfig(
            instance=self.instance, secrets_root=str(self.look.root), images="local"
        )
        containers = DockerContainers(config, guard=guard)
        engine_requests(containers, seam)
        drivers = self._on(containers, ledger)
        dns_requests(drivers.dns, seam)
        s3_requests(drivers.s3, seam)
        self._containers.append(containers)
        self._acted.append(drivers)
        return drivers

    def _drivers(self, ledger: Ledger) -> Drivers:
        """For whoever asks a reconciler something without acting."""
        return self._on(self.containers, ledger)

    def _on(self, containers: Any, ledger: Ledger) -> Drivers:
        given = real_drivers(
            containers,
            HostSecretFiles(self.look.root, hashed),
            StoredValues(self.store.cache, self.records),
            Used(ledger, self.store.cache),
            clock=self.clock,
            images="local",
        )
        # what else is on this machine's disk would be in the Host's status
        return replace(given, meter=FakeHost())

    def states(self) -> list[ContainerState]:
        return list(self.look.states)

    async def settle(self, seconds: float = LAST_S) -> None:
        """Until all is as it was asked for and stays so for a moment, rather than a fixed time."""
        del seconds
        quiet_s = 0.0
        seen = -1
        waited_s = 0.0
        while quiet_s < QUIET_S and waited_s < LAST_S:
            await asyncio.sleep(POLL_S)
            waited_s += POLL_S
            commits = sum(write.key.kind != "Event" for write in self.store.writes)
            quiet_s = quiet_s + POLL_S if commits == seen and self.at_rest() else 0.0
            seen = commits

    def at_rest(self) -> bool:
        """Nothing is due, and every record says that it is as it should be."""
        busy = self.term is None or not self.term.idle
        return not busy and all(
            _fine(stored) for kind in RECONCILERS for stored in self.store.cache.list(kind)
        )

    async def write_data(self, key: Key) -> None:
        """As a user of that record's server; `lost` looks for it."""
        there = data.There(self, self.look, key)
        self.written[key] = await asyncio.to_thread(data.write, there)

    def lost(self) -> list[str]:
        """Records whose servers serve, and have no more what was written."""
        return [
            f"what was written into {key} is lost"
            for key, written in self.written.items()
            if data.lost(data.There(self, self.look, key), written)
        ]

    async def destroy(self) -> None:
        """Remove whatever carries its label."""
        # seconds on a busy engine, and others play on the same loop
        await asyncio.to_thread(self.look.remove_all)
        shutil.rmtree(self.look.root, ignore_errors=True)
        for each in self._acted:
            await each.aclose()


def _fine(stored: Stored) -> bool:
    seen = (stored.obj.get("status") or {}).get("observedGeneration")
    if stored.deleting or seen != stored.generation:
        return False
    if condition(stored, "Synced").get("reason") == "Paused":
        return True
    return settled(stored) and condition(stored, "Ready").get("status") == "True"
