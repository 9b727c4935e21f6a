"""Asking the database engines whether they serve; setting a password that they refuse, and how
much memory they may use.

One face over drivers/postgres.py and drivers/redis.py, so that the Database kind reads the same
for each engine. Values pass through here and are kept nowhere.
"""

import secrets
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from controlplane.errors import RetryableError
from drivers.containers import Containers
from drivers.postgres import Postgres
from drivers.postgres_sql import CONNECT, SALT_BYTES, prepare_script
from drivers.redis import Redis

HEAL_TIMEOUT_S: Final = 20.0
"""psql starts in 0.1 s; a busy machine may take a hundred times as long."""

Answer = Literal["serving", "denied", "silent"]
"""`denied`: it answers, and refuses the password. `silent`: it doesn't serve (yet)."""


@dataclass(frozen=True, slots=True)
class Told:
    """What one attempt told."""

    answer: Answer
    maxmemory_bytes: int | None = None
    """Of a Redis that serves: how much its data may take; 0: as much as there is."""
    used_bytes: int = field(default=0, compare=False)
    """Of a Redis that serves: what its data takes, never twice the same."""


SILENT: Final = Told("silent")


@dataclass(frozen=True, slots=True)
class Login:
    """As whom, and into which database."""

    username: str
    database: str


class DatabaseServers(Protocol):
    """Database servers of every engine."""

    async def ask(
        self, engine: str, address: str, port: int, login: Login, password: str, /
    ) -> Told:
        """One attempt, bounded; never raises for what the server does."""
        ...

    async def heal(self, engine: str, container_id: str, login: Login, password: str, /) -> None:
        """Set the password from inside the container, where the engine trusts its own user."""
        ...

    async def limit(self, address: str, port: int, password: str, maxmemory_bytes: int, /) -> None:
        """How much the data of the Redis there may take from now on, until it starts anew."""
        ...


@dataclass(frozen=True, slots=True)
class NetworkServers:
    """The real ones: asked over the network, healed from inside their containers."""

    postgres: Postgres
    redis: Redis
    containers: Containers

    async def ask(
        self, engine: str, address: str, port: int, login: Login, password: str, /
    ) -> Told:
        if engine == "redis":
            redis = await self.redis.observe_server(host=address, port=port, password=password)
            if redis is None:
                return SILENT
            answer = _answer(redis.ready, redis.auth_ok)
            return Told(answer, redis.maxmemory_bytes, redis.used_bytes or 0)
        state = await self.postgres.observe_server(
            host=address,
            port=port,
            user=login.username,
            password=password,
            database=login.database,
        )
        if state is None:
            return SILENT
        # the same script mends a missing database
        let_in = state.auth_ok is not False and state.database_ok is not False
        return Told(_answer(state.ready, let_in))

    async def heal(self, engine: str, container_id: str, login: Login, password: str, /) -> None:
        """Only PostgreSQL: a Redis reads its password when it starts."""
        script = prepare_script(
            login.username, password, login.database, salt=secrets.token_bytes(SALT_BYTES)
        )
        # over the socket in the container, where its own user needs no password
        argv = ("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-U", login.username, "-d", CONNECT)
        code, _ = await self.containers.exec_container(
            container_id, argv, stdin=script.encode(), timeout_s=HEAL_TIMEOUT_S
        )
        if code != 0:
            # psql's words may repeat the statement: they are not told
            raise RetryableError(
                f"cannot set the password of {engine} user '{login.username}': psql ended with "
                f"code {code}; a session there may hold a lock on its roles, and if its data was "
                "made with another user, write that as spec.username",
                reason="PasswordNotSet",
            )

    async def limit(self, address: str, port: int, password: str, maxmemory_bytes: int, /) -> None:
        await self.redis.ensure_maxmemory(
            host=address, port=port, password=password, maxmemory_bytes=maxmemory_bytes
        )


def _answer(ready: bool, let_in: bool | None) -> Answer:
    if ready:
        return "serving"
    return "denied" if let_in is False else "silent"
