"""A world with an S3 service, and the Buckets of its tests."""

from typing import Any

from controlplane.plan import Binding, Report, Resolved
from drivers.fake.s3 import FakeBucket, FakeS3Server, FakeUser
from drivers.s3 import BucketState
from reconcilers._bucketsteps import Where
from resources.bucket import Bucket, BucketStatus
from tests.unit.reconcilers.world import NS_UID, World, record

NAME = "shop-shop"
ARN = f"arn:aws:s3:::{NAME}"
MARK = ("bunker.cloud/owner", f"{NS_UID}/shop")
WHERE = Where("http://10.200.0.3:8333", "s3-credentials", "c0ffee")


def bucket(*, deleting: bool = False, was: BucketStatus | None = None, **spec: Any) -> Bucket:
    """At its first generation, which no pass has ended for yet unless `was` says so."""
    rest = {} if was is None else {"status": was.model_dump()}
    found = record("Bucket", spec, deleting=deleting, **rest)
    assert isinstance(found, Bucket)
    return found.model_copy(
        update={"metadata": found.metadata.model_copy(update={"generation": 1})}
    )


class BucketWorld(World):
    """With an S3 service that serves."""

    def __init__(self) -> None:
        super().__init__()
        login = {"access-key": b"admin-key", "secret-key": b"admin-secret", "region": b"here"}
        self.values.data[("Secret", "s3-credentials")] = login
        self.serve({"s3": "10.200.0.3:8333"})

    def serve(self, endpoints: dict[str, str], **status: str) -> None:
        message = "" if endpoints else "Platform 's3' is not ready: it starts"
        told = {"endpoints": endpoints, "address": "s3:8333", "containerId": "c0ffee", **status}
        self.services["s3"] = Resolved(
            "Platform",
            "s3",
            "uid-s3",
            bool(endpoints),
            message,
            Binding("s3-credentials", "hmac"),
            {},
            told,
        )

    @property
    def server(self) -> FakeS3Server:
        assert self.s3.anywhere is not None
        return self.s3.anywhere

    @property
    def found(self) -> FakeBucket:
        return self.server.buckets[NAME]

    def add(self, *tags: tuple[str, str], objects: int = 0) -> None:
        """A bucket of that name that somebody else has made."""
        made = FakeBucket(BucketState(NAME, tags=tuple(sorted(tags))), ["x"] * objects)
        self.server.buckets[NAME] = made

    def user(self, key: str = "default") -> FakeUser:
        (found,) = (u for name, u in self.server.users.items() if name.endswith(f"-{key}"))
        return found

    def secret(self, key: str = "default") -> dict[str, str]:
        data = self.values.data[("Secret", f"shop-{key}")]
        return {name: value.decode() for name, value in data.items()}

    def opens(self, secret: dict[str, str]) -> bool:
        return self.server.secret_of(secret["access-key"]) == secret["secret-key"]


def told(report: Report) -> BucketStatus:
    assert isinstance(report.status, BucketStatus)
    return report.status
