"""Where lifecycle rules are carried out, and what keeps them from it."""

from typing import Any

import pytest

from controlplane.errors import RetryableError
from drivers.fake.s3 import FakeBucket, FakeS3, FakeS3Server
from drivers.s3 import BucketState
from drivers.s3_documents import LifecycleRule
from reconcilers.expiry import LifecycleChore
from tests.unit.reconcilers.test_outside import Records, stored

RULES = [{"name": "tmp", "expireDays": 1}]


def server(name: str) -> FakeS3Server:
    """With one object that is due."""
    state = BucketState("b", lifecycle=(LifecycleRule("tmp", expire_days=1),))
    return FakeS3Server(container=name, buckets={"b": FakeBucket(state, ["x"], old={"x"})})


def platform(name: str, **spec: Any) -> Any:
    status = {"containerId": name}
    return stored("Platform", name, name, spec={"service": "s3", **spec}, status=status)


def bucket(on: str, *, rules: bool = True) -> Any:
    spec: dict[str, Any] = {"lifecycle": RULES if rules else []}
    return stored("Bucket", f"of-{on}", on, spec=spec if on == "s3" else {**spec, "server": on})


def chore(servers: list[FakeS3Server], *records: Any) -> LifecycleChore:
    view: Any = Records(*records)
    return LifecycleChore(FakeS3({each.container: each for each in servers}), view)


def left(*servers: FakeS3Server) -> list[int]:
    return [len(each.buckets["b"].objects) for each in servers]


async def test_what_is_due_goes_where_a_bucket_has_rules() -> None:
    ours, other, bare = servers = [server(name) for name in ("s3", "other", "bare")]
    records = [platform(each.container) for each in servers]
    buckets = [bucket("s3"), bucket("other"), bucket("bare", rules=False)]
    assert await chore(servers, *records, *buckets).do() == 2
    assert left(ours, other, bare) == [0, 0, 1]


async def test_an_external_server_and_one_that_does_not_run_are_left_alone() -> None:
    far = server("far")
    records = [
        platform("far", external={"endpoint": "s3.example.org:443"}),
        stored("Platform", "s3", "s3", spec={"service": "s3"}, status={}),
    ]
    assert await chore([far], *records, bucket("far"), bucket("s3")).do() == 0
    assert left(far) == [1]


async def test_a_server_that_fails_keeps_no_other_from_it_and_is_told() -> None:
    away, other = servers = [server("s3"), server("other")]
    away.away = True
    records = [platform("s3"), platform("other"), bucket("s3"), bucket("other")]
    with pytest.raises(RetryableError):
        await chore(servers, *records).do()
    assert left(away, other) == [1, 0]
