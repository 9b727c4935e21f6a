"""Where lifecycle rules are carried out, and what keeps them from it."""

from dataclasses import replace
from typing import Any

import pytest

from controlplane.errors import RetryableError, StaleEpochError
from drivers.fake.s3 import FakeBucket, FakeS3, FakeS3Server
from drivers.s3 import BucketState
from drivers.s3_documents import LifecycleRule, policy_of
from reconcilers.s3upkeep import LifecycleChore, S3BucketCloser
from tests.clock import ManualClock
from tests.unit.reconcilers.test_outside import Records, stored
from tests.unit.reconcilers.world import Values

KEPT = ("bunker.cloud/owner", "ns/gone")
RULES = [{"name": "tmp", "expireDays": 1}]


def server(name: str, *tags: tuple[str, str]) -> FakeS3Server:
    """With one object that is due."""
    state = BucketState("b", lifecycle=(LifecycleRule("tmp", expire_days=1),), tags=tags)
    bucket = FakeBucket(state, ["x"], old={"x"})
    return FakeS3Server("bunkeradmin", "secret", container=name, buckets={"b": bucket})


def platform(name: str, **spec: Any) -> Any:
    status = {
        "containerId": name,
        "endpoints": {"s3": f"{name}:8333"},
        "secretRef": {"name": "s3-credentials"},
    }
    return stored("Platform", name, name, spec={"service": "s3", **spec}, status=status)


def bucket(on: str, *, rules: bool = True) -> Any:
    spec: dict[str, Any] = {"lifecycle": RULES if rules else []}
    return stored("Bucket", f"of-{on}", on, spec=spec if on == "s3" else {**spec, "server": on})


def chore(servers: list[FakeS3Server], *records: Any) -> LifecycleChore:
    view: Any = Records(*records)
    s3 = FakeS3({f"http://{each.container}:8333": each for each in servers})
    login = {"access-key": b"bunkeradmin", "secret-key": b"secret"}
    values = Values({("Secret", "s3-credentials"): login})
    return LifecycleChore(s3, S3BucketCloser(s3, values, view, ManualClock()), view)


def leads() -> None:
    """A guard that lets everything through."""


def left(*servers: FakeS3Server) -> list[int]:
    return [len(each.buckets["b"].objects) for each in servers]


async def test_what_is_due_goes_where_a_bucket_has_rules() -> None:
    ours, other, bare = servers = [server(name) for name in ("s3", "other", "bare")]
    records = [platform(each.container) for each in servers]
    buckets = [bucket("s3"), bucket("other"), bucket("bare", rules=False)]
    assert await chore(servers, *records, *buckets).do(leads) == 2
    assert left(ours, other, bare) == [0, 0, 1]


async def test_an_external_server_and_one_that_does_not_run_are_left_alone() -> None:
    far = server("far")
    records = [
        platform("far", external={"endpoint": "s3.example.org:443"}),
        stored("Platform", "s3", "s3", spec={"service": "s3"}, status={}),
    ]
    assert await chore([far], *records, bucket("far"), bucket("s3")).do(leads) == 0
    assert left(far) == [1]


async def test_a_server_that_fails_keeps_no_other_from_it_and_is_told() -> None:
    away, other = servers = [server("s3"), server("other")]
    away.away = True
    records = [platform("s3"), platform("other"), bucket("s3"), bucket("other")]
    with pytest.raises(RetryableError):
        await chore(servers, *records).do(leads)
    assert left(away, other) == [1, 0]


async def test_rules_of_a_bucket_kept_for_a_record_that_is_gone_destroy_nothing() -> None:
    """It went before rules were carried out, or while its server had no record."""
    kept = server("s3", KEPT)
    assert await chore([kept], platform("s3"), bucket("s3")).do(leads) == 1
    assert left(kept) == [1]


async def test_without_a_look_at_kept_buckets_no_rule_is_carried_out() -> None:
    kept = server("s3", KEPT)
    made = chore([kept], platform("s3"), bucket("s3"))
    blind = replace(made, closer=replace(made.closer, values=Values({})))
    with pytest.raises(RetryableError):
        await blind.do(leads)
    assert left(kept) == [1]


async def test_a_kept_bucket_that_denies_itself_stops_its_server_alone() -> None:
    """Its rules can't be taken off, and would be carried out with the others."""
    locked, other = servers = [server(name, KEPT) for name in ("s3", "other")]
    here = "arn:aws:s3:::b"
    denied = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": here}
    locked.edit("b", policy=policy_of(denied))
    other.buckets["due"] = FakeBucket(replace(other.buckets["b"].state, tags=()), ["x"], old={"x"})
    records = [platform("s3"), platform("other"), bucket("s3"), bucket("other")]
    with pytest.raises(RetryableError) as told:
        await chore(servers, *records).do(leads)
    assert told.value.reason == "BucketDenied"
    assert left(locked, other) == [1, 1]
    assert other.buckets["due"].objects == []


@pytest.mark.parametrize("calls", [0, 1])
async def test_who_leads_no_more_changes_nothing(calls: int) -> None:
    """Not even at the next server: at first it takes rules off, then it has rules carried out."""
    kept, other, away = servers = [server("s3", KEPT), server("other"), server("away")]
    away.away = True  # what comes of the others does not matter any more
    kept.buckets["due"] = FakeBucket(replace(kept.buckets["b"].state, tags=()), ["x"], old={"x"})
    passed: list[int] = []

    def guard() -> None:
        if len(passed) == calls:
            raise StaleEpochError("cannot act")
        passed.append(1)

    names = ("s3", "other", "away")
    records = [made(name) for name in names for made in (platform, bucket)]
    with pytest.raises(StaleEpochError):
        await chore(servers, *records).do(guard)
    assert (kept.buckets["b"].state.lifecycle == ()) == (calls == 1)
    assert kept.buckets["due"].objects == ["x"]
    assert left(other) == [1]
