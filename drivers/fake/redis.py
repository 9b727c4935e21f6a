"""Redis servers that exist only in a table."""

from dataclasses import dataclass, field

from controlplane.errors import RetryableError
from drivers.fake.faults import Faults
from drivers.redis import NO_PASSWORD, TIMED_OUT, WRONG_PASSWORD, RedisState


@dataclass(slots=True)
class FakeRedisServer:
    """One server. `password` "": it asks for none."""

    password: str = ""
    role: str = "master"
    loading: bool = False
    version: str = "7.0.15"
    hanging: bool = False
    maxmemory_bytes: int = 0
    used_bytes: int = 0


@dataclass(slots=True)
class FakeRedis:
    """`servers` maps (host, port) to what listens there; `writes` counts changes."""

    servers: dict[tuple[str, int], FakeRedisServer] = field(default_factory=dict)
    writes: int = 0
    faults: Faults = field(default_factory=Faults)

    async def observe_server(
        self, *, host: str, port: int, password: str, timeout_s: float = 3.0
    ) -> RedisState | None:
        self.faults.enter("observe_server")
        server = self.servers.get((host, port))
        if server is None:
            return None
        if server.hanging:
            return TIMED_OUT
        if server.password != password:
            return WRONG_PASSWORD if server.password else NO_PASSWORD
        return RedisState(
            ready=not server.loading,
            auth_ok=True,
            reason="Loading" if server.loading else "Serving",
            role=server.role,
            loading=server.loading,
            version=server.version,
            maxmemory_bytes=server.maxmemory_bytes,
            used_bytes=server.used_bytes,
        )

    async def ensure_password(
        self, *, host: str, port: int, current: str, wanted: str, timeout_s: float = 3.0
    ) -> None:
        self.faults.enter("ensure_password")
        where = f"cannot set the password of redis '{host}:{port}'"
        server = self.servers.get((host, port))
        if server is None or server.hanging:
            raise RetryableError(f"{where}: it does not answer", reason="ServerUnavailable")
        if server.password == wanted:
            return
        if server.password not in ("", current):
            raise RetryableError(f"{where}: NOAUTH", reason="PasswordUnknown")
        server.password = wanted
        self.writes += 1

    async def ensure_maxmemory(
        self, *, host: str, port: int, password: str, maxmemory_bytes: int, timeout_s: float = 3.0
    ) -> None:
        self.faults.enter("ensure_maxmemory")
        where = f"cannot set the memory of redis '{host}:{port}'"
        server = self.servers.get((host, port))
        if server is None or server.hanging:
            raise RetryableError(f"{where}: it does not answer", reason="ServerUnavailable")
        if server.password != password:
            code = "WRONGPASS" if server.password else "ERR"
            raise RetryableError(f"{where}: {code}", reason="MemoryRefused")
        if server.maxmemory_bytes != maxmemory_bytes:
            server.maxmemory_bytes = maxmemory_bytes
            self.writes += 1
