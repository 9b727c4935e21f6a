"""How the store reaches PostgreSQL: connections with deadlines, and what counts as "away".

Deliberately no SQL: every statement lives with the module that needs it.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, urlsplit

import asyncpg
import structlog
from asyncpg.connect_utils import SessionAttribute
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from controlplane.errors import StoreUnavailableError, TerminalError

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Row = asyncpg.Record
    Dedicated = asyncpg.Connection[asyncpg.Record]
    Pool = asyncpg.Pool[asyncpg.Record]
    Connection = Dedicated | PoolConnectionProxy[asyncpg.Record]
else:
    Row = asyncpg.Record
    Dedicated = Connection = asyncpg.Connection
    Pool = asyncpg.Pool

CALL_TIMEOUT_S: Final = 5.0
"""Longest any one statement may take before its connection counts as dead."""
_CONNECT_TIMEOUT_S: Final = 3.0
_LEADER: Final = SessionAttribute.primary
"""Never a standby, which a name may lead to while another server takes over: it is behind, takes no
writes, and knows no LISTEN."""

_UNREADABLE: Final = (
    "cannot open the database: CP_DATABASE_URL can't be read; write it as "
    "postgresql://user:password@host:5432/name, and what is no letter or digit in the password as "
    "in URLs, such as %40 for @"
)

_log = structlog.get_logger(__name__)

LOST: Final = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    # no connection, memory or disk left: all of it comes back
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresIOError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InternalClientError,
    # a server's own limits, and one that takes no writes for now: a standby, a disk nearly full
    asyncpg.QueryCanceledError,
    asyncpg.LockNotAvailableError,
    asyncpg.ReadOnlySQLTransactionError,
)
"""The connection is gone, or PostgreSQL is: another attempt may find it again."""


@contextmanager
def unavailable_when_lost(action: str) -> Iterator[None]:
    """Translate a lost connection; `action` reads "cannot <verb> <noun>"."""
    try:
        yield
    except LOST as exc:
        raise StoreUnavailableError(f"{action}: PostgreSQL does not answer") from exc


@dataclass(slots=True)
class Database:
    """Where PostgreSQL is, and a small pool for reads that no dedicated connection does."""

    dsn: str = field(repr=False)
    """A libpq URL; it may hold a password, so it is never printed."""
    readers: int = 4
    """Most connections of the pool."""
    purpose: str = "reads"
    """What PostgreSQL is told that they are for."""
    _pool: Pool | None = field(default=None, repr=False)

    async def connect(
        self, application: str, settings: Mapping[str, str] | None = None
    ) -> Dedicated:
        """One attempt at a dedicated connection; raises one of LOST when PostgreSQL is away,
        TerminalError where the URL can't be read or is refused."""
        try:
            return await asyncpg.connect(
                self.dsn,
                timeout=_CONNECT_TIMEOUT_S,
                command_timeout=CALL_TIMEOUT_S,
                target_session_attrs=_LEADER,
                server_settings={"application_name": f"bunker {application}", **(settings or {})},
            )
        except OSError:  # a certificate that doesn't verify is a ValueError besides
            raise
        except ValueError:  # it may cite what it took a part of the password for
            raise TerminalError(_UNREADABLE, reason="InvalidSettings") from None
        except asyncpg.InvalidAuthorizationSpecificationError as exc:
            raise TerminalError(
                f"cannot open the database: PostgreSQL says '{exc}'; correct CP_DATABASE_URL",
                reason="DatabaseRefused",
            ) from exc

    async def connect_patiently(
        self, application: str, settings: Mapping[str, str] | None = None
    ) -> Dedicated:
        """Try again until there is a connection, at most 2 s apart."""

        retrying = AsyncRetrying(
            before_sleep=self._tell_once,
            retry=retry_if_exception_type(LOST),
            wait=wait_random_exponential(multiplier=0.05, max=2.0),
        )
        return await retrying(self.connect, application, settings)

    def _tell_once(self, attempt: RetryCallState) -> None:
        """Somebody who waits for a start, or looks why nothing works, wants to know for what."""
        if attempt.attempt_number == 1 and attempt.outcome is not None:
            error = attempt.outcome.exception()
            said = str(error) or type(error).__name__
            _log.warning("postgresql_waited_for", server=self._place, error=said)

    @property
    def _place(self) -> str:
        """Where it is, without the login."""
        parts = urlsplit(self.dsn)
        hosts = parts.netloc.rpartition("@")[2]
        return hosts or ",".join(parse_qs(parts.query).get("host", ()))

    @asynccontextmanager
    async def reading(self, action: str) -> AsyncIterator[Connection]:
        """A pooled connection for one short piece of work; LOST becomes StoreUnavailableError."""
        with unavailable_when_lost(action):
            if self._pool is None:
                pool = asyncpg.create_pool(
                    self.dsn,
                    min_size=0,
                    max_size=self.readers,
                    timeout=_CONNECT_TIMEOUT_S,
                    command_timeout=CALL_TIMEOUT_S,
                    target_session_attrs=_LEADER,
                    server_settings={"application_name": f"bunker {self.purpose}"},
                )
                self._pool = await pool
            async with self._pool.acquire(timeout=CALL_TIMEOUT_S) as conn:
                yield conn

    def close(self) -> None:
        """Drop the pool's connections at once."""
        if self._pool is not None:
            self._pool.terminate()
            self._pool = None
