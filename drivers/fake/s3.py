"""S3 servers that exist only in dicts, with the refusals of the real one."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

import orjson

from controlplane.errors import (
    ControlPlaneError,
    DriverUnavailableError,
    RetryableError,
    TerminalError,
)
from drivers.fake.engine import CrashError
from drivers.s3 import (
    DRIVER,
    BucketState,
    Content,
    Feature,
    KeyAnswer,
    QuotaState,
    S3Server,
    UserState,
)
from drivers.s3_documents import CorsRule, LifecycleRule, canonical_policy

ADMIN: Final = "admin"
ARN: Final = "arn:aws:s3:::"


@dataclass(slots=True)
class FakeBucket:
    """One bucket: what its server says of it, and what is in it."""

    state: BucketState
    objects: list[str] = field(default_factory=list)
    """Keys, one entry a version."""
    uploads: list[str] = field(default_factory=list)
    old: set[str] = field(default_factory=set)
    """Keys of what came longer ago than any rule asks."""
    quota: QuotaState = field(default_factory=lambda: QuotaState(0, 0))
    closed: bool = False
    """For writes, by its quota."""

    @property
    def over(self) -> bool:
        """Whether it holds more than its quota."""
        return 0 < self.quota.quota_bytes < self.quota.used_bytes

    def expire(self, rule: LifecycleRule) -> None:
        """Remove what the rule says. Of old versions the newest stays, where that is kept."""
        due = {key for key in self.old if key.startswith(rule.prefix)}
        if rule.expire_days and self.state.versioning == "Off":
            self.objects = [key for key in self.objects if key not in due]
        if rule.noncurrent_days:
            fresh = [key for key in self.objects if key not in due]
            self.objects = sorted([*fresh, *due.intersection(self.objects)])
        if rule.abort_upload_days:
            self.uploads = [key for key in self.uploads if key not in due]

    def denies(self, resource: str) -> bool:
        """Whether its policy denies everything there to everybody, its administrator included."""
        try:
            policy = orjson.loads(self.state.policy or "{}")
        except ValueError:
            return False  # a world of tests may have any text there
        return any(
            each["Effect"] == "Deny"
            and each["Principal"] == {"AWS": ["*"]}
            and each["Action"] == ["s3:*"]
            and resource in each["Resource"]
            for each in policy.get("Statement") or ()
        )


@dataclass(slots=True)
class FakeUser:
    """One user."""

    policies: dict[str, str] = field(default_factory=dict)
    keys: dict[str, bool] = field(default_factory=dict)
    """Access key -> active."""
    _secrets: dict[str, str] = field(default_factory=dict, repr=False)

    def set_key(self, access_key: str, secret_key: str) -> None:
        self.keys[access_key] = True
        self._secrets[access_key] = secret_key

    def secret_of(self, access_key: str) -> str | None:
        """Of an active key."""
        return self._secrets[access_key] if self.keys.get(access_key) else None


@dataclass(slots=True)
class FakeS3Server:
    """One server, and what keeps it from serving."""

    access_key: str = "admin-key"
    secret_key: str = "admin-secret"  # noqa: S105  # of a fake
    container: str = ""
    """Id of the container whose shell sets its quotas."""
    buckets: dict[str, FakeBucket] = field(default_factory=dict)
    users: dict[str, FakeUser] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    """Names of buckets of other accounts."""
    lacks: frozenset[Feature] = frozenset()
    chooses_keys: bool = False
    away: bool = False
    garbage: bool = False
    failing: bool = False
    """It answers 500."""

    def secret_of(self, access_key: str) -> str | None:
        """Of the admin's key or an active one of a user's."""
        if access_key == self.access_key:
            return self.secret_key
        found = (user.secret_of(access_key) for user in self.users.values())
        return next((secret for secret in found if secret is not None), None)

    def owner_of(self, access_key: str) -> FakeUser | None:
        return next((user for user in self.users.values() if access_key in user.keys), None)

    def edit(self, bucket: str, **changes: object) -> None:
        """Somebody changes a bucket's settings behind its back."""
        found = self.buckets[bucket]
        found.state = replace(found.state, **changes)  # type: ignore[arg-type]  # as named


@dataclass(slots=True)
class FakeS3:
    """`servers` maps endpoints to what listens there."""

    servers: dict[str, FakeS3Server] = field(default_factory=dict)
    anywhere: FakeS3Server | None = None
    """Answers at every endpoint and takes everybody for its administrator: a server whose
    container comes and goes while its data stays."""
    writes: Counter[str] = field(default_factory=Counter)
    """How often each verb changed something, or would have."""
    _planted: dict[str, list[Exception]] = field(default_factory=dict)
    _left: int | None = None

    def fail_next(self, verb: str, error: Exception) -> None:
        """The next call of `verb` raises instead of doing anything."""
        self._planted.setdefault(verb, []).append(error)

    def crash_after(self, changes: int) -> None:
        """After so many changes more the process dies: the change is made, the reply lost."""
        self._left = changes

    def _enter(self, verb: str, server: S3Server) -> FakeS3Server:
        if planted := self._planted.get(verb):
            raise planted.pop(0)
        found = self.servers.get(server.endpoint, self.anywhere)
        if found is None or found.away:
            raise DriverUnavailableError(DRIVER, f"cannot {verb}: ConnectError")
        if found.garbage:
            raise _trouble(verb, "BadAnswer")
        if found.failing:
            raise _trouble(verb, "ServerError")
        admin = (found.access_key, found.secret_key) == (server.access_key, server.secret_key)
        if verb != "observe_key" and found is not self.anywhere and not admin:
            raise _trouble(verb, "AccessRefused")
        return found

    def _changed(self, verb: str) -> None:
        self.writes[verb] += 1
        if self._left is not None:
            self._left -= 1
            if self._left <= 0:
                self._left = None
                raise CrashError

    def _edit(
        self, verb: str, server: S3Server, name: str, feature: Feature,
        change: Callable[[BucketState], BucketState],
    ) -> None:  # fmt: skip
        found = self._enter(verb, server)
        if feature in found.lacks:
            raise TerminalError(f"cannot {verb}: 501 NotImplemented", reason="NotSupported")
        if name not in found.buckets:
            raise _trouble(verb, "ServerError")
        bucket = found.buckets[name]
        if bucket.denies(f"{ARN}{name}"):
            raise _trouble(verb, "AccessRefused")
        bucket.state = change(bucket.state)
        self._changed(verb)

    async def observe_server(self, server: S3Server, /) -> None:
        self._enter("observe_server", server)

    async def observe_bucket(self, server: S3Server, name: str, /) -> BucketState | None:
        found = self._enter("observe_bucket", server)
        bucket = found.buckets.get(name)
        if bucket is not None and bucket.denies(f"{ARN}{name}"):
            raise _trouble("observe_bucket", "BucketDenied")
        return None if bucket is None else replace(bucket.state, lacks=found.lacks)

    async def list_buckets(self, server: S3Server, /) -> tuple[str, ...]:
        return tuple(sorted(self._enter("list_buckets", server).buckets))

    async def observe_content(self, server: S3Server, name: str, /, *, limit: int) -> Content:
        bucket = self._enter("observe_content", server).buckets.get(name)
        if bucket is None:
            return Content(0, 0, more=False)
        objects, uploads = len(bucket.objects), len(bucket.uploads)
        return Content(min(objects, limit), min(uploads, limit), max(objects, uploads) > limit)

    async def ensure_bucket(self, server: S3Server, name: str, /) -> None:
        found = self._enter("ensure_bucket", server)
        if name in found.taken:
            raise TerminalError(f"cannot create bucket '{name}': taken", reason="NameTaken")
        found.buckets.setdefault(name, FakeBucket(BucketState(name)))
        self._changed("ensure_bucket")

    async def ensure_versioning(self, server: S3Server, name: str, /, *, enabled: bool) -> None:
        self._edit(
            "ensure_versioning",
            server,
            name,
            "versioning",
            lambda state: replace(state, versioning="Enabled" if enabled else "Suspended"),
        )

    async def ensure_policy(self, server: S3Server, name: str, policy: str | None, /) -> None:
        if policy is not None and f":::{name}" not in policy:
            raise TerminalError("cannot set the policy: 400 MalformedPolicy", reason="Refused")
        kept = canonical_policy(policy) if policy else None
        self._edit(
            "ensure_policy", server, name, "policy", lambda state: replace(state, policy=kept)
        )

    async def ensure_lifecycle(
        self, server: S3Server, name: str, rules: tuple[LifecycleRule, ...], /
    ) -> None:
        self._edit(
            "ensure_lifecycle",
            server,
            name,
            "lifecycle",
            lambda state: replace(state, lifecycle=tuple(sorted(rules))),
        )

    async def ensure_cors(
        self, server: S3Server, name: str, rules: tuple[CorsRule, ...], /
    ) -> None:
        self._edit("ensure_cors", server, name, "cors", lambda state: replace(state, cors=rules))

    async def ensure_tags(
        self, server: S3Server, name: str, tags: tuple[tuple[str, str], ...], /
    ) -> None:
        kept = tuple(sorted(tags))
        self._edit("ensure_tags", server, name, "tags", lambda state: replace(state, tags=kept))

    async def delete_content(self, server: S3Server, name: str, /, *, limit: int) -> int:
        bucket = self._enter("delete_content", server).buckets.get(name)
        if bucket is None:
            return 0
        gone = bucket.objects[:limit]
        aborted = bucket.uploads[: limit - len(gone)]
        del bucket.objects[: len(gone)]
        if aborted and bucket.denies(f"{ARN}{name}/*"):  # SeaweedFS: a policy saves them alone
            raise _trouble("delete_content", "AccessRefused")
        del bucket.uploads[: len(aborted)]
        self._changed("delete_content")
        return len(gone) + len(aborted)

    async def delete_bucket(self, server: S3Server, name: str, /) -> None:
        found = self._enter("delete_bucket", server)
        bucket = found.buckets.get(name)
        if bucket is not None and (bucket.objects or bucket.uploads):
            raise _trouble("delete_bucket", "BucketNotEmpty")
        found.buckets.pop(name, None)
        self._changed("delete_bucket")

    async def observe_user(self, server: S3Server, name: str, /) -> UserState | None:
        user = self._enter("observe_user", server).users.get(name)
        if user is None:
            return None
        return UserState(
            name,
            user.policies.get("access"),
            tuple(sorted(user.keys.items())),
            tuple(sorted(set(user.policies) - {"access"})),
        )

    async def list_users(self, server: S3Server, prefix: str, /) -> tuple[str, ...]:
        users = self._enter("list_users", server).users
        return tuple(sorted(name for name in users if name.startswith(prefix)))

    async def ensure_user(self, server: S3Server, name: str, policy: str, /) -> None:
        user = self._enter("ensure_user", server).users.setdefault(name, FakeUser())
        user.policies = {"access": canonical_policy(policy)}
        self._changed("ensure_user")

    async def ensure_key(
        self, server: S3Server, user: str, access_key: str, secret_key: str, /
    ) -> None:
        found = self._enter("ensure_key", server)
        if found.chooses_keys:
            raise TerminalError("cannot make a key: not chosen by us", reason="NotSupported")
        if user not in found.users:
            raise _trouble("ensure_key", "ServerError")
        found.users[user].set_key(access_key, secret_key)
        self._changed("ensure_key")

    async def delete_key(self, server: S3Server, user: str, access_key: str, /) -> None:
        found = self._enter("delete_key", server).users.get(user)
        if found is not None:
            found.keys.pop(access_key, None)
        self._changed("delete_key")

    async def delete_user(self, server: S3Server, name: str, /) -> None:
        self._enter("delete_user", server).users.pop(name, None)
        self._changed("delete_user")

    async def observe_key(self, server: S3Server, bucket: str, /) -> KeyAnswer:
        found = self._enter("observe_key", server)
        return "valid" if found.secret_of(server.access_key) == server.secret_key else "refused"

    async def aclose(self) -> None:
        pass

    # -- quotas: the same servers, by container

    def _inside(self, verb: str, container: str) -> FakeS3Server:
        if planted := self._planted.get(verb):
            raise planted.pop(0)
        inside = [each for each in self.servers.values() if each.container == container]
        inside += [] if self.anywhere is None else [self.anywhere]
        if inside and not inside[0].away:
            return inside[0]
        raise _trouble(verb, "ShellRefused")

    async def list_quotas(
        self, container: str, /, *, max_age_s: float = 0.0
    ) -> dict[str, QuotaState]:
        del max_age_s  # what is true now is not too old
        found = self._inside("list_quotas", container)
        return {
            name: replace(bucket.quota, due=bucket.over != bucket.closed)
            for name, bucket in found.buckets.items()
        }

    async def ensure_quota(self, container: str, bucket: str, quota_bytes: int, /) -> None:
        found = self._inside("ensure_quota", container)
        if bucket not in found.buckets:
            raise _trouble("ensure_quota", "ShellRefused")
        mib = -(-quota_bytes // (1 << 20))
        kept = found.buckets[bucket]
        kept.quota = replace(kept.quota, quota_bytes=mib << 20)
        kept.closed = kept.closed and mib > 0
        self._changed("ensure_quota")

    async def ensure_enforced(self, container: str, /) -> None:
        for bucket in self._inside("ensure_enforced", container).buckets.values():
            bucket.closed = bucket.over
        self._changed("ensure_enforced")

    async def ensure_expired(self, container: str, /) -> None:
        for bucket in self._inside("ensure_expired", container).buckets.values():
            for rule in bucket.state.lifecycle:
                if rule.enabled:
                    bucket.expire(rule)
        self._changed("ensure_expired")


def _trouble(verb: str, reason: str) -> ControlPlaneError:
    return RetryableError(f"cannot {verb}: {reason}", retry_after_s=1.0, reason=reason)


def allowed(server: FakeS3Server, access_key: str, action: str, resource: str) -> bool:
    """Whether a key's policy allows an action: exact actions, resources ending in `*`."""
    if access_key == server.access_key:
        return True
    user = server.owner_of(access_key)
    if user is None or server.secret_of(access_key) is None:
        return False
    for policy in user.policies.values():
        for statement in orjson.loads(policy)["Statement"]:
            if action in statement["Action"] and any(
                resource == each or (each.endswith("*") and resource.startswith(each[:-1]))
                for each in statement["Resource"]
            ):
                return True
    return False
