"""Whether a PostgreSQL server serves: asked over its own protocol, with the credentials users have.

Only looks. Roles and passwords are set through the server's own psql (drivers/postgres_sql.py has
the statements), because a lost password can't be mended by logging in with it.
"""

import ssl
from dataclasses import dataclass
from typing import Final, Literal, Protocol

import asyncpg

Reason = Literal[
    "Serving", "Starting", "WrongPassword", "NoDatabase", "TooManyConnections", "TimedOut", "Error"
]


@dataclass(frozen=True, slots=True)
class PostgresState:
    """What a server answers."""

    ready: bool
    """It takes connections and answers a query, in that database, with those credentials; or it
    serves others and only has no connection left for us."""
    auth_ok: bool | None
    """Whether the password is right; None: it didn't come to that."""
    database_ok: bool | None
    """Whether there is such a database; None: it didn't come to that."""
    reason: Reason
    version: str = ""
    """As the server says it, e.g. `16.14`; "" unless it let us in."""
    message: str = ""
    """The SQLSTATE of anything unexpected, for a person."""


class Postgres(Protocol):
    """PostgreSQL servers, by address."""

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
        """Log in, ask once, leave. None: nothing listens there (or nothing at all is there).
        Never raises for what the server does."""
        ...


# SQLSTATE -> what it means for us: https://www.postgresql.org/docs/current/errcodes-appendix.html
_STATES: Final = {
    "28P01": PostgresState(False, False, None, "WrongPassword"),
    "28000": PostgresState(False, False, None, "WrongPassword"),  # no such role, or no login
    "3D000": PostgresState(False, True, False, "NoDatabase"),
    "57P03": PostgresState(False, None, None, "Starting"),
    "57P01": PostgresState(False, None, None, "Starting"),  # it is being stopped
    "57P02": PostgresState(False, None, None, "Starting"),  # it recovers from a crash
    "53300": PostgresState(True, None, None, "TooManyConnections"),
}
TIMED_OUT: Final = PostgresState(False, None, None, "TimedOut")


def state_of(sqlstate: str) -> PostgresState:
    """What a refusal with this SQLSTATE says of the server."""
    unexpected = PostgresState(False, None, None, "Error", message=f"SQLSTATE {sqlstate}")
    return _STATES.get(sqlstate, unexpected)


class NetworkPostgres:
    """Over the network, with asyncpg, without TLS: the way is a bridge on this host."""

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
        try:
            connection = await asyncpg.connect(
                host=host,
                port=port,
                user=user,
                password=password,
                database=database,
                timeout=timeout_s,
                command_timeout=timeout_s,
                ssl=False,
                statement_cache_size=0,
                server_settings={"application_name": "bunker-probe"},
            )
        except asyncpg.PostgresError as exc:
            return state_of(exc.sqlstate or "")
        except TimeoutError:
            return TIMED_OUT
        except (OSError, ssl.SSLError, asyncpg.InterfaceError):
            return None
        return await _ask(connection, timeout_s)


async def _ask(connection: "asyncpg.Connection[asyncpg.Record]", timeout_s: float) -> PostgresState:
    try:
        await connection.execute("SELECT 1")
        number = connection.get_settings().server_version
        await connection.close(timeout=timeout_s)
    except asyncpg.PostgresError as exc:
        return state_of(exc.sqlstate or "")
    except TimeoutError:
        return TIMED_OUT
    except (OSError, asyncpg.InterfaceError):
        return PostgresState(False, True, True, "Error", message="the connection was lost")
    finally:
        connection.terminate()
    return PostgresState(True, True, True, "Serving", version=number.split(" ")[0])
