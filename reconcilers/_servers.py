"""Asking the database engines whether they serve, and setting a password that they refuse.

One face over drivers/postgres.py and drivers/redis.py, so that the Database kind reads the same
for each engine. Values pass through here and are kept nowhere.
"""

import secrets
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from controlplane.errors import RetryableError
from drivers.containers import Containers
from drivers.postgres import Postgres, PostgresState
from drivers.postgres_sql import SALT_BYTES, alter_password
from drivers.redis import Redis, RedisState

Answer = Literal["serving", "denied", "silent"]
"""`denied`: it answers, and refuses the password. `silent`: it doesn't serve (yet)."""


@dataclass(frozen=True, slots=True)
class Login:
    """As whom, and into which database."""

    username: str
    database: str


class DatabaseServers(Protocol):
    """Database servers of every engine."""

    async def ask(
        self, engine: str, address: str, port: int, login: Login, password: str, /
    ) -> Answer:
        """One attempt, bounded; never raises for what the server does."""
        ...

    async def heal(self, engine: str, container_id: str, login: Login, password: str, /) -> None:
        """Set the password from inside the container, where the engine trusts its own user."""
        ...


HEAL_TIMEOUT_S: Final = 15.0
STOP_TIMEOUT_S: Final = 30


@dataclass(frozen=True, slots=True)
class NetworkServers:
    """The real ones: asked over the network, healed from inside their container."""

    postgres: Postgres
    redis: Redis
    containers: Containers

    async def ask(
        self, engine: str, address: str, port: int, login: Login, password: str, /
    ) -> Answer:
        if engine == "redis":
            return _answer(
                await self.redis.observe_server(host=address, port=port, password=password)
            )
        return _answer(
            await self.postgres.observe_server(
                host=address,
                port=port,
                user=login.username,
                password=password,
                database=login.database,
            )
        )

    async def heal(self, engine: str, container_id: str, login: Login, password: str, /) -> None:
        """Raises RetryableError when the server doesn't take the statement."""
        if engine == "redis":
            # nobody knows the password it has now; its next start reads ours, and its data stays
            await self.containers.stop_container(container_id, timeout_s=STOP_TIMEOUT_S)
            return
        statement = alter_password(login.username, password, salt=secrets.token_bytes(SALT_BYTES))
        code, output = await self.containers.exec_container(
            container_id,
            ("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-U", login.username, "-d", "postgres"),
            stdin=statement.encode(),
            timeout_s=HEAL_TIMEOUT_S,
        )
        if code != 0:
            line = (output.strip().splitlines() or ["no output"])[-1]
            raise RetryableError(
                f"cannot set the password of role '{login.username}': {line}",
                reason="PasswordNotSet",
            )


def _answer(found: PostgresState | RedisState | None) -> Answer:
    if found is None:
        return "silent"
    if found.auth_ok is False:
        return "denied"
    return "serving" if found.ready else "silent"
