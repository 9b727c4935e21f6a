"""Asking the database engines whether they serve, and setting a password that they refuse.

One face over drivers/postgres.py and drivers/redis.py, so that the Database kind reads the same
for each engine. Values pass through here and are kept nowhere.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

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
