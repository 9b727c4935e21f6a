"""S3 servers: buckets, who may use them, and how much they may hold. Value types and Protocols.

drivers/s3_network.py is the real one (S3 and IAM over HTTP), drivers/s3_shell.py sets quotas where
the server has a shell of its own. Endpoint and credentials are a parameter of each call. It knows
buckets and users, and not who wants them.
"""

from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from drivers.s3_documents import CorsRule, LifecycleRule

DRIVER: Final = "s3"
POLICY_NAME: Final = "access"
"""Of the one inline policy that a user of ours has."""

Versioning = Literal["Off", "Enabled", "Suspended"]
Feature = Literal["versioning", "policy", "lifecycle", "cors", "tags"]
KeyAnswer = Literal["valid", "refused"]


@dataclass(frozen=True, slots=True)
class S3Server:
    """Where a server is, and as whom to speak to it."""

    endpoint: str
    """URL without a path. Example: `http://10.201.0.5:8333`."""
    access_key: str
    secret_key: str = field(repr=False)
    region: str = "us-east-1"


@dataclass(frozen=True, slots=True)
class BucketState:
    """A bucket as its server describes it."""

    name: str
    versioning: Versioning = "Off"
    policy: str | None = None
    """Canonical (s3_documents.canonical_policy); None: it has none."""
    lifecycle: tuple[LifecycleRule, ...] = ()
    """Sorted by id."""
    cors: tuple[CorsRule, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()
    """Sorted (key, value)."""
    lacks: frozenset[Feature] = frozenset()
    """What the server says it doesn't implement."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a bucket holds; all of it counts: old versions, delete markers, unfinished uploads."""

    objects: int
    uploads: int
    more: bool
    """Counting stopped at its limit: there is at least one more."""

    @property
    def empty(self) -> bool:
        return self.objects == 0 and self.uploads == 0


@dataclass(frozen=True, slots=True)
class UserState:
    """A user: what it may do, and its keys."""

    name: str
    policy: str | None
    """Canonical; None: it has none of ours. Any other policy shows as `extra_policies`."""
    keys: tuple[tuple[str, bool], ...]
    """Sorted (access key id, active)."""
    extra_policies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class QuotaState:
    """How much a bucket holds and may hold, in bytes as the server counts them."""

    used_bytes: int
    quota_bytes: int
    """0: no quota."""
    due: bool = False
    """ensure_enforced would close the bucket for writes, or open it again."""


class S3(Protocol):
    """Buckets and users of S3 servers. Every call has a timeout.

    Raises DriverUnavailableError (nobody answers), RetryableError with reason AccessRefused (our
    credentials), BadAnswer (something else answers there) or ServerError (it answers 5xx), and
    TerminalError with reason Refused or NotSupported.
    """

    async def observe_server(self, server: S3Server, /) -> None:
        """Returns if it answers and takes the credentials; else raises."""
        ...

    async def observe_bucket(self, server: S3Server, name: str, /) -> BucketState | None:
        """None also for a bucket of another account. Raises RetryableError (BucketDenied) where
        the server takes the credentials, and a policy of the bucket lets them not see it."""
        ...

    async def list_buckets(self, server: S3Server, /) -> tuple[str, ...]:
        """Names of the account's buckets, sorted; of all, if it is the administrator's."""
        ...

    async def observe_content(self, server: S3Server, name: str, /, *, limit: int) -> Content:
        """Count up to `limit` objects; Content(0, 0, False) where there is no bucket."""
        ...

    async def ensure_bucket(self, server: S3Server, name: str, /) -> None:
        """There is one, and it is this account's. Raises TerminalError (NameTaken) where the
        server says that somebody else has it."""
        ...

    async def ensure_versioning(self, server: S3Server, name: str, /, *, enabled: bool) -> None:
        """Versions are kept or not any more; those kept already stay."""
        ...

    async def ensure_policy(self, server: S3Server, name: str, policy: str | None, /) -> None: ...

    async def ensure_lifecycle(
        self, server: S3Server, name: str, rules: tuple[LifecycleRule, ...], /
    ) -> None: ...

    async def ensure_cors(
        self, server: S3Server, name: str, rules: tuple[CorsRule, ...], /
    ) -> None: ...

    async def ensure_tags(
        self, server: S3Server, name: str, tags: tuple[tuple[str, str], ...], /
    ) -> None: ...

    async def delete_content(self, server: S3Server, name: str, /, *, limit: int) -> int:
        """Destroy up to `limit` objects, versions, markers and uploads; how many it were."""
        ...

    async def delete_bucket(self, server: S3Server, name: str, /) -> None:
        """Absent is success. Raises RetryableError (BucketNotEmpty) if anything is in it, and
        looks itself: a server may think a bucket empty that holds old versions."""
        ...

    async def observe_user(self, server: S3Server, name: str, /) -> UserState | None: ...

    async def list_users(self, server: S3Server, prefix: str, /) -> tuple[str, ...]:
        """Names of users that begin with `prefix`, sorted."""
        ...

    async def ensure_user(self, server: S3Server, name: str, policy: str, /) -> None:
        """There is one, and `policy` is all it may do."""
        ...

    async def ensure_key(
        self, server: S3Server, user: str, access_key: str, secret_key: str, /
    ) -> None:
        """It has this key, with this secret. Raises TerminalError (NotSupported) on servers that
        choose keys themselves."""
        ...

    async def delete_key(self, server: S3Server, user: str, access_key: str, /) -> None: ...

    async def delete_user(self, server: S3Server, name: str, /) -> None:
        """With its policies and keys."""
        ...

    async def observe_key(self, server: S3Server, bucket: str, /) -> KeyAnswer:
        """Whether the server knows `server`'s key with that secret, whatever it may do."""
        ...

    async def aclose(self) -> None: ...


class S3Quotas(Protocol):
    """Quotas, which the S3 API does not have: set inside the server's container. And what keeps
    down by itself how much there is."""

    async def list_quotas(
        self, container: str, /, *, max_age_s: float = 0.0
    ) -> dict[str, QuotaState]:
        """By bucket, of all buckets of the server in the container of that id: as it was no longer
        than `max_age_s` ago, what was set here since included."""
        ...

    async def ensure_quota(self, container: str, bucket: str, quota_bytes: int, /) -> None:
        """0 takes it off. Whole MiB, rounded up."""
        ...

    async def ensure_enforced(self, container: str, /) -> None:
        """Buckets over their quota take no more writes; those below take them again. The server
        does so only when told."""
        ...

    async def ensure_expired(self, container: str, /) -> None:
        """What the lifecycle rules of the server's buckets say is removed by now. The server does
        so only when told; it may take minutes."""
        ...
