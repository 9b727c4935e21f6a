"""Vault or OpenBao as a place to keep small secrets: KV version 2, entered with an AppRole.

The one module that imports hvac, and only when a Vault is configured and first asked (10 MiB). It
keeps and gives back values by path; what they mean is controlplane/vaulted.py's. Sealed, away,
slow, or refusing us is always "secrets unavailable", never "there is no such secret".
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from controlplane.clock import Clock
from controlplane.errors import SecretsUnavailableError
from drivers.threads import on_thread

T = TypeVar("T")

TIMEOUT_S: Final = 5
"""Of one call: a read takes 1 to 2 ms."""
AT_ONCE: Final = 8
RENEW_AT: Final = 1 / 3
"""A token is renewed when so much of its life is left."""


@dataclass(frozen=True, slots=True)
class VaultServer:
    """Where it is, and as whom to enter."""

    address: str
    """Example: `https://vault.example.org:8200`."""
    role_id: str
    secret_id: str | Path = field(repr=False)
    """Itself, or the file that holds it: read each time, as somebody renews it."""
    mount: str = "secret"
    """Of the KV version 2 engine."""
    approle: str = "approle"
    """Mount of the AppRole method."""
    ca_file: Path | None = None
    """Whom to trust, instead of the system's authorities."""


class Vault(Protocol):
    """Values by path. Every call has a timeout; raises SecretsUnavailableError alone."""

    async def observe_secret(self, path: str, /) -> Mapping[str, str] | None:
        """The values kept there; None only if the server, unsealed, says that there are none."""
        ...

    async def list_secrets(self, path: str, /) -> tuple[str, ...]:
        """Names directly below a path, sorted; folders end in `/`."""
        ...

    async def ensure_secret(self, path: str, values: Mapping[str, str], /) -> Mapping[str, str]:
        """Keep `values` unless something is kept there already; returns what is kept."""
        ...

    async def delete_secret(self, path: str, /) -> None:
        """With all its versions, for good. Absent is success."""
        ...

    async def aclose(self) -> None: ...


class HvacVault:
    """A real one. Its token is renewed in time; one that was taken away is replaced by entering
    again, once a call."""

    def __init__(self, server: VaultServer, clock: Clock) -> None:
        self._server = server
        self._clock = clock
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._entering = asyncio.Lock()
        self._client: Any = None
        self._good_until_s = 0.0
        self._renew_from_s = 0.0

    async def observe_secret(self, path: str, /) -> Mapping[str, str] | None:
        def read(client: Any) -> Mapping[str, str] | None:
            found = client.secrets.kv.v2.read_secret_version(
                path, mount_point=self._server.mount, raise_on_deleted_version=False
            )
            values = found["data"]["data"]
            if values is None:
                raise _unavailable(path, "it was deleted there; undelete it")
            return {str(key): str(value) for key, value in values.items()}

        return await self._call(path, read)

    async def list_secrets(self, path: str, /) -> tuple[str, ...]:
        def look(client: Any) -> tuple[str, ...]:
            found = client.secrets.kv.v2.list_secrets(path, mount_point=self._server.mount)
            return tuple(sorted(found["data"]["keys"]))

        return await self._call(path, look) or ()

    async def ensure_secret(self, path: str, values: Mapping[str, str], /) -> Mapping[str, str]:
        def write(client: Any) -> bool:
            from hvac.exceptions import InvalidRequest

            try:
                client.secrets.kv.v2.create_or_update_secret(
                    path, dict(values), cas=0, mount_point=self._server.mount
                )
            except InvalidRequest:  # somebody was first
                return False
            return True

        await self._call(path, write)
        # read back either way: what counts is what is kept
        kept = await self.observe_secret(path)
        if kept is None:
            raise _unavailable(path, "it keeps nothing that is written there")
        return kept

    async def delete_secret(self, path: str, /) -> None:
        def remove(client: Any) -> None:
            client.secrets.kv.v2.delete_metadata_and_all_versions(
                path, mount_point=self._server.mount
            )

        await self._call(path, remove)

    async def aclose(self) -> None:
        if self._client is not None:
            await on_thread(self._client.adapter.close)

    async def _call(self, path: str, call: Callable[[Any], T]) -> T | None:
        """On a thread, with a good token. None where there is nothing of that path."""
        async with self._turns:
            client = await self._entered()
            refused, found = await on_thread(_asked, call, client, path)
            if refused:
                # the token was revoked, or ended early
                self._good_until_s = 0.0
                client = await self._entered()
                refused, found = await on_thread(_asked, call, client, path)
        if refused:
            raise _unavailable(path, "the AppRole's policy does not allow it")
        return found

    async def _entered(self) -> Any:
        """A client whose token is good."""
        async with self._entering:
            now_s = self._clock.monotonic()
            if self._client is None:
                self._client = await on_thread(_client, self._server)
            if now_s >= self._good_until_s:
                await self._live(await on_thread(_enter, self._client, self._server))
            elif now_s >= self._renew_from_s:
                life_s = await on_thread(_renew, self._client)
                if life_s is None:
                    life_s = await on_thread(_enter, self._client, self._server)
                await self._live(life_s)
            return self._client

    async def _live(self, life_s: float) -> None:
        now_s = self._clock.monotonic()
        # 0: a token that never ends
        self._good_until_s = now_s + (life_s or float("inf"))
        self._renew_from_s = now_s + (life_s * (1 - RENEW_AT) if life_s else float("inf"))


def _client(server: VaultServer) -> Any:
    import hvac

    verify: str | bool = True if server.ca_file is None else str(server.ca_file)
    return hvac.Client(url=server.address, verify=verify, timeout=TIMEOUT_S)


def _enter(client: Any, server: VaultServer) -> float:
    """Log in; how many seconds the token lives."""
    from hvac.exceptions import Forbidden, InvalidRequest

    secret_id = _secret_id(server)

    def login(entered: Any) -> float:
        answer = entered.auth.approle.login(server.role_id, secret_id, mount_point=server.approle)
        return float(answer["auth"]["lease_duration"])

    try:
        refused, life_s = _tried(login, client, "its AppRole")
    except (Forbidden, InvalidRequest):
        refused, life_s = True, None
    if refused or life_s is None:
        raise _unavailable("its AppRole", "role id or secret id are refused; renew them")
    return life_s


def _secret_id(server: VaultServer) -> str:
    if isinstance(server.secret_id, str):
        return server.secret_id
    try:
        return server.secret_id.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it holds no secret id"
        raise _unavailable("its AppRole", f"cannot read '{server.secret_id}': {why}") from exc


def _renew(client: Any) -> float | None:
    """How many seconds the token lives now; None if it can't be renewed."""
    from hvac.exceptions import InvalidRequest

    def renew(entered: Any) -> float:
        return float(entered.auth.token.renew_self()["auth"]["lease_duration"])

    try:
        refused, life_s = _tried(renew, client, "its token")
    except InvalidRequest:
        return None
    return None if refused else life_s


def _asked(call: Callable[[Any], T], client: Any, path: str) -> tuple[bool, T | None]:
    """As `_tried`; 400 is what an engine answers, too, that is still being made ready."""
    from hvac.exceptions import InvalidRequest

    try:
        return _tried(call, client, path)
    except InvalidRequest as exc:
        raise _unavailable(path, _why(exc)) from exc


def _tried(call: Callable[[Any], T], client: Any, path: str) -> tuple[bool, T | None]:
    """(refused, what it gave): a refusal is the caller's to judge. None where there is nothing.
    Raises InvalidRequest of the vendor's, too."""
    from hvac import exceptions as vendor

    try:
        return False, call(client)
    except (vendor.Forbidden, vendor.Unauthorized):
        return True, None
    except vendor.InvalidRequest:
        raise
    except vendor.InvalidPath as exc:
        if exc.errors:  # e.g. no such mount: somebody took it away, not the secret
            raise _unavailable(path, "it has no KV version 2 engine of that name") from exc
        return False, None
    except (vendor.VaultError, OSError, KeyError, TypeError, ValueError) as exc:
        raise _unavailable(path, _why(exc)) from exc


def _why(exc: Exception) -> str:
    import requests
    from hvac import exceptions as vendor

    match exc:
        case vendor.VaultDown():
            return "it is sealed; unseal it"
        case vendor.VaultError():
            return f"it answers {type(exc).__name__}"
        case requests.exceptions.JSONDecodeError():
            return "what answers there is no Vault"
        case OSError():  # all of requests' errors are
            return f"it can't be reached ({type(exc).__name__})"
        case _:
            return "what answers there is no Vault"


def _unavailable(path: str, why: str) -> SecretsUnavailableError:
    return SecretsUnavailableError(f"cannot use '{path}' in Vault: {why}")
