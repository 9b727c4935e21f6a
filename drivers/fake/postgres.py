"""PostgreSQL servers that exist only in a table."""

import base64
import re
from dataclasses import dataclass, field

from drivers.fake.faults import Faults
from drivers.postgres import TIMED_OUT, PostgresState, state_of
from drivers.postgres_sql import scram_verifier


@dataclass(slots=True)
class FakePostgresServer:
    """One server: its roles' passwords, its databases, and what keeps it from serving."""

    passwords: dict[str, str] = field(default_factory=dict)
    databases: set[str] = field(default_factory=lambda: {"postgres"})
    version: str = "18.6"
    refuse_with: str | None = None
    """SQLSTATE of every answer: 57P03 starting, 53300 no connection left."""
    hanging: bool = False

    def alter_password(self, statement: str, candidates: tuple[str, ...]) -> None:
        """Carry out `ALTER ROLE ... PASSWORD 'verifier'`: as a verifier can't be turned back, the
        password is found among `candidates`."""
        found = re.search(r"ALTER ROLE \"([^\"]+)\" .*PASSWORD '(SCRAM[^']+)'", statement)
        if found is None:
            raise ValueError("no ALTER ROLE with a SCRAM verifier")
        salt = _salt(found[2])
        for password in candidates:
            if scram_verifier(password, salt=salt) == found[2]:
                self.passwords[found[1]] = password


def _salt(verifier: str) -> bytes:
    return base64.b64decode(verifier.split("$")[1].partition(":")[2])


@dataclass(slots=True)
class FakePostgres:
    """`servers` maps (host, port) to what listens there."""

    servers: dict[tuple[str, int], FakePostgresServer] = field(default_factory=dict)
    faults: Faults = field(default_factory=Faults)

    async def observe_server(
        self,
        *,
        host: str,
        port: int,
        user: str,
        password: str,
        database: str,
        timeout_s: float = 3.0,
    ) -> PostgresState | None:
        self.faults.enter("observe_server")
        server = self.servers.get((host, port))
        if server is None:
            return None
        if server.hanging:
            return TIMED_OUT
        if server.refuse_with is not None:
            return state_of(server.refuse_with)
        if server.passwords.get(user) != password:
            return state_of("28P01")
        if database not in server.databases:
            return state_of("3D000")
        return PostgresState(True, True, True, "Serving", version=server.version)
