"""A fake of every driver, all around one engine."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from controlplane.clock import Clock
from controlplane.errors import RetryableError
from controlplane.plan import SecretReader, Usage
from drivers.containers import Owner
from drivers.fake.containers import FakeContainers
from drivers.fake.engine import Container, FakeEngine
from drivers.fake.host import FakeHost
from drivers.fake.mail import FakeMail
from drivers.fake.models import FakeModels
from drivers.fake.powerdns import FakeDnsServer, FakePowerDns
from drivers.fake.probe import FakeProbe
from drivers.fake.s3 import FakeS3, FakeS3Server
from drivers.fake.secretfiles import FakeSecretFiles, ReadFiles, mounted
from drivers.fake.wireguard import FakeWireGuard
from reconcilers._servers import SILENT, Login, Told
from reconcilers.registry import Drivers

MAXMEMORY = "maxmemory"


@dataclass(slots=True)
class FakeServers:
    """Database servers behind the fake containers: each keeps the password it started with, and a
    Redis the memory."""

    engine: FakeEngine
    read_files: ReadFiles
    passwords: dict[tuple[str, int], str] = field(default_factory=dict)
    """(owner's uid, start; 0 for postgres, which keeps it in its data) -> password."""
    silent: bool = False
    asked: Callable[[], object] = lambda: None
    """What happens to them while they are asked."""
    used_bytes: int = 0
    """What the data of each Redis takes."""
    heals: int = 0

    def __post_init__(self) -> None:
        self.engine.when_it_starts(self._read_memory)

    async def ask(
        self, engine: str, address: str, port: int, login: Login, password: str, /
    ) -> Told:
        self.asked()
        container = self._at(address)
        if container is None or (engine == "redis" and not self._began(container)):
            return SILENT
        start = container.starts if engine == "redis" else 0
        if not self._lets_in(container, start, password):
            return Told("denied")
        return Told("serving", container.told.get(MAXMEMORY), self.used_bytes)

    async def heal(self, engine: str, container_id: str, login: Login, password: str, /) -> None:
        self.heals += 1
        owner = self.engine.containers[container_id].state.owner
        self.passwords[(_uid(owner), 0)] = password

    async def limit(self, address: str, port: int, password: str, maxmemory_bytes: int, /) -> None:
        container = self._at(address)
        if container is None or not self._lets_in(container, container.starts, password):
            raise RetryableError("cannot set the memory of redis: planted")
        if container.told.get(MAXMEMORY) != maxmemory_bytes:
            self.engine.count("limit")
            container.told[MAXMEMORY] = maxmemory_bytes

    def _lets_in(self, container: Container, start: int, password: str) -> bool:
        key = (_uid(container.state.owner), start)
        return self.passwords.setdefault(key, password) == password

    def _at(self, address: str) -> Container | None:
        found = (
            each
            for each in self.engine.containers.values()
            if address in each.state.networks.values() and each.state.running
        )
        return None if self.silent else next(found, None)

    def _began(self, container: Container) -> bool:
        """Without its file a Redis ends at once, and the engine starts it until there is one."""
        if MAXMEMORY not in container.told:
            self.engine.begin(container)
        return MAXMEMORY in container.told

    def _read_memory(self, container: Container) -> None:
        """Of a Redis, as its file says it; what has no such file is another server."""
        lines = (self.read_files(container.state.id) or {}).get("redis.conf", b"").decode()
        for line in lines.splitlines():
            name, _, value = line.partition(" ")
            if name == MAXMEMORY:
                container.told[MAXMEMORY] = int(value)


def _uid(owner: Owner | None) -> str:
    return owner.uid if owner else ""


@dataclass
class Fakes:
    """One of each; what reconcilers are given besides differs (`around`)."""

    any_source: ClassVar[bool] = False
    """Whether model servers find whatever they are sent for."""

    engine: FakeEngine = field(default_factory=FakeEngine)
    files: FakeSecretFiles = field(default_factory=FakeSecretFiles)
    probe: FakeProbe = field(default_factory=lambda: FakeProbe(everything=True))
    meter: FakeHost = field(default_factory=FakeHost)
    dns: FakePowerDns = field(default_factory=lambda: FakePowerDns(anywhere=FakeDnsServer()))
    s3: FakeS3 = field(default_factory=lambda: FakeS3(anywhere=FakeS3Server()))
    mail: FakeMail = field(default_factory=FakeMail)
    containers: FakeContainers = field(init=False)
    llamacpp: FakeModels = field(init=False)
    ollama: FakeModels = field(init=False)
    servers: FakeServers = field(init=False)
    wireguard: FakeWireGuard = field(init=False)

    def __post_init__(self) -> None:
        self.containers = FakeContainers(self.engine)
        files = mounted(self.engine, self.files)
        self.llamacpp = FakeModels(engine=self.engine, read_files=files, any_source=self.any_source)
        self.ollama = FakeModels(any_source=self.any_source)
        self.servers = FakeServers(self.engine, files)
        self.wireguard = FakeWireGuard(self.engine, files)

    def around(self, values: SecretReader, usage: Usage, clock: Clock) -> Drivers:
        """What reconcilers act with."""
        return Drivers(
            containers=self.containers,
            files=self.files,
            values=values,
            usage=usage,
            probe=self.probe,
            meter=self.meter,
            servers=self.servers,
            dns=self.dns,
            llamacpp=self.llamacpp,
            ollama=self.ollama,
            s3=self.s3,
            quotas=self.s3,
            wireguard=self.wireguard,
            clock=clock,
            images="local",
            mail=self.mail,
            mailcow=self.mail,
        )
