"""What is done to an S3 server for a Bucket, one idempotent step at a time.

A step says where, and never with which credentials: those are read from the service's Secret when
it is carried out.
"""

from dataclasses import dataclass
from typing import Final, assert_never

from controlplane.clock import Clock
from controlplane.errors import RetryableError, UnderWayError
from controlplane.plan import SecretReader
from drivers.s3 import S3, S3Quotas, S3Server
from drivers.s3_documents import CorsRule, LifecycleRule
from reconcilers._credentials import credential
from resources.meta import PLATFORM_NAMESPACE

REGION: Final = "us-east-1"
"""Where the Secret names none: what S3 clients assume."""
BITE: Final = 1000
"""Objects removed at once, as many as S3 allows."""
EMPTYING_S: Final = 2.0
"""How long one step may go on emptying a bucket: then the record is read again, so that whoever
asks to keep what is left is heard."""


@dataclass(frozen=True, slots=True)
class Where:
    """Its server."""

    endpoint: str
    """URL, as the host reaches it."""
    secret_name: str
    """The Secret with its credentials, in the platform's namespace."""
    container: str = ""
    """Id of its container; empty for a server that isn't ours."""


@dataclass(frozen=True, slots=True)
class MakeBucket:
    where: Where
    name: str


@dataclass(frozen=True, slots=True)
class SetTags:
    where: Where
    name: str
    tags: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class SetVersioning:
    where: Where
    name: str
    enabled: bool


@dataclass(frozen=True, slots=True)
class SetPolicy:
    where: Where
    name: str
    policy: str | None


@dataclass(frozen=True, slots=True)
class SetLifecycle:
    where: Where
    name: str
    rules: tuple[LifecycleRule, ...]


@dataclass(frozen=True, slots=True)
class SetCors:
    where: Where
    name: str
    rules: tuple[CorsRule, ...]


@dataclass(frozen=True, slots=True)
class SetQuota:
    where: Where
    name: str
    quota_bytes: int


@dataclass(frozen=True, slots=True)
class EnforceQuotas:
    """Close buckets that are over their quota, and open those that no longer are."""

    where: Where


@dataclass(frozen=True, slots=True)
class MakeUser:
    where: Where
    user: str
    policy: str


@dataclass(frozen=True, slots=True)
class MakeKey:
    """Give the user the key of that id, with the secret of that Secret."""

    where: Where
    user: str
    key_id: str
    namespace: str
    secret_name: str


@dataclass(frozen=True, slots=True)
class RemoveKey:
    where: Where
    user: str
    key_id: str


@dataclass(frozen=True, slots=True)
class RemoveUser:
    where: Where
    user: str


@dataclass(frozen=True, slots=True)
class RemoveObjects:
    """Destroy all that is in it: only with forceDelete."""

    where: Where
    name: str


@dataclass(frozen=True, slots=True)
class RemoveBucket:
    """Remove it, if it is empty."""

    where: Where
    name: str


BucketStep = (
    MakeBucket
    | SetTags
    | SetVersioning
    | SetPolicy
    | SetLifecycle
    | SetCors
    | SetQuota
    | EnforceQuotas
    | MakeUser
    | MakeKey
    | RemoveKey
    | RemoveUser
    | RemoveObjects
    | RemoveBucket
)
_Settings = SetTags | SetVersioning | SetPolicy | SetLifecycle | SetCors
_People = MakeUser | MakeKey | RemoveKey | RemoveUser


@dataclass(frozen=True, slots=True)
class BucketSteps:
    """Carries them out."""

    s3: S3
    quotas: S3Quotas
    values: SecretReader
    clock: Clock

    async def login(self, where: Where) -> S3Server:
        """The server with its credentials. Raises RetryableError (ServiceCredentialsMissing,
        SecretInvalid)."""
        found = await self.values.read("Secret", PLATFORM_NAMESPACE, where.secret_name) or {}
        if not {"access-key", "secret-key"} <= found.keys():
            raise RetryableError(
                f"cannot log in at {where.endpoint}: Secret '{where.secret_name}' of namespace "
                f"'{PLATFORM_NAMESPACE}' lacks access-key or secret-key",
                retry_after_s=10.0,
                reason="ServiceCredentialsMissing",
            )
        secret, use = f"{PLATFORM_NAMESPACE}/{where.secret_name}", f"log in at {where.endpoint}"
        access_key, secret_key = (
            credential(found, key, secret=secret, use=use) for key in ("access-key", "secret-key")
        )
        region = found.get("region", b"").decode(errors="replace").strip() or REGION
        return S3Server(where.endpoint, access_key, secret_key, region)

    async def apply(self, step: BucketStep) -> None:
        """One effect."""
        match step:
            case MakeBucket(where=where, name=name):
                await self.s3.ensure_bucket(await self.login(where), name)
            case SetTags() | SetVersioning() | SetPolicy() | SetLifecycle() | SetCors():
                await self._set(step)
            case SetQuota(where=where, name=name, quota_bytes=quota):
                await self.quotas.ensure_quota(where.container, name, quota)
            case EnforceQuotas(where=where):
                await self.quotas.ensure_enforced(where.container)
            case MakeUser() | MakeKey() | RemoveKey() | RemoveUser():
                await self._people(step)
            case RemoveObjects(where=where, name=name):
                await self._empty(await self.login(where), name)
            case RemoveBucket(where=where, name=name):
                await self.s3.delete_bucket(await self.login(where), name)
            case _:
                assert_never(step)

    async def _set(self, step: _Settings) -> None:
        server = await self.login(step.where)
        match step:
            case SetTags(name=name, tags=tags):
                await self.s3.ensure_tags(server, name, tags)
            case SetVersioning(name=name, enabled=enabled):
                await self.s3.ensure_versioning(server, name, enabled=enabled)
            case SetPolicy(name=name, policy=policy):
                await self.s3.ensure_policy(server, name, policy)
            case SetLifecycle(name=name, rules=rules):
                await self.s3.ensure_lifecycle(server, name, rules)
            case SetCors(name=name, rules=cors):
                await self.s3.ensure_cors(server, name, cors)
            case _:
                assert_never(step)

    async def _people(self, step: _People) -> None:
        server = await self.login(step.where)
        match step:
            case MakeUser(user=user, policy=policy):
                await self.s3.ensure_user(server, user, policy)
            case MakeKey(user=user, key_id=key_id, namespace=namespace, secret_name=name):
                found = await self.values.read("Secret", namespace, name) or {}
                secret = found.get("secret-key", b"").decode(errors="replace")
                # somebody emptied the Secret meanwhile: the next pass fills it first
                if secret and found.get("access-key", b"").decode() == key_id:
                    await self.s3.ensure_key(server, user, key_id, secret)
            case RemoveKey(user=user, key_id=key_id):
                await self.s3.delete_key(server, user, key_id)
            case RemoveUser(user=user):
                await self.s3.delete_user(server, user)
            case _:
                assert_never(step)

    async def _empty(self, server: S3Server, name: str) -> None:
        until = self.clock.monotonic() + EMPTYING_S
        while await self.s3.delete_content(server, name, limit=BITE):
            if self.clock.monotonic() > until:
                message = f"bucket '{name}' is being emptied"
                raise UnderWayError(message, reason="Emptying", look_again_s=0.0)
