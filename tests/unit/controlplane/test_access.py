"""Tokens and roles."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from controlplane.access import (
    ADMINS,
    EDITORS,
    OPERATORS,
    OWNER_REFERENCES,
    VIEWERS,
    Access,
    Attempt,
    User,
    allowed,
    token_hash,
)
from controlplane.errors import RetryableError, StoreUnavailableError
from resources.meta import GROUP


@dataclass(frozen=True, slots=True)
class _Row:
    user: str
    groups: tuple[str, ...]
    expires_at: datetime


@dataclass
class _Tokens:
    """A stateful stand-in for the token table."""

    rows: dict[bytes, _Row] = field(default_factory=dict)
    lookups: int = 0

    async def put(
        self, token_hash: bytes, user: str, groups: Sequence[str], expires_at: datetime, /
    ) -> None:
        self.rows[token_hash] = _Row(user, tuple(groups), expires_at)

    async def find(self, token_hash: bytes, /) -> _Row | None:
        self.lookups += 1
        return self.rows.get(token_hash)

    async def drop(self, token_hash: bytes, /) -> None:
        self.rows.pop(token_hash, None)


@dataclass
class _SlowTokens(_Tokens):
    """Answers when told to, with what there was when it was asked."""

    answering: asyncio.Event = field(default_factory=asyncio.Event)
    broken: bool = False

    async def find(self, token_hash: bytes, /) -> _Row | None:
        row = await super().find(token_hash)
        await self.answering.wait()
        if self.broken:
            raise StoreUnavailableError("away")
        return row


@dataclass
class _Clock:
    passed: float = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.passed)

    def monotonic(self) -> float:
        return self.passed

    async def sleep(self, seconds: float, /) -> None:
        self.passed += seconds
        await asyncio.sleep(0)


async def test_a_token_speaks_for_its_user_and_only_its_hash_is_kept() -> None:
    tokens, clock = _Tokens(), _Clock()
    access = Access(tokens, clock)
    token = await access.issue("ann", (ADMINS,), ttl=timedelta(hours=1))
    user = await access.authenticate(token)
    assert user is not None
    assert user.name == "ann"
    assert ADMINS in user.groups
    assert list(tokens.rows) == [token_hash(token)]
    assert token.encode() not in b"".join(tokens.rows)


async def test_a_token_is_looked_up_once_for_all_who_wait() -> None:
    tokens, clock = _SlowTokens(), _Clock()
    access = Access(tokens, clock)
    token = await access.issue("ann", (ADMINS,), ttl=timedelta(hours=1))
    waiting = [asyncio.create_task(access.authenticate(token)) for _ in range(8)]
    await asyncio.sleep(0)
    assert tokens.lookups == 1
    waiting[0].cancel()  # the one who asks
    await asyncio.sleep(0)
    tokens.answering.set()
    users = await asyncio.gather(*waiting[1:])
    assert [user.name for user in users if user] == ["ann"] * 7
    assert tokens.lookups == 2


async def test_who_waits_for_a_token_is_told_that_it_cannot_be_looked_up() -> None:
    tokens = _SlowTokens(broken=True)
    access = Access(tokens, _Clock())
    waiting = [asyncio.create_task(access.authenticate("t")) for _ in range(3)]
    await asyncio.sleep(0)
    tokens.answering.set()
    told = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(each) for each in told] == [StoreUnavailableError] * 3
    assert tokens.lookups == 1


async def test_a_revoked_token_is_not_believed_for_a_question_asked_before() -> None:
    tokens, clock = _SlowTokens(), _Clock()
    access = Access(tokens, clock)
    token = await access.issue("ann", (ADMINS,), ttl=timedelta(hours=1))
    before = asyncio.create_task(access.authenticate(token))
    await asyncio.sleep(0)
    await access.revoke(token)
    after = asyncio.create_task(access.authenticate(token))
    tokens.answering.set()
    await before
    assert await after is None


async def test_unknown_empty_and_huge_tokens_speak_for_nobody() -> None:
    tokens = _Tokens()
    access = Access(tokens, _Clock())
    assert await access.authenticate("") is None
    assert await access.authenticate("x" * 10_000) is None
    assert await access.authenticate("\udcff") is None
    assert tokens.lookups == 0
    assert await access.authenticate("wrong") is None


async def test_a_token_expires() -> None:
    clock = _Clock()
    access = Access(_Tokens(), clock)
    token = await access.issue("ann", (ADMINS,), ttl=timedelta(seconds=1))
    assert await access.authenticate(token) is not None
    clock.passed = 1.0
    assert await access.authenticate(token) is None


async def test_a_token_revoked_elsewhere_ends_within_five_seconds() -> None:
    tokens, clock = _Tokens(), _Clock()
    access = Access(tokens, clock)
    token = await access.issue("ann", (ADMINS,), ttl=timedelta(hours=1))
    assert await access.authenticate(token) is not None
    tokens.rows.clear()
    clock.passed = 5.0
    assert await access.authenticate(token) is None


async def test_lookups_are_remembered_for_a_moment() -> None:
    tokens = _Tokens()
    access = Access(tokens, _Clock())
    token = await access.issue("ann", (ADMINS,), ttl=timedelta(hours=1))
    for _ in range(50):
        await access.authenticate(token)
    assert tokens.lookups == 1


async def test_a_flood_of_wrong_tokens_is_not_remembered_for_ever() -> None:
    access = Access(_Tokens(), _Clock())
    for number in range(5000):
        await access.authenticate(f"wrong-{number}")
    assert len(access._seen) + len(access._wrong) <= 4096


async def test_a_flood_of_wrong_tokens_keeps_nobody_known_from_the_store() -> None:
    tokens, clock = _SlowTokens(), _Clock()
    access = Access(tokens, clock)
    token = await access.issue("ann", (ADMINS,), ttl=timedelta(hours=1))
    tokens.answering.set()
    assert await access.authenticate(token) is not None
    for number in range(5000):
        await access.authenticate(f"before-{number}")
    tokens.answering.clear()
    tokens.lookups, clock.passed = 0, 5.0
    flood = [asyncio.create_task(access.authenticate(f"wrong-{n}")) for n in range(500)]
    await asyncio.sleep(0)
    assert tokens.lookups <= 64
    known = asyncio.create_task(access.authenticate(token))
    await asyncio.sleep(0)
    tokens.answering.set()
    user = await known
    assert user is not None
    assert user.name == "ann"
    told = await asyncio.gather(*flood, return_exceptions=True)
    assert {type(each) for each in told} == {type(None), RetryableError}


async def test_a_token_that_was_wrong_counts_once_it_is_issued() -> None:
    tokens, clock = _Tokens(), _Clock()
    access = Access(tokens, clock)
    token = await access.issue("ann", (ADMINS,), ttl=timedelta(hours=1))
    (row,) = tokens.rows.items()
    for there in (False, True, False):
        tokens.rows = dict([row]) if there else {}
        clock.passed += 5.0
        assert (await access.authenticate(token) is not None) is there


@pytest.mark.parametrize(
    ("groups", "attempt", "want"),
    [
        ((ADMINS,), Attempt("delete", "", "secrets"), True),
        ((VIEWERS,), Attempt("get", "bunker.cloud", "databases"), True),
        ((VIEWERS,), Attempt("watch", "", "configmaps"), True),
        ((VIEWERS,), Attempt("get", "", "secrets"), False),
        ((VIEWERS,), Attempt("list", "", "secrets"), False),
        ((VIEWERS,), Attempt("watch", "", "secrets"), False),
        ((VIEWERS,), Attempt("list", "*", "*"), False),
        ((VIEWERS,), Attempt("get", "", "pods", "exec"), False),
        ((VIEWERS,), Attempt("create", "bunker.cloud", "databases"), False),
        ((VIEWERS,), Attempt("patch", "bunker.cloud", "databases", "status"), False),
        ((VIEWERS,), Attempt("deletecollection", "bunker.cloud", "databases"), False),
        ((), Attempt("get", "bunker.cloud", "databases"), False),
        ((EDITORS,), Attempt("create", GROUP, "apps", "", "shop"), True),
        ((EDITORS,), Attempt("get", "", "secrets", "", "shop"), True),
        ((EDITORS,), Attempt("list", "", "secrets"), False),
        ((EDITORS,), Attempt("get", "", "secrets", "", "platform"), False),
        ((EDITORS,), Attempt("create", GROUP, "apps", "", "platform"), False),
        ((EDITORS,), Attempt("get", GROUP, "platforms", "", "platform"), True),
        ((EDITORS,), Attempt("patch", GROUP, "hosts", "", "", "host"), False),
        ((EDITORS,), Attempt("patch", GROUP, "apps", "status", "shop"), False),
        ((EDITORS,), Attempt("get", GROUP, "apps", "status", "shop"), True),
        ((EDITORS,), Attempt("get", GROUP, "apps", "*", "shop"), False),
        ((EDITORS,), Attempt("update", GROUP, "apps", OWNER_REFERENCES, "shop"), False),
        ((EDITORS,), Attempt("patch", GROUP, "apps", "scale", "shop"), True),
        ((EDITORS,), Attempt("get", GROUP, "quotas", "", "shop"), True),
        ((EDITORS,), Attempt("patch", GROUP, "quotas", "", "shop"), False),
        ((EDITORS,), Attempt("delete", "*", "*", "", "shop"), False),
        ((OPERATORS,), Attempt("deletecollection", GROUP, "quotas", "", "shop"), False),
        ((OPERATORS,), Attempt("patch", GROUP, "apps", "status", "shop"), True),
        ((OPERATORS,), Attempt("update", GROUP, "apps", OWNER_REFERENCES, "shop"), True),
        ((OPERATORS,), Attempt("patch", GROUP, "apps", "status", "kube-system"), False),
        (("system:authenticated",), Attempt("get", "bunker.cloud", "databases"), False),
    ],
)
def test_roles(groups: tuple[str, ...], attempt: Attempt, want: bool) -> None:
    assert allowed(User("u", groups), attempt) is want
