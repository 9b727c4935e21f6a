"""Who may do what: bearer tokens and the four roles there are so far.

A token is 256 random bits; only its SHA-256 is stored. Roles are groups, as in Kubernetes:

- `system:masters` may do everything;
- `bunker:operators` write records of tenants, their status and their ownerReferences, as
  controllers do;
- `bunker:editors` write records of tenants, but neither of these two;
- `bunker:viewers` read everything except Secrets.

What tenants don't have (cluster-scoped records, the platform's own namespaces) and what limits
them (quotas) only an administrator writes. Finer roles come with their own records; default is
deny. Nothing here speaks HTTP.
"""

import asyncio
import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from controlplane.clock import Clock
from controlplane.errors import RetryableError
from resources.meta import PLATFORM_NAMESPACE

ADMINS: Final = "system:masters"
OPERATORS: Final = "bunker:operators"
EDITORS: Final = "bunker:editors"
VIEWERS: Final = "bunker:viewers"
ROLES: Final = {"admin": ADMINS, "operator": OPERATORS, "editor": EDITORS, "viewer": VIEWERS}
"""What a token may be issued for, and the group that is."""
OWNER_REFERENCES: Final = "ownerreferences"
"""A subresource by name only: the right to `update` it is that to write
metadata.ownerReferences."""
AUTHENTICATED: Final = "system:authenticated"
UNAUTHENTICATED: Final = "system:unauthenticated"

_READS: Final = frozenset({"get", "list", "watch"})
_READERS: Final = frozenset({OPERATORS, EDITORS, VIEWERS})
_WRITERS: Final = frozenset({OPERATORS, EDITORS})
_CONTROLLERS_ONLY: Final = frozenset({"status", "finalize", OWNER_REFERENCES, "*"})
"""To write: what they say is in the record, too, that everybody here reads."""
_LIMITS: Final = frozenset({"quotas", "*"})
"""What a tenant is held to is not the tenant's to write."""
_NO_TENANTS: Final = frozenset({"", "kube-system", PLATFORM_NAMESPACE})
_FRESH_S: Final = 2.0
"""How long a looked-up token is believed: revocation reaches every process within this."""
_CACHED_TOKENS: Final = 4096
"""Bounds each cache, that of wrong tokens against floods; each entry is about 200 bytes."""
_MAX_TOKEN_CHARS: Final = 512
_UNKNOWN_AT_ONCE: Final = 64
"""Look-ups at once of tokens that nobody is known by: who sends wrong ones, of which any number
can be made up, keeps no others from the store, whose connections for this are four."""


@dataclass(frozen=True, slots=True)
class User:
    """An authenticated caller."""

    name: str
    groups: tuple[str, ...]
    uid: str = ""


ANONYMOUS: Final = User("system:anonymous", (UNAUTHENTICATED,))


class TokenRow(Protocol):
    """A token as the store keeps it."""

    @property
    def user(self) -> str: ...
    @property
    def groups(self) -> Sequence[str]: ...
    @property
    def expires_at(self) -> datetime: ...


class TokenStore(Protocol):
    """Where token hashes live."""

    async def put(
        self, token_hash: bytes, user: str, groups: Sequence[str], expires_at: datetime, /
    ) -> None: ...

    async def find(self, token_hash: bytes, /) -> TokenRow | None: ...

    async def drop(self, token_hash: bytes, /) -> object: ...


@dataclass(frozen=True, slots=True)
class Attempt:
    """What somebody wants to do."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""


def allowed(user: User, attempt: Attempt) -> bool:
    """Default deny. Pure."""
    if ADMINS in user.groups:
        return True
    limits = attempt.resource in _LIMITS and attempt.verb not in _READS
    if _WRITERS & {*user.groups} and attempt.namespace not in _NO_TENANTS and not limits:
        shown = attempt.verb in _READS and attempt.subresource != "*"
        free = shown or attempt.subresource not in _CONTROLLERS_ONLY
        return free or OPERATORS in user.groups
    if not _READERS & {*user.groups} or attempt.verb not in _READS:
        return False
    return not holds_secrets(attempt)


def holds_secrets(attempt: Attempt) -> bool:
    """True for what shows secret values, or opens a way to them; `*` asks for all at once."""
    return attempt.group in ("", "*") and (
        attempt.resource in ("secrets", "*") or attempt.subresource in ("exec", "attach", "proxy")
    )


def token_hash(token: str) -> bytes:
    """What is stored of a token. SHA-256 without salt is enough: the token is 256 random bits."""
    return hashlib.sha256(token.encode()).digest()


@dataclass(frozen=True, slots=True)
class _Seen:
    user: User | None
    expires_at: datetime | None
    at: float


class Access:
    """Turns tokens into users. A looked-up token is believed for two seconds, known or not."""

    def __init__(self, tokens: TokenStore, clock: Clock) -> None:
        self._tokens = tokens
        self._clock = clock
        self._seen: OrderedDict[bytes, _Seen] = OrderedDict()
        self._wrong: OrderedDict[bytes, _Seen] = OrderedDict()
        """Apart, so that a flood of them makes none of the others unknown."""
        self._asked: dict[bytes, asyncio.Future[_Seen | None]] = {}
        self._unknown = 0

    async def issue(self, user: str, groups: Sequence[str], *, ttl: timedelta) -> str:
        """Make a token and store its hash. The token itself is returned once, here."""
        token = secrets.token_urlsafe(32)
        expires_at = self._clock.now() + ttl
        await self._tokens.put(token_hash(token), user, tuple(groups), expires_at)
        return token

    async def revoke(self, token: str) -> None:
        """Make a token worthless; open watches with it end within a few seconds."""
        digest = token_hash(token)
        await self._tokens.drop(digest)
        self._seen.pop(digest, None)
        self._wrong.pop(digest, None)
        self._asked.pop(digest, None)

    async def authenticate(self, token: str) -> User | None:
        """The user behind a token; None if it is unknown, revoked or expired.

        Raises StoreUnavailableError when an unseen token can't be looked up, RetryableError when
        too many that nobody is known by are being looked up.
        """
        if not token.isascii() or not 0 < len(token) <= _MAX_TOKEN_CHARS:
            return None
        digest = token_hash(token)
        seen = await self._known(digest)
        if seen.expires_at is not None and seen.expires_at <= self._clock.now():
            return None
        return seen.user

    async def _known(self, digest: bytes) -> _Seen:
        """What is known of it, or asked once for all who wait: else each request of a busy client
        would look its token up when the two seconds are over."""
        while True:
            seen = self._seen.get(digest) or self._wrong.get(digest)
            if seen is not None and self._clock.monotonic() - seen.at <= _FRESH_S:
                return seen
            asked = self._asked.get(digest)
            if asked is None:
                return await self._ask(digest)
            if (seen := await asyncio.shield(asked)) is not None:
                return seen

    async def _ask(self, digest: bytes) -> _Seen:
        asked = self._asked[digest] = asyncio.get_running_loop().create_future()
        try:
            seen = await self._look_up(digest)
            # else it was revoked while this was asked
            if self._asked.get(digest) is asked:
                self._keep(digest, seen)
            asked.set_result(seen)
        except Exception as exc:
            asked.set_exception(exc)
            asked.exception()  # nobody may wait for it
            raise
        finally:
            if self._asked.get(digest) is asked:
                del self._asked[digest]
            if not asked.done():
                asked.set_result(None)  # who asked went away: another one asks
        return seen

    async def _look_up(self, digest: bytes) -> _Seen:
        if digest in self._seen:
            return await self._found(digest)
        if self._unknown >= _UNKNOWN_AT_ONCE:
            raise RetryableError(
                "cannot look up the token: too many unknown ones are being looked up; try again",
                retry_after_s=1.0,
            )
        self._unknown += 1
        try:
            return await self._found(digest)
        finally:
            self._unknown -= 1

    async def _found(self, digest: bytes) -> _Seen:
        row = await self._tokens.find(digest)
        at = self._clock.monotonic()
        if row is None:
            return _Seen(None, None, at)
        return _Seen(User(row.user, (*row.groups, AUTHENTICATED)), row.expires_at, at)

    def _keep(self, digest: bytes, seen: _Seen) -> None:
        kept, other = self._seen, self._wrong
        if seen.user is None:
            kept, other = other, kept
        other.pop(digest, None)
        kept[digest] = seen
        kept.move_to_end(digest)
        while len(kept) > _CACHED_TOKENS:
            kept.popitem(last=False)
