"""Whether a Redis serves; its password and its memory changed without a restart."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from controlplane.errors import RetryableError
from drivers.redis_wire import Link, ReplyError, connected

Reason = Literal["Serving", "Loading", "WrongPassword", "NoPassword", "TimedOut", "Error"]


@dataclass(frozen=True, slots=True)
class RedisState:
    """What a server answers."""

    ready: bool
    """It answers commands, protected by this password."""
    auth_ok: bool | None
    """Whether it has this password; False too if it has none at all. None: it didn't come to it."""
    reason: Reason
    role: str = ""
    """`master` or `slave`, in Redis' own words."""
    loading: bool = False
    """It still reads its data from disk."""
    version: str = ""
    message: str = ""
    """First word of an unexpected refusal."""
    maxmemory_bytes: int | None = None
    """How much its data may take; 0: as much as there is. None: it didn't come to it."""
    used_bytes: int | None = field(default=None, compare=False)
    """What it takes, by its own count: never twice the same. None: it didn't come to it."""


class Redis(Protocol):
    """Redis servers, by address."""

    async def observe_server(
        self, *, host: str, port: int, password: str, timeout_s: float = 3.0
    ) -> RedisState | None:
        """Log in, ask once, leave. None: nothing listens there. Never raises for what the server
        does."""
        ...

    async def ensure_password(
        self, *, host: str, port: int, current: str, wanted: str, timeout_s: float = 3.0
    ) -> None:
        """From now on it takes `wanted` and no longer `current` (or any other); sessions stay.
        Kept until its next start only: its configuration file is the caller's to write. Raises
        RetryableError if it doesn't answer or takes neither password."""
        ...

    async def ensure_maxmemory(
        self, *, host: str, port: int, password: str, maxmemory_bytes: int, timeout_s: float = 3.0
    ) -> None:
        """Its data may take so much from now on; 0: as much as there is. Nothing is lost where it
        has more: it refuses to take more. Kept until its next start only, as the password. Raises
        RetryableError if it doesn't answer or refuses."""
        ...


TIMED_OUT: Final = RedisState(False, None, "TimedOut")
NO_PASSWORD: Final = RedisState(
    False, False, "NoPassword", message="the server asks for no password"
)
WRONG_PASSWORD: Final = RedisState(False, False, "WrongPassword")


class NetworkRedis:
    """Over the network."""

    async def observe_server(
        self, *, host: str, port: int, password: str, timeout_s: float = 3.0
    ) -> RedisState | None:
        try:
            async with asyncio.timeout(timeout_s), connected(host, port) as link:
                return await _observe(link, password)
        except TimeoutError:
            return TIMED_OUT
        except OSError:
            return None

    async def ensure_password(
        self, *, host: str, port: int, current: str, wanted: str, timeout_s: float = 3.0
    ) -> None:
        with _told(f"cannot set the password of redis '{host}:{port}'", "PasswordUnknown"):
            async with asyncio.timeout(timeout_s), connected(host, port) as link:
                await _ensure(link, current, wanted)

    async def ensure_maxmemory(
        self, *, host: str, port: int, password: str, maxmemory_bytes: int, timeout_s: float = 3.0
    ) -> None:
        with _told(f"cannot set the memory of redis '{host}:{port}'", "MemoryRefused"):
            async with asyncio.timeout(timeout_s), connected(host, port) as link:
                await link.ask("AUTH", password)
                await link.ask("CONFIG", "SET", "maxmemory", str(maxmemory_bytes))


@contextmanager
def _told(what: str, refused: str) -> Iterator[None]:
    """How a change fails, as a RetryableError; `refused`: the reason, where the server says no."""
    try:
        yield
    except (OSError, TimeoutError) as exc:
        raise RetryableError(f"{what}: it does not answer", reason="ServerUnavailable") from exc
    except ReplyError as exc:
        raise RetryableError(f"{what}: {exc.code}", reason=refused) from exc


async def _observe(link: Link, password: str) -> RedisState:
    try:
        await link.ask("AUTH", password)
        info = _fields(await link.ask("INFO", "server", "replication", "persistence", "memory"))
    except ReplyError as exc:
        return _refusal(exc)
    loading = info.get("loading") == "1"
    return RedisState(
        ready=not loading,
        auth_ok=True,
        reason="Loading" if loading else "Serving",
        role=info.get("role", ""),
        loading=loading,
        version=info.get("redis_version", ""),
        maxmemory_bytes=_number(info.get("maxmemory", "")),
        used_bytes=_number(info.get("used_memory", "")),
    )


def _refusal(error: ReplyError) -> RedisState:
    if error.code == "WRONGPASS":
        return WRONG_PASSWORD
    # "ERR AUTH <password> called without any password configured": the default user is open.
    if error.code == "ERR" and "without any password" in str(error):
        return NO_PASSWORD
    if error.code == "LOADING":
        return RedisState(False, None, "Loading", loading=True)
    return RedisState(False, None, "Error", message=error.code)


async def _ensure(link: Link, current: str, wanted: str) -> None:
    """The wanted password first, so that a second call is none; then the current one; then none:
    an open server is closed by the same command."""
    for password in (wanted, current):
        try:
            await link.ask("AUTH", password)
        except ReplyError as exc:
            if _refusal(exc) == NO_PASSWORD:
                break
            if exc.code != "WRONGPASS":
                raise
            continue
        if password == wanted:
            return
        break
    await link.ask("CONFIG", "SET", "requirepass", wanted)


def _fields(text: str) -> dict[str, str]:
    rows = (line.partition(":") for line in text.splitlines())
    return {name: value for name, colon, value in rows if colon}


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None
