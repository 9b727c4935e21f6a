"""Databases and Apps on a real Docker engine, with the images built here: they serve, and heal."""

import asyncio
import hashlib
import shutil
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from controlplane.clock import SystemClock
from controlplane.plan import Plan
from drivers.containers import NetworkSpec, Owner, VolumeSpec
from drivers.docker import DockerContainers
from drivers.docker_calls import DockerConfig
from drivers.fake.powerdns import FakePowerDns
from drivers.fake.s3 import FakeS3
from drivers.llamacpp import LlamaCpp
from drivers.ollama import Ollama
from drivers.postgres import NetworkPostgres
from drivers.probe import SocketProbe
from drivers.redis import NetworkRedis
from drivers.secretfiles import HostSecretFiles, memory_root
from drivers.wireguard import ContainerWireGuard
from reconcilers._servers import Login, NetworkServers
from reconcilers.registry import Drivers
from resources.kinds import MODELS
from resources.meta import Record
from tests.unit.reconcilers.world import NETWORK, World

pytestmark = pytest.mark.docker

TIMEOUT_S = 60.0


def secrets_root(instance: str) -> Path:
    return memory_root(Path(f"/run/bunker-{instance}"), Path("/proc/mounts").read_text())


def hashed(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass(slots=True)
class RealWorld(World):
    """The small engine of the unit tests, on real drivers."""

    instance: str = field(default_factory=lambda: f"kinds-{uuid.uuid4().hex[:10]}")
    real: Any = None

    @property
    def network_name(self) -> str:
        return f"{self.instance}-net"

    @property
    def drivers(self) -> Drivers:
        files = HostSecretFiles(secrets_root(self.instance), hashed)
        return Drivers(
            containers=self.real,
            files=files,
            values=self.values,
            usage=self.usage,
            probe=SocketProbe(),
            meter=self.meter,
            servers=NetworkServers(NetworkPostgres(), NetworkRedis(), self.real),
            dns=FakePowerDns(),
            llamacpp=LlamaCpp(),
            ollama=Ollama(),
            s3=FakeS3(),
            quotas=FakeS3(),
            wireguard=ContainerWireGuard(self.real),
            clock=SystemClock(),
            images="local",
            mail=self.mail,
            mailcow=self.mail,
        )

    def want(self, record: Record) -> Any:
        found = World.want(self, record)
        return replace(found, network=self.network_name, network_ready=True)

    def made(self, kind: str, spec: dict[str, Any], **meta: Any) -> Record:
        uid = hashed(f"{self.instance}{kind}{spec.get('engine')}".encode())[:32]
        name = f"shop-{spec.get('engine', 'app')}"
        metadata = {"name": name, "namespace": self.instance, "uid": uid, **meta}
        return MODELS[kind].model_validate({"metadata": metadata, "spec": spec})

    async def ready(self, record: Record) -> None:
        """Passes until it serves. An engine volume stands for each Volume record."""
        async with asyncio.timeout(TIMEOUT_S):
            while not (await self.settle(record)).ready:  # noqa: ASYNC110  # polls servers
                await asyncio.sleep(0.1)

    async def _step(self, reconciler: Any, step: Any, record: Record) -> None:
        await World._step(self, reconciler, step, record)
        if type(step).__name__ == "EnsureChild":
            name = f"{self.instance}-{step.spec['claim']['engine']}"
            await self.real.ensure_volume(VolumeSpec(name, Owner("v", "Volume", "", name)))
            child = self.children[(step.kind, step.name)]
            self.children[(step.kind, step.name)] = replace(child, status={"dockerName": name})


@pytest.fixture
async def world() -> AsyncIterator[RealWorld]:
    made = RealWorld()
    root = secrets_root(made.instance)
    made.real = DockerContainers(DockerConfig(instance=made.instance, secrets_root=str(root)))
    octet = int(made.instance[-2:], 16)
    try:
        await made.real.ensure_network(
            NetworkSpec(made.network_name, Owner("n", "Namespace", "", "n"), f"10.205.{octet}.0/24")
        )
        yield made
    finally:
        for state in await made.real.list_containers():
            await made.real.delete_container(state.id, stop_timeout_s=1)
        for volume in await made.real.list_volumes():
            await made.real.delete_volume(volume.name)
        await made.real.delete_network(made.network_name)
        for key in await made.drivers.files.list_files():
            await made.drivers.files.delete_files(key)
        await asyncio.to_thread(shutil.rmtree, root, ignore_errors=True)
        await made.real.aclose()


async def test_an_app_uses_a_postgres_and_a_redis_that_heal(world: RealWorld) -> None:
    postgres = world.made("Database", {"engine": "postgres", "version": "18"})
    redis = world.made("Database", {"engine": "redis"})
    await world.ready(postgres)
    await world.ready(redis)
    for name in ("shop-postgres", "shop-redis"):
        world.bind(name)
    app = world.made(
        "App",
        {
            "image": "bunker.local/demo:1",
            "port": 8080,
            "databaseRefs": [{"name": "shop-postgres"}, {"name": "shop-redis"}],
            "healthCheck": {"path": "/db"},
        },
    )
    await world.ready(app)

    # a password set behind its back is set to the Secret's again, and data is still there
    (server,) = [s for s in await world.real.list_containers() if "postgres" in s.name]
    await world.real.exec_container(
        server.id,
        ("psql", "-U", "app", "-d", "app", "-c", "alter role app password 'other'"),
        timeout_s=20,
    )
    password = world.values.data[("Secret", "shop-postgres-credentials")]["password"].decode()
    address = server.networks[world.network_name]
    ask = NetworkServers(NetworkPostgres(), NetworkRedis(), world.real).ask
    login = Login("app", "app")
    assert (await ask("postgres", address, 5432, login, password)).answer == "denied"
    await world.ready(postgres)
    assert (await ask("postgres", address, 5432, login, password)).answer == "serving"
    await world.ready(app)

    # killed and removed: back with its data
    await world.real.delete_container(server.id)
    await world.ready(postgres)
    (server,) = [s for s in await world.real.list_containers() if "postgres" in s.name]
    code, told = await world.real.exec_container(
        server.id,
        ("psql", "-U", "app", "-d", "app", "-tAc", "select count(*) > 0 from visits"),
        timeout_s=20,
    )
    assert (code, told.strip()) == (0, "t")
    assert NETWORK not in world.network_name


async def test_a_redis_started_on_another_password_takes_the_secrets(world: RealWorld) -> None:
    redis = world.made("Database", {"engine": "redis"})
    await world.ready(redis)
    secret = world.values.data[("Secret", "shop-redis-credentials")]
    old = secret["password"].decode()
    secret["password"] = b"rotated-password"
    await world.ready(redis)
    (server,) = await world.real.list_containers()
    address = server.networks[world.network_name]
    ask = NetworkServers(NetworkPostgres(), NetworkRedis(), world.real).ask
    login = Login("", "")
    assert (await ask("redis", address, 6379, login, "rotated-password")).answer == "serving"
    assert (await ask("redis", address, 6379, login, old)).answer == "denied"


async def test_a_redis_takes_another_size_as_it_runs(world: RealWorld) -> None:
    await world.ready(world.made("Database", {"engine": "redis"}))
    (server,) = await world.real.list_containers()
    redis = NetworkRedis()
    at = {"host": server.networks[world.network_name], "port": 6379}
    password = world.values.data[("Secret", "shop-redis-credentials")]["password"].decode()
    for plan, memory in (("basic", 512), ("starter", 256)):
        record = world.made("Database", {"engine": "redis", "plan": plan})
        await world.ready(record)
        (after,) = await world.real.list_containers()
        assert after.limits.memory_bytes == memory * 2**20
        assert (after.id, after.started_at) == (server.id, server.started_at)
        state = await redis.observe_server(**at, password=password)
        assert state is not None
        assert state.maxmemory_bytes == memory * 2**20 * 3 // 4
        # somebody takes the limit away: it is put right as the record is looked at
        await redis.ensure_maxmemory(**at, password=password, maxmemory_bytes=0)
        await world.ready(record)
        assert await redis.observe_server(**at, password=password) == state


async def test_a_redis_keeps_its_memory_until_its_data_fits_into_less(world: RealWorld) -> None:
    large = world.made("Database", {"engine": "redis", "plan": "basic", "storage": "10Gi"})
    small = world.made("Database", {"engine": "redis", "plan": "starter", "storage": "10Gi"})
    await world.ready(large)
    world.held = large.footprint
    (server,) = await world.real.list_containers()
    password = world.values.data[("Secret", "shop-redis-credentials")]["password"].decode()

    async def tell(*words: str) -> None:
        argv = ("redis-cli", "--no-auth-warning", "-a", password, *words)
        assert (await world.real.exec_container(server.id, argv, timeout_s=60))[0] == 0

    # one long value: 200 MiB, of which a starter's 256 leave 192
    await tell("SETRANGE", "long", str(200 * 2**20), "x")
    await world.settle(small)
    plan, report = await world.look(small)
    assert plan.wait is not None
    assert (plan.wait.reason, report.ready) == ("MemoryInUse", True)
    (kept,) = await world.real.list_containers()
    assert kept.limits.memory_bytes == 512 * 2**20

    await tell("DEL", "long")
    await world.ready(small)
    (after,) = await world.real.list_containers()
    assert after.limits.memory_bytes == 256 * 2**20
    assert (after.id, after.started_at) == (server.id, server.started_at)


@pytest.mark.parametrize("other", [{"username": "bob"}, {"database": "store"}], ids=str)
async def test_data_of_another_login_is_kept_for_its_own(
    world: RealWorld, other: dict[str, str]
) -> None:
    plain = {"engine": "postgres", "version": "18"}
    await world.ready(world.made("Database", plain))
    await world.settle(world.made("Database", plain, deletionTimestamp="2026-01-01T00:00:00Z"))
    await world.settle(world.made("Database", {**plain, **other}))
    plan, report = await world.look(world.made("Database", {**plain, **other}))
    assert plan.wait is not None
    assert (plan.wait.reason, report.ready) == ("LoginDiffers", False)
    assert await world.real.list_containers() == ()
    await world.ready(world.made("Database", plain))


async def test_a_restart_replaces_an_app_once(world: RealWorld) -> None:
    spec: dict[str, Any] = {
        "image": "bunker.local/demo:1",
        "port": 8080,
        "surge": 1,
        "healthCheck": {"path": "/healthz"},
    }
    await world.ready(world.made("App", spec))
    (first,) = await world.real.list_containers()
    for when in ("2026-01-31T12:00:00Z", "2026-01-31T12:00:05Z"):
        await _converged(world, world.made("App", {**spec, "restartedAt": when}))
        (second,) = await world.real.list_containers()
        assert second.id != first.id
        first = second
    plan, report = await world.look(world.made("App", spec))
    assert plan == Plan(), "taking it out replaces nothing"
    assert report.ready


async def _converged(world: RealWorld, record: Record) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while (await world.look(record))[0] != Plan():
            await world.settle(record)
            await asyncio.sleep(0.1)
