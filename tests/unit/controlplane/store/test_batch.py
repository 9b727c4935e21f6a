"""Deciding a batch: as if one by one, gapless, chained."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from controlplane.errors import (
    AlreadyExistsError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    StaleEpochError,
)
from controlplane.records import Key, Verb, Write
from controlplane.store.batch import (
    EMPTY_HEAD,
    Row,
    Verdict,
    chain,
    content_digest,
    decide,
    microseconds,
)

NOW = datetime(2026, 5, 1, 12, 0, 0, 123456, tzinfo=UTC)
KEY = Key("App", "shop", "a")
HOME = Key("Namespace", "", "shop")


def write(
    verb: Verb,
    key: Key = KEY,
    *,
    uid: str = "u",
    expected: int | None = None,
    epoch: int | None = None,
    within: Key | None = None,
    deleting: bool = False,
) -> Write:
    return Write(
        *(verb, key, uid, 1, b"{}", b"[]", expected, "alice", "test", epoch, within, deleting)
    )


def run(
    *writes: Write, rows: dict[Key, Row] | None = None, epochs: tuple[int, ...] = ()
) -> Verdict:
    found = rows or {}
    return decide(writes, found.get, frozenset(epochs), revision=999, head=EMPTY_HEAD, at=NOW)


def test_refusals_by_kind() -> None:
    rows = {KEY: Row("u", 5, deleting=False)}
    cases = [
        (write("create"), AlreadyExistsError),
        (write("update", expected=4), ConflictError),
        (write("update", uid="other", expected=5), NotFoundError),
        (write("delete", Key("App", "shop", "b"), expected=5), NotFoundError),
        (write("update", expected=5, epoch=3), StaleEpochError),
    ]
    for attempt, error in cases:
        verdict = run(attempt, rows=rows, epochs=(4,))
        assert isinstance(verdict.refused[0], error)
        assert verdict.accepted == ()
        assert verdict.head == EMPTY_HEAD


def test_revisions_skip_the_refused() -> None:
    verdict = run(
        *(write("create"), write("update", Key("App", "shop", "b"), expected=1)),
        write("create", Key("App", "shop", "c"), epoch=7),
        epochs=(7,),
    )
    assert [item.revision for item in verdict.accepted] == [1000, 1001]
    assert list(verdict.refused) == [1]


def test_a_namespace_that_goes_in_the_batch_takes_nothing_after() -> None:
    rows = {HOME: Row("h", 5, deleting=False)}
    inside = write("create", within=HOME)
    going = write("update", HOME, uid="h", expected=5, deleting=True)
    assert run(inside, going, rows=rows).refused == {}
    assert isinstance(run(going, inside, rows=rows).refused[1], ForbiddenError)
    gone = write("delete", HOME, uid="h", expected=5)
    assert isinstance(run(gone, inside, rows=rows).refused[1], NotFoundError)


def test_each_hash_covers_the_one_before_and_all_of_the_change() -> None:
    verdict = run(write("create"), write("create", Key("App", "shop", "b")))
    first, second = verdict.accepted
    digest = content_digest(b"{}", b"[]")
    assert first.hash == chain(EMPTY_HEAD, 1000, microseconds(NOW), first.write, digest)
    assert second.hash == chain(first.hash, 1001, microseconds(NOW), second.write, digest)
    assert verdict.head == second.hash
    assert (
        chain(EMPTY_HEAD, 1000, microseconds(NOW), write("create", uid="v"), digest) != first.hash
    )


def test_the_digest_tells_body_and_ownership_apart() -> None:
    assert content_digest(b"ab", b"c") != content_digest(b"a", b"bc")


@given(st.datetimes(timezones=st.just(UTC)))
def test_microseconds_are_exact(moment: datetime) -> None:
    assert microseconds(moment) % 1_000_000 == moment.microsecond
    assert abs(microseconds(moment) / 1e6 - moment.timestamp()) < 1
